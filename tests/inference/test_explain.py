"""Explanations of models with their preprocessing: values worked by hand, averages, classes, and what is refused."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("captum", reason="needs the extra: pip install -e '.[explain]'")

from trainer.base.device import autocast  # noqa: E402
from trainer.base.errors import ConfigError, DataError  # noqa: E402
from trainer.base.linear_map import Affine  # noqa: E402
from trainer.data.inputs import ArrayInput, ImageInput, InputColumn, Predicted, TableInput, named_columns  # noqa: E402
from trainer.explanation.maps import maps_of  # noqa: E402
from trainer.inference.explained_network import keeps_places  # noqa: E402
from trainer.inference.model import Ensemble, TrainedModel  # noqa: E402
from trainer.loss import Auto, Hinge  # noqa: E402
from trainer.preprocess import ChannelStandardize, Identity, Pca, Standardize, WhitenPca, WhitenZca  # noqa: E402
from trainer.rundir.description import Description  # noqa: E402
from trainer.tta import Identity as OneView  # noqa: E402

CPU = torch.device("cpu")


def made(module, inputs, apply, classes=(), predicted=None, criterion=None, outputs=None, choices=None):
    """Model of a network, as one that was loaded."""
    outputs = outputs or (len(classes) if len(classes) > 2 else 1)
    task = "regression" if not classes else "binary" if outputs == 1 else "classification"
    described = Description(
        task=task,
        classes=classes,
        inputs=inputs,
        predicted=predicted or Predicted(),
        preprocess=None,
        input_shape=tuple(apply(torch.zeros(1, *inputs.shape)).shape[1:]),
        outputs=outputs,
        config={},
        choices=choices or {},
    )
    return TrainedModel(
        module=module.eval().requires_grad_(False),
        preprocess=apply,
        criterion=criterion or Auto().for_task(task),
        views=OneView(),
        description=described,
        device=CPU,
        autocast=autocast(CPU, "fp32"),
        source="here",
    )


def dense(weights, bias=None):
    weights = torch.tensor(weights)
    layer = nn.Linear(weights.shape[1], len(weights))
    layer.weight.data, layer.bias.data = weights, torch.zeros(len(weights)) if bias is None else torch.tensor(bias)
    return layer


MEAN, DEVIATION = torch.tensor([[10.0, 2.0]]), torch.tensor([[4.0, 0.5]])
SCALED = Affine(MEAN, 1 / DEVIATION)


def test_of_a_linear_regression_each_column_adds_its_weight_times_its_distance_from_the_mean_in_the_targets_unit():
    """y = 100 + 20 (0.5 + 3 z1 - z2), z the standardised columns: (14, 1) is z = (1, -2), so 60 and 40 beside 110."""
    predicted = Predicted(name="price", names=("price",), mean=(100.0,), deviation=(20.0,))
    model = made(dense([[3.0, -1.0]], [0.5]), named_columns(["area", "age"]), SCALED, predicted=predicted)
    (found,) = model.explain([{"area": 14.0, "age": 1.0}])
    assert found.of == "price" and found.method == "integrated gradients"
    assert found.contributions == pytest.approx({"area": 60.0, "age": 40.0}, rel=1e-5)
    assert found.base == pytest.approx(110) and found.answer == pytest.approx(210) == found.prediction.value
    assert found.cells == {"area": 14.0, "age": 1.0} and [*found.contributions] == ["area", "age"]


def test_the_base_and_the_contributions_add_up_to_the_probability():
    model = made(dense([[1.0, 0.3], [-2.0, 0.1], [0.5, -1.0]]), named_columns(["a", "b"]), SCALED, ("x", "y", "z"))
    found = model.explain(torch.tensor([[14.0, 1.0], [2.0, 3.0]]))
    outputs = torch.tensor([[1.0, 0.3], [-2.0, 0.1], [0.5, -1.0]]) @ torch.tensor([[1.0, -2.0], [-2.0, 2.0]])
    best = outputs.softmax(0).max(0)
    for place, each in enumerate(found):
        assert each.of == "xyz"[best.indices[place]] == each.prediction.label
        assert each.answer == pytest.approx(best.values[place].item(), abs=1e-6)
        assert each.base == pytest.approx(1 / 3) and each.prediction.row == place
        assert each.base + sum(each.contributions.values()) == pytest.approx(each.answer, abs=0.005)


def test_another_class_than_the_predicted_one_can_be_explained():
    model = made(dense([[2.0, 0.0]]), named_columns(["a", "b"]), SCALED, ("no", "yes"))
    (yes,), (no,) = (model.explain(torch.tensor([[14.0, 2.0]]), of=of) for of in ("yes", "no"))
    assert yes.prediction.label == no.prediction.label == "yes" and (yes.of, no.of) == ("yes", "no")
    assert yes.contributions["a"] == pytest.approx(-no.contributions["a"]) == pytest.approx(0.3808, abs=2e-3)
    assert yes.base == no.base == 0.5 and yes.contributions["b"] == 0
    with pytest.raises(DataError, match=r"of=yess: no such class; did you mean yes\?"):
        model.explain(torch.tensor([[14.0, 2.0]]), of="yess")


def test_without_probabilities_the_output_is_explained():
    model = made(
        dense([[2.0, 0.0], [0.0, 0.0], [0.0, 0.1]]), named_columns(["a", "b"]), SCALED, tuple("xyz"), None, Hinge()
    )
    (found,) = model.explain(torch.tensor([[14.0, 2.0]]))
    assert found.contributions == pytest.approx({"a": 2.0, "b": 0.0}) and found.answer == pytest.approx(2)


def test_a_category_adds_the_sum_of_its_inputs_and_cells_are_as_in_the_table():
    columns = (
        InputColumn(name="color", kind="category", categories=("red", "blue"), missing=True),
        InputColumn(name="day", kind="date", place=1),
        InputColumn(name="size", place=2),
    )
    model = made(
        dense([[1.0, 2.0, 4.0, 0.1, 8.0]]), TableInput(columns=columns, count=3), Identity().fit(torch.zeros(2, 5))
    )
    rows = [
        {"color": "blue", "day": "1970-01-11", "size": 0.5},
        {"color": "", "day": "1970-01-01 06:00", "size": 0.1},
        {"color": "green", "day": "1970-01-01", "size": 0.0},
    ]
    blue, missing, green = model.explain(rows)
    assert blue.contributions == pytest.approx({"size": 4.0, "color": 2.0, "day": 1.0})
    assert [*blue.contributions] == [*blue.cells] == ["size", "color", "day"]  # the largest first
    assert blue.cells == {"size": 0.5, "color": "blue", "day": "1970-01-11"}
    assert missing.cells == {"size": 0.1, "color": "missing", "day": "1970-01-01 06:00"}
    assert missing.contributions == pytest.approx({"color": 4.0, "size": 0.8, "day": 0.025})
    assert green.cells["color"] == "another" and set(green.contributions.values()) == {0.0}


def test_an_explanation_of_several_models_is_the_mean():
    inputs = named_columns(["a", "b"])
    one, two = (made(dense([[weight, 0.0]]), inputs, SCALED) for weight in (1.0, 3.0))
    (found,) = Ensemble(members=[one, two]).explain(torch.tensor([[14.0, 2.0]]))
    assert found.contributions["a"] == pytest.approx(2) and found.answer == pytest.approx(2) == found.prediction.value


def pictures():
    return torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def conv(seed=0, outputs=4):
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, outputs)]
    return nn.Sequential(*layers)


IMAGES, CLASSES = ImageInput(shape=(3, 8, 8)), ("ant", "bee", "cat", "dog")


def test_the_map_of_an_image_is_that_of_the_network_on_the_preprocessed_image():
    apply = ChannelStandardize().fit(pictures())
    model = made(conv(), IMAGES, apply, CLASSES)
    found = model.explain(pictures())
    answers = model(pictures()).argmax(1)
    maps = maps_of(conv().eval(), apply(pictures()), answers)
    for each, image, map_, answer in zip(found, pictures(), maps, answers):
        assert each.method == "Grad-CAM, 8 x 8" and each.note == "" and each.of == CLASSES[answer]
        np.testing.assert_allclose(each.map, map_, rtol=0, atol=1e-5)
        np.testing.assert_allclose(each.image, image.permute(1, 2, 0) / 255, rtol=0, atol=1e-6)
        assert np.asarray(each).shape == (8, 8) and np.asarray(each).dtype == np.float32
    assert np.asarray(found).shape == (3, 8, 8)
    floats = model.explain(pictures() / 255)
    np.testing.assert_allclose(floats[0].map, found[0].map, rtol=0, atol=1e-5)
    others = [model.explain(pictures()[:1], of=name)[0].map for name in CLASSES]
    assert len({each.tobytes() for each in others}) == 4


def test_the_map_of_several_models_is_the_mean_of_theirs():
    models = [made(conv(seed), IMAGES, ChannelStandardize().fit(pictures()), CLASSES) for seed in (0, 1)]
    together = Ensemble(members=models).explain(pictures(), of="cat")
    alone = [model.explain(pictures(), of="cat") for model in models]
    np.testing.assert_allclose(np.asarray(together), np.mean(np.asarray(alone), axis=0), rtol=0, atol=1e-6)


def test_the_model_is_as_before():
    model = made(conv(), IMAGES, ChannelStandardize().fit(pictures()), CLASSES)
    before = model(pictures())
    model.explain(pictures())
    assert not model.module.training and not any(part.requires_grad for part in model.module.parameters())
    assert all(part.grad is None for part in model.module.parameters()) and torch.equal(model(pictures()), before)


def test_grey_images_and_arrays_are_shown_too():
    grey = made(conv(), ImageInput(shape=(1, 8, 8)), lambda images: images.float().repeat(1, 3, 1, 1), CLASSES)
    (found,) = grey.explain(pictures()[:1, :1])
    assert found.image.shape == (8, 8, 3) and (found.image[..., 0] == found.image[..., 2]).all()
    flat = nn.Sequential(nn.Flatten(), dense([[1.0, -2.0, 0.0, 0.0, 0.0, 4.0]]))
    series = made(flat, ArrayInput(shape=(2, 3)), Identity().fit(torch.zeros(2, 2, 3)))
    (found,) = series.explain(np.array([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]))
    np.testing.assert_allclose(found.map, np.array([[1, 2, 0], [0, 0, 4]]) / 4, atol=1e-5)
    np.testing.assert_allclose(found.image[..., 0], np.arange(6).reshape(2, 3) / 5, atol=1e-6)
    assert found.method == "saliency" and found.note == "the samples are not images"


@pytest.mark.parametrize(
    "technique, kept",
    [(Standardize(), True), (ChannelStandardize(), True), (WhitenZca(), True), (Pca(), False), (WhitenPca(), False)],
)
def test_a_preprocessing_that_mixes_pixels_is_noticed(technique, kept):
    images = torch.rand(200, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    assert keeps_places(technique.fit(images), images[:1]) is kept
    assert not keeps_places(Pca(components=5).fit(images), images[:1])


@pytest.mark.parametrize("components", [None, 10])
def test_behind_principal_components_the_gradient_is_that_at_the_pixels(components):
    """y = w V^T (x - mean): at the pixels the gradient is V w."""
    images = torch.rand(200, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    apply, (layer, weight) = (
        Pca(components=components).fit(images),
        (nn.Flatten(), torch.arange(1.0, 1 + (components or 16))),
    )
    model = made(nn.Sequential(layer, dense([weight.tolist()])), ImageInput(shape=(1, 4, 4)), apply)
    (found,) = model.explain(images[:1])
    expected = (apply.matrix.float() @ weight).abs().view(4, 4)
    np.testing.assert_allclose(found.map, expected / expected.max(), rtol=0, atol=1e-5)


def test_a_convolution_of_principal_components_has_no_places():
    images = torch.rand(300, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    model = made(conv(), IMAGES, Pca().fit(images), CLASSES, choices={"preprocess": "pca"})
    (found,) = model.explain(images[:1])
    assert (found.method, found.note) == ("saliency", "preprocess=pca mixes the pixels")


def test_what_cannot_be_explained_is_refused(monkeypatch):
    model = made(conv(), IMAGES, ChannelStandardize().fit(pictures()), CLASSES)
    with pytest.raises(DataError, match="no/such.png: no such file"):
        model.explain(["no/such.png"])
    with pytest.raises(DataError, match="of=9: no such class"):
        model.explain(pictures(), of=9)
    assert model.explain([]) == []
    solid = replace(model, description=replace(model.description, inputs=ArrayInput(shape=(3, 8, 8, 8))))
    with pytest.raises(DataError, match="arrays of 2 or 3 dimensions"):
        solid.explain(torch.zeros(1, 3, 8, 8, 8))
    monkeypatch.setitem(sys.modules, "captum", None)
    with pytest.raises(ConfigError, match=r"needs Captum; pip install 'trainer\[explain\]'"):
        model.explain(pictures())
