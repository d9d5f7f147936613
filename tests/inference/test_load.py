"""A model that is loaded gives what its run has evaluated, without the data that it was trained on."""

import json
import shutil

import numpy as np
import pytest
import safetensors.torch
import sklearn.datasets
import torch
from PIL import Image

from trainer import load, train
from trainer.api import as_typed
from trainer.base.errors import DataError
from trainer.engine.trained import read_model
from trainer.rundir import checkpoint, description

CLASSIFIERS = [
    ("data=digits", "model=cnn", "epochs=1", "norm=batch"),
    ("data=digits", "model=mlp", "epochs=1", "averaging=ema", "preprocess=standardize"),
    ("data=digits", "model=cnn", "epochs=1", "tta=flip", "reg=[dropout,spatial_dropout]"),
    ("data=digits", "model=fast_cnn", "epochs=1"),
    ("data=digits", "model=mlp", "epochs=1", "act=maxout", "norm=layer", "preprocess=pca", "preprocess.components=9"),
    ("data=iris", "model=mlp", "epochs=2", "preprocess=polynomial"),
    ("data=wine", "model=linear", "epochs=2", "preprocess=minmax", "loss=bce"),
    ("data=photos", "data.size=16", "model=linear", "epochs=1", "preprocess=whiten_zca"),
]


def samples_of(words):
    """Test samples of scikit-learn's data as they are, and their labels, in the order of the split."""
    from omegaconf import OmegaConf

    from trainer.cli.overrides import check
    from trainer.config.hydra_context import Invocation
    from trainer.engine.build import load_data

    data = load_data(OmegaConf.create(check([*words]).cfg), Invocation())
    return data.test.images, data.test.targets


@pytest.mark.parametrize("words", CLASSIFIERS, ids=lambda words: "+".join(words[:2]))
def test_scores_of_the_answers_are_those_that_the_run_had_on_its_test_split(words, trained):
    run = trained(*words)
    model = run.load(device="cpu")
    images, targets = samples_of(words)
    found = model(images)
    assert found.shape == (len(images), len(model.classes)) and found.dtype == torch.float32
    accuracy = (found.argmax(1) == targets.argmax(1)).float().mean().item()
    assert accuracy == pytest.approx(run.test["accuracy"], abs=1e-6)
    if "loss=bce" in words:
        loss = -(targets * found.log() + (1 - targets) * (1 - found).log()).sum(1).mean().item()
    else:
        torch.testing.assert_close(found.sum(1), torch.ones(len(found)))
        loss = -(targets * found.log()).sum(1).mean().item()
    assert loss == pytest.approx(run.test["loss"], rel=1e-4)  # of logarithms of float32 probabilities


def test_binary_answers_are_the_probabilities_of_both_classes(trained):
    words = ("data=breast_cancer", "model=linear", "epochs=2")
    run = trained(*words)
    model = run.load(device="cpu")
    images, targets = samples_of(words)
    found = model(images)
    assert model.classes == ("malignant", "benign") and found.shape == (len(images), 2)
    assert ((found[:, 1] > 0.5) == (targets[:, 0] == 1)).float().mean().item() == pytest.approx(run.test["accuracy"])
    loss = -torch.where(targets[:, 0] == 1, found[:, 1], found[:, 0]).log().mean().item()
    assert loss == pytest.approx(run.test["loss"], rel=1e-4)


def test_a_regression_answers_in_the_unit_of_its_target(trained):
    run = trained("data=diabetes", "model=linear", "epochs=30", "optimizer.lr=0.02")
    model = run.load(device="cpu")
    bunch = sklearn.datasets.load_diabetes()
    found = model(bunch.data.astype(np.float32))[:, 0].numpy()
    assert model.classes == () and model.names == ("progression",)
    assert abs(found.mean() - bunch.target.mean()) < 15  # of 152; standardised values would be near 0
    assert np.corrcoef(found, bunch.target)[0, 1] > 0.5


def test_outputs_of_a_hinge_are_no_probabilities(trained):
    model = trained("data=iris", "model=linear", "epochs=2", "loss=hinge").load(device="cpu")
    samples = torch.tensor([[5.1, 3.5, 1.4, 0.2]])
    with torch.no_grad():
        expected = model.module(model.preprocess(samples))
    assert not model.has_probabilities
    torch.testing.assert_close(model(samples), expected)
    (prediction,) = model.predict(samples)
    assert prediction.probability is None and prediction.label == model.classes[expected.argmax()]


