"""Classifiers of torchvision as models: small stems, sizes, pretrained weights, options refused."""

import pytest
import torch
import torchvision
from finished import Shapes, batch, count, make, make_kit
from torch import nn

from trainer.base.errors import ConfigError, DataError
from trainer.engine.build import build_run
from trainer.model.finished import accepts
from trainer.model.surgery import forward_on_meta
from trainer.model.torchvision import BUILDERS, Torchvision, adapt_stem, build_network, parameters_of_class

NAMES = torchvision.models.list_models(module=torchvision.models)
LIGHT = {  # and the channels of its images: a first layer that strides is replaced for either number
    "mobilenet_v2": 1, "mobilenet_v3_small": 3, "shufflenet_v2_x0_5": 1, "squeezenet1_1": 3,
    "mnasnet0_5": 1, "efficientnet_b0": 3, "resnet18": 1, "regnet_y_400mf": 3,
}  # fmt: skip


def test_all_of_torchvisions_classifiers_are_offered():
    assert list(BUILDERS) == NAMES and len(NAMES) >= 80
    assert not any(word in name for name in NAMES for word in ("quantized", "fcn", "rcnn", "r3d"))


@pytest.mark.parametrize(("name", "channels"), LIGHT.items())
def test_a_light_network_learns_from_small_images(name, channels):
    torch.manual_seed(0)
    model = make(name, (channels, 32, 32), kit=make_kit(nn.Tanh), act="kit")
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    before = [weight.clone() for weight in model.parameters()]
    outputs = model(torch.randn(2, channels, 32, 32))
    assert outputs.shape == (2, 10)
    nn.functional.cross_entropy(outputs, torch.tensor([1, 2])).backward()
    optimizer.step()
    assert all(weight.isfinite().all() for weight in model.parameters())
    assert not torch.equal(before[0], next(model.parameters()))  # the gradient came all the way to the first layer


def test_with_nothing_replaced_it_is_torchvisions_own_network():
    torch.manual_seed(3)
    ours = make("resnet18", stem="original").eval()
    torch.manual_seed(3)
    theirs = torchvision.models.resnet18(num_classes=10).eval()
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(ours(images), theirs(images))


@pytest.mark.parametrize(
    ("name", "kernel", "pools"),
    [("resnet18", 3, 0), ("alexnet", 3, 2), ("squeezenet1_0", 3, 2), ("densenet121", 3, 0), ("mobilenet_v2", 3, 0)]
    + [("convnext_tiny", 3, 0), ("vgg13", 3, 5)],
)
def test_a_small_stem_sees_every_pixel(name, kernel, pools):
    with Shapes():
        network, _ = build_network(name, (1, 32, 32), 10)
        adapt_stem(network, 1, True)
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    assert (first.in_channels, first.kernel_size, first.stride, first.padding) == (1, (kernel, kernel), (1, 1), (1, 1))
    assert count(network, nn.MaxPool2d) == pools


@pytest.mark.parametrize(
    ("side", "stem", "stride"), [(64, "auto", 1), (65, "auto", 2), (32, "original", 2), (96, "small", 1)]
)
def test_auto_is_small_up_to_64_pixels(side, stem, stride):
    model = make("shufflenet_v2_x0_5", (1, side, side), stem=stem)
    assert next(module for module in model.modules() if isinstance(module, nn.Conv2d)).stride == (stride, stride)
    assert count(model, nn.MaxPool2d) == (stride == 2)


@pytest.mark.parametrize(
    ("name", "side", "smallest"),
    [("vgg11", 28, 32), ("vit_b_16", 28, 32), ("vit_b_32", 8, 32), ("inception_v3", 32, 37)],
)
def test_an_image_too_small_is_refused_with_the_side_that_is_not(name, side, smallest):
    # vgg: five halvings, 2^5; vit: a multiple of the patch; inception: 37 -> 37, 35, 35, 17, 17, 15, 7, then 3 and 1;
    # 36 ends at 6, 2 and 0
    with Shapes():
        with pytest.raises(ValueError, match=rf"model.name={name}: .*{side}x{side}.* take: {smallest}$"):
            make(name, (3, side, side))
        network, has_fixed_size = build_network(name, (3, smallest, smallest), 10)
        adapt_stem(network, 3, not has_fixed_size)
    assert accepts(network, (3, smallest, smallest))
    assert forward_on_meta(network, (3, smallest, smallest)).shape == (2, 10)


def test_a_transformer_of_one_size_takes_small_images_that_its_patches_divide():
    with Shapes():
        model = make("vit_b_16", (1, 32, 32))
        assert model[0].encoder.pos_embedding.shape == (1, 2 * 2 + 1, 768)  # four patches and the class token
        with pytest.raises(ValueError, match="needs square images, the data has 32x48"):
            make("vit_b_16", (3, 32, 48))
    with pytest.raises(ValueError, match="maxvit_t: cannot take images of 32x32; the next side it can take: 221"):
        make("maxvit_t")  # 7 x 2^5 = 224, and what rounds up to it: 221, 111, 56, 28, 14, 7