def test_module_and_preprocess_are_those_of_the_run(trained):
    run = trained(*CLASSIFIERS[0])
    model = run.load(device="cpu")
    images, _ = samples_of(CLASSIFIERS[0])
    assert isinstance(model.module, torch.nn.Module) and not model.module.training
    assert checkpoint.weights_digest(model.module) == run.summary["weights_sha256"]
    torch.testing.assert_close(model.module(model.preprocess(images)).softmax(1), model(images))


def test_one_file_is_enough(trained, tmp_path):
    run = trained(*CLASSIFIERS[-1])
    images, _ = samples_of(CLASSIFIERS[-1])
    expected = run.load(device="cpu")(images)
    alone = tmp_path / "china.safetensors"
    shutil.copy(run.directory / "weights.safetensors", alone)
    assert torch.equal(load(alone, device="cpu")(images), expected)
    large = [name for name in safetensors.torch.load_file(alone) if name.startswith("preprocess.")]
    assert large  # matrices of 768 x 768, which JSON would blow up


def test_a_run_without_its_weights_file_is_loaded_from_its_checkpoint(trained, tmp_path):
    run = trained(*CLASSIFIERS[1])
    images, _ = samples_of(CLASSIFIERS[1])
    copy = tmp_path / "run"
    shutil.copytree(run.directory, copy)
    (copy / "weights.safetensors").unlink()
    assert torch.equal(load(copy, device="cpu")(images), run.load(device="cpu")(images))


def test_a_damaged_weights_file_of_a_run_is_not_used(trained, tmp_path):
    run = trained(*CLASSIFIERS[1])
    copy = tmp_path / "run"
    shutil.copytree(run.directory, copy)
    content = bytearray((copy / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "weights.safetensors").write_bytes(content)
    found, expected = load(copy, device="cpu").module, run.load(device="cpu").module
    assert checkpoint.weights_digest(found) == checkpoint.weights_digest(expected)
    assert "weights.safetensors is damaged or gone" in load(copy).note and not run.load().note
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(DataError, match="weights.safetensors is damaged, and it has no checkpoint"):
        load(copy, device="cpu")


def test_the_folder_of_the_images_may_be_gone(tmp_path):
    rng = np.random.default_rng(0)
    for name, colour in (("red", (200, 30, 30)), ("green", (30, 200, 30))):
        (tmp_path / "data" / name).mkdir(parents=True)
        for place in range(12):
            noise = rng.integers(-30, 30, (20, 24, 3))
            pixels = (np.array(colour) + noise).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{place}.png")
    words = (f"data.root={tmp_path}/data", "data.size=16", f"data.cache={tmp_path}/cache", "data.fit=pad")
    run = train(
        "data=image_folder", "model=linear", "epochs=20", "threads=1", *words, output=tmp_path / "o", quiet=True
    )
    new = [str(path) for path in sorted((tmp_path / "data").rglob("*.png"))]
    before = run.load(device="cpu").predict(new)
    keep = tmp_path / "new"
    (tmp_path / "data").rename(keep)
    shutil.rmtree(tmp_path / "cache")
    model = load(run.directory, device="cpu")
    after = model.predict(keep)
    assert model.classes == ("green", "red")
    assert [item.ranked for item in before] == [item.ranked for item in sorted(after, key=lambda item: item.path)]
    assert [item.label for item in before] == ["green"] * 12 + ["red"] * 12


WEIGHTS = {
    "nothing": b"",
    "text": b"hello",
    "a long header": (2**63).to_bytes(8, "little") + b"{}",
}


@pytest.mark.parametrize("content", WEIGHTS.values(), ids=WEIGHTS)
def test_a_file_that_is_no_weights_is_refused_in_one_line(content, tmp_path):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(DataError, match="not a file of weights") as caught:
        load(tmp_path / "x.safetensors")
    assert "\n" not in str(caught.value)


def test_weights_of_another_program_are_refused(tmp_path):
    safetensors.torch.save_file({"w": torch.zeros(2)}, tmp_path / "x.safetensors")
    with pytest.raises(DataError, match="without a description of their model"):
        load(tmp_path / "x.safetensors")


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such run or file"):
        load(tmp_path / "nothing")
    with pytest.raises(DataError, match="not a run with weights; it must hold"):
        load(tmp_path)


def changed(run, place, change):
    """A copy of a run's weights alone whose description is changed."""
    source = run.directory / "weights.safetensors"
    described, weights, _ = read_model(source, torch.device("cpu"))
    state = json.loads(described.to_json()[0])
    change(state)
    target = place / "changed.safetensors"
    safetensors.torch.save_file(weights, target, metadata={description.KEY: json.dumps(state)})
    return target


def remove(*path):
    def change(state):
        for part in path[:-1]:
            state = state[part]
        del state[path[-1]]

    return change


def put(value, *path):
    def change(state):
        for part in path[:-1]:
            state = state[part]
        state[path[-1]] = value

    return change


DAMAGE = {
    "format": (put(2, "format"), "newer version"),
    "no format": (remove("format"), "damaged"),
    "task": (put("guess", "task"), "damaged"),
    "classes": (put(["a"], "classes"), "damaged"),
    "outputs": (put(4, "outputs"), "damaged"),
    "shape": (put([3, -1], "inputs", "shape"), "damaged"),
    "columns": (put([{"name": "a", "kind": "colour"}], "inputs", "columns"), "damaged"),
    "kind": (put("sounds", "inputs", "kind"), "damaged"),
    "preprocess": (put({"class": "Affine", "center": 3}, "preprocess"), "."),
    "class of preprocess": (put({"class": "subprocess.Popen", "args": ["touch", "canary"]}, "preprocess"), "outside"),
    "tensor": (put({"tensor": "preprocess.x", "dtype": "float32"}, "preprocess", "center"), "damaged"),
    "type": (put({"tensor": [1], "dtype": "load", "shape": [1]}, "preprocess", "center"), "damaged"),
    "model": (put("os.system", "config", "model", "_target_"), "outside the allowed libraries"),
    "function": (put("${oc.env:HOME}", "config", "model", "_target_"), "."),
    "no model": (remove("config", "model"), "no _target_"),
    "input shape": (put([5], "input_shape"), "."),
    "reg": (put({"layer": 3}, "config", "reg"), "."),
    "no loss": (remove("config", "loss"), "."),
    "choices": (put(3, "choices"), "damaged"),
    "config": (put([], "config"), "."),
}


@pytest.mark.parametrize("change, words", DAMAGE.values(), ids=DAMAGE)
def test_a_description_that_somebody_changed_is_refused_and_nothing_is_executed(
    change, words, trained, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    file = changed(trained("data=iris", "model=linear", "epochs=2"), tmp_path, change)
    with pytest.raises(DataError, match=words) as caught:
        load(file, device="cpu")(torch.zeros(1, 4))
    assert str(caught.value).count("\n") == 0
    assert [path.name for path in tmp_path.iterdir()] == ["changed.safetensors"]


def test_an_unchanged_description_passes_the_same_way(trained, tmp_path):
    file = changed(trained("data=iris", "model=linear", "epochs=2"), tmp_path, lambda state: None)
    assert load(file, device="cpu")(torch.zeros(1, 4)).shape == (1, 3)


def test_paths_of_the_machine_are_not_in_the_weights(trained, tmp_path):
    run = trained("data=iris", "model=linear", "epochs=2")
    assert str(run.directory.parent.parent).encode() not in (run.directory / "weights.safetensors").read_bytes()
    assert json.loads((run.directory / "run.json").read_text())["scores"]["test"] == pytest.approx(dict(run.test))


WRONG = {
    "shape": (torch.zeros(1, 5), r"\(B, 4\), got \(1, 5\)"),
    "no batch": (torch.zeros(4), "needs a dimension for the batch"),
    "complex": (torch.zeros(1, 4, dtype=torch.complex64), "must be numbers"),
}


@pytest.mark.parametrize("samples, words", WRONG.values(), ids=WRONG)
def test_samples_of_another_kind_are_refused(samples, words, trained):
    with pytest.raises(DataError, match=words):
        trained("data=iris", "model=linear", "epochs=2").load(device="cpu")(samples)


def test_images_of_floats_beyond_one_are_refused(trained):
    model = trained(*CLASSIFIERS[0]).load(device="cpu")
    with pytest.raises(DataError, match="0 to 255; divide them"):
        model(torch.arange(64.0).reshape(1, 1, 8, 8) * (255 / 63))
    whole = torch.full((1, 1, 8, 8), 128, dtype=torch.uint8)
    torch.testing.assert_close(model(whole), model(whole / 255))


def test_values_of_python_as_they_are_typed():
    assert as_typed(["l2", True, None, 0.5]) == "[l2,true,null,0.5]"
    assert as_typed("a,b") == "'a,b'" and as_typed("[l2]") == "[l2]" and as_typed("+1") == "+1"


@pytest.mark.filterwarnings("error")
def test_arrays_that_cannot_be_written_or_run_backwards_are_taken_without_a_warning(trained):
    model = trained("data=digits", "model=cnn", "epochs=1", "norm=batch").load(device="cpu")
    images = np.random.default_rng(0).random((4, 1, 8, 8), dtype=np.float32)
    wanted, kept = model(images.copy()), images.copy()
    images.setflags(write=False)
    torch.testing.assert_close(model(images), wanted)
    torch.testing.assert_close(model(images[::-1]), wanted.flip(0))
    assert np.array_equal(images, kept)