def test_unknown_names_and_values_are_refused():
    with pytest.raises(ConfigError, match="model.name=mobilnet_v3_small.*did you mean model.name=mobilenet_v3_small"):
        make("mobilnet_v3_small")
    for field in ("stem", "act", "norm", "drop"):
        with pytest.raises(ValueError, match=f"{field} must be one of .*, got nonsense"):
            make("resnet18", **{field: "nonsense"})
    with pytest.raises(ValueError, match="needs images"):
        make("resnet18", (30,))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """torch's folder of downloaded weights, with those of a small network drawn from a seed."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.manual_seed(11)
    weights = torchvision.models.mobilenet_v3_small().state_dict()
    weights = {key: torch.rand_like(value) if value.is_floating_point() else value for key, value in weights.items()}
    url = torchvision.models.MobileNet_V3_Small_Weights.DEFAULT.url
    torch.save(weights, folder / url.rpartition("/")[2])
    return folder, weights


def test_pretrained_takes_all_but_the_last_layer(cache):
    _, weights = cache
    own = make("mobilenet_v3_small", pretrained=True)[0].state_dict()  # the 3x3 stem loses its stride, not its shape
    differ = {key for key in own if not (own[key].shape == weights[key].shape and torch.equal(own[key], weights[key]))}
    assert differ == {"classifier.3.weight", "classifier.3.bias"}
    own = make("mobilenet_v3_small", outputs=1000, pretrained=True)[0].state_dict()
    assert not torch.equal(own["classifier.3.weight"], weights["classifier.3.weight"])


def test_pretrained_leaves_out_a_stem_of_another_shape_and_replaced_parts(cache):
    _, weights = cache
    model = make("mobilenet_v3_small", (1, 32, 32), kit=make_kit(norm=batch), norm="kit", pretrained=True)
    own = model[0].state_dict()
    assert own["features.0.0.weight"].shape == (16, 1, 3, 3)
    assert torch.equal(own["features.1.block.0.0.weight"], weights["features.1.block.0.0.weight"])
    assert torch.equal(own["features.0.1.weight"], torch.ones(16))  # the kit's norm is fresh


def test_an_error_for_missing_weights_names_the_file_and_its_folder(cache):
    folder, _ = cache
    (file,) = folder.iterdir()
    file.write_bytes(b"not weights")
    with pytest.raises(DataError, match=rf"no weights for mobilenet_v3_small.*put {file.name} into {folder}"):
        make("mobilenet_v3_small", pretrained=True)
    assert DataError.code == 3


def test_the_command_line_reaches_it(composed):
    overrides = ("data=digits", "model=torchvision", "model.name=squeezenet1_1", "act=gelu", "model.act=kit")
    overrides += ("reg=dropout", "reg.layer.dropout.p=0.25")
    run = build_run(composed(*overrides, "model.drop=kit"))
    assert count(run.model, nn.GELU) == 25
    assert [module.p for module in run.model.modules() if isinstance(module, nn.Dropout)] == [0.25]
    with pytest.raises(ConfigError, match="^model.*: reg= makes Dropout, which has no effect.*try model.drop=kit$"):
        build_run(composed(*overrides))


def test_the_builder_leaves_pretrained_weights_and_biases_alone(cache, composed, run_in_process):
    _, weights = cache
    overrides = ("data=digits", "model=torchvision", "model.pretrained=true")
    own = build_run(composed(*overrides)).model[0].state_dict()
    assert torch.equal(own["classifier.0.bias"], weights["classifier.0.bias"])
    code, _, errors = run_in_process(*overrides, "init=he_normal")
    assert code == 2 and "init=he_normal: would overwrite the pretrained weights" in errors
    assert "leave it out" in errors
    assert run_in_process(*overrides, "init=torch", "epochs=0", "threads=1")[0] == 0


@pytest.mark.parametrize("name", NAMES)
def test_the_normalisation_is_that_of_the_weights(name):
    """Of the preset that torchvision gives the weights and of the network's own change of scale, which is off here."""
    mean, deviation = (torch.tensor(part)[:, None, None] for part in Torchvision.normalization(name=name))
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    preset = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    expected = torchvision.transforms.functional.normalize(images, preset.mean, preset.std)
    if name in ("googlenet", "inception_v3"):
        with torch.device("meta"):
            network = BUILDERS[name](weights=None, init_weights=False)
        network.transform_input = True
        expected = network._transform_input(expected)
    torch.testing.assert_close((images - mean) / deviation, expected)


def test_networks_that_change_the_scale_of_their_input_are_known():
    """Those whose weights torchvision loads with transform_input=True."""
    changing = [name for name in NAMES if "transform_input" in parameters_of_class(name)]
    assert changing == ["googlenet", "inception_v3"]


def test_the_networks_normalisation_is_taken_where_none_is_typed(cache, composed, run_in_process):
    overrides = ("data=digits", "model=torchvision", "model.pretrained=true")
    code, out, errors = run_in_process(*overrides, "--cfg", "job")
    assert code == 0 and "trainer.preprocess.OfModel" in out, errors  # digits bring another one
    code, out, errors = run_in_process(*overrides, "preprocess=standardize", "--cfg", "job")
    assert code == 0 and "trainer.preprocess.Standardize" in out and "OfModel" not in out, errors
    run = build_run(composed(*overrides, "preprocess=model"))
    apply, pixel = run.train.preprocess, torch.full((1, 1, 4, 4), 0.6)
    torch.testing.assert_close(apply(pixel), torch.full_like(pixel, (0.6 - 0.449) / 0.226))  # means over the colours
