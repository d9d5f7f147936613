"""model.weights: each kind of file, beginnings of names, what does not fit, resumed and evaluated without the file."""

import json
import os
import pickle
import shutil
from hashlib import sha256
from pathlib import Path

import pytest
import torch
import torchvision
from conftest import command, only_run
from safetensors.torch import load_file, save_file
from torch import nn

from trainer.rundir.reader import read_rows, read_summary
from trainer.rundir.weights_file import read_weights

IRIS = ("data=iris", "model=mlp", "model.hidden=[8,6]", "threads=1", "device=cpu")
FRESH = (*IRIS, "epochs=0")  # the network as it begins


def trained(folder, *words):
    """Train in a folder of its own, and return the directory of the run."""
    folder.mkdir(exist_ok=True)
    code, _, errors = command(folder, *words)
    assert code == 0, errors
    return only_run(folder)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A finished run on iris; copy it, do not change it."""
    return trained(tmp_path_factory.mktemp("source"), *IRIS, "epochs=3", "seed=5")


def weights_of(run):
    """The weights of a run, those of a layer before its biases."""
    kept = load_file(run / "weights.safetensors")
    return {name: kept[name] for name in sorted(kept, key=lambda name: (name.split(".")[0], name.endswith("bias")))}


def equal(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(values, other[name]) for name, values in one.items())


def plain(weights):
    return dict(weights)


def wrapped(*parts):
    return lambda weights: {"".join(f"{part}." for part in parts) + name: values for name, values in weights.items()}


def beside_optimizer(weights):
    state = {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(2, 2)}}
    return {"epoch": 3, "model": weights, "optimizer": {"state": state, "param_groups": [{"lr": 0.1, "params": [0]}]}}


def query_and_key(weights):
    other = {name: torch.zeros(3, 3) for name in weights}
    return {"state_dict": wrapped("module", "encoder_q")(weights) | wrapped("module", "encoder_k")(other)}


LAYOUTS = {
    "bare": plain,
    "data parallel": wrapped("module"),
    "compiled": wrapped("_orig_mod"),
    "both": wrapped("module", "_orig_mod"),
    "backbone": wrapped("backbone"),
    "a name of one's own": wrapped("my_network"),
    "state_dict": lambda weights: {"state_dict": weights, "epoch": 7},
    "lightning": lambda weights: {"state_dict": wrapped("model")(weights), "hyper_parameters": {"lr": 0.1}},
    "beside an optimizer": beside_optimizer,
    "two mappings deep": lambda weights: {"checkpoint": {"network": weights}},
    "contrastive": query_and_key,
    "half precision": lambda weights: {name: values.double() for name, values in weights.items()},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_state_dict_of_torch_is_taken_whatever_surrounds_it(layout, source, tmp_path):
    torch.save(LAYOUTS[layout](weights_of(source)), tmp_path / "net.pth")
    run = trained(tmp_path, *FRESH, "model.weights=net.pth")
    assert equal(weights_of(run), weights_of(source))
    notes = read_summary(run)["notes"]
    others = [] if layout != "contrastive" else ["unexpected, so left out: module.encoder_k."]
    assert "model.weights=net.pth: 6 of 6 tensors loaded" in notes[0] and all(said in notes[0] for said in others)


def as_run(source, folder):
    return source


def as_file_of_run(source, folder):
    return source / "weights.safetensors"


def as_checkpoint(source, folder):
    return source / "checkpoints" / (source / "checkpoints/best").read_text()


def as_unfinished_run(source, folder):
    shutil.copytree(source, folder / "copy")
    for name in ("weights.safetensors", "summary.json"):
        (folder / "copy" / name).unlink()
    return folder / "copy"


def as_legacy_pickle(source, folder):
    torch.save(weights_of(source), folder / "old.pt", _use_new_zipfile_serialization=False)
    return folder / "old.pt"


def as_bare_safetensors(source, folder):
    save_file(wrapped("module")(weights_of(source)), folder / "bare.bin")  # whatever its ending says
    return folder / "bare.bin"


def as_link(source, folder):
    (folder / "link.safetensors").symlink_to(source / "weights.safetensors")  # as the cache of a hub has them
    return folder / "link.safetensors"


@pytest.mark.parametrize(
    "made",
    [as_run, as_file_of_run, as_checkpoint, as_unfinished_run, as_legacy_pickle, as_bare_safetensors, as_link],
)
def test_a_run_and_each_kind_of_file_give_the_best_weights(made, source, tmp_path):
    place = made(source, tmp_path)
    run = trained(tmp_path / "here", *FRESH, f"model.weights={place}")
    assert equal(weights_of(run), weights_of(source))
    summary, before = read_summary(run), read_summary(source)
    assert summary["test"] == before["test"]
    start = next(row for row in read_rows(run) if row["split"] == "val")
    assert start["loss"] == pytest.approx(before["best"]["loss"], rel=1e-6)


def test_the_digest_of_the_file_is_recorded(source, tmp_path):
    run = trained(tmp_path, *IRIS, "epochs=1", f"model.weights={source}")
    file = source / "weights.safetensors"
    start = read_summary(run)["start"]
    assert start == {"path": str(file), "sha256": sha256(file.read_bytes()).hexdigest(), "loaded": 6, "fresh": []}
    assert start["sha256"][:12] in (run / "run.log").read_text()


def test_what_is_not_loaded_has_the_values_that_the_seed_gives_it(source, tmp_path):
    """Wine has 13 features, and other classes: the layer in the middle is all that fits."""
    words = ["data=wine" if word == "data=iris" else word for word in FRESH]
    drawn = weights_of(trained(tmp_path / "drawn", *words))
    run = trained(tmp_path / "loaded", *words, f"model.weights={source}")
    loaded, theirs = weights_of(run), weights_of(source)
    first, middle, last = ([name for name in drawn if name.startswith(start)] for start in ("1.", "3.", "5."))
    assert len(first) == len(middle) == len(last) == 2
    assert all(torch.equal(loaded[name], drawn[name]) for name in (*first, *last))
    assert all(torch.equal(loaded[name], theirs[name]) for name in middle)
    note = read_summary(run)["notes"][0]
    assert "2 of 6 tensors loaded" in note and "the last layer is a new one, as that in it is for other classes" in note
    assert f"of another shape, so freshly drawn: {', '.join(first)}" in note


def test_a_head_of_another_size_is_replaced_and_said(source, tmp_path):
    weights = weights_of(source)
    weight, bias = (name for name in weights if name.startswith("5."))
    weights |= {name: torch.randn(7, *weights[name].shape[1:]) for name in (weight, bias)}
    torch.save(weights, tmp_path / "seven.pt")
    run = trained(tmp_path, *FRESH, "model.weights=seven.pt")
    assert (
        "4 of 6 tensors loaded; the last layer is a new one, with 3 outputs (that of the weights has 7)"
        in read_summary(run)["notes"][0]
    )
    assert read_summary(run)["start"]["fresh"] == [weight, bias]
    assert all(torch.equal(weights_of(run)[name], values) for name, values in weights.items() if name[:2] != "5.")


def test_a_layer_is_loaded_whole_or_not_at_all(source, tmp_path):
    weights = weights_of(source)
    middle = [name for name in weights_of(source) if name.startswith("3.")]
    del weights[next(name for name in middle if name.endswith("bias"))]
    torch.save({**weights, "other.weight": torch.zeros(3)}, tmp_path / "net.pt")
    drawn = weights_of(trained(tmp_path / "drawn", *FRESH))
    run = trained(tmp_path, *FRESH, "model.weights=net.pt")
    assert all(torch.equal(weights_of(run)[name], drawn[name]) for name in middle)
    note = read_summary(run)["notes"][0]
    assert f"not in it, so freshly drawn: {', '.join(middle)}" in note and "left out: other.weight" in note


def test_long_lists_of_names_are_cut(source, tmp_path):
    extra = {f"extra.{place}": torch.zeros(1) for place in range(30)}
    torch.save({**weights_of(source), **extra}, tmp_path / "net.pt")
    note = read_summary(trained(tmp_path, *FRESH, "model.weights=net.pt"))["notes"][0]
    assert "left out: extra.0, extra.1, extra.2, extra.3 and 26 more" in note


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model=linear"], "no layer of model=linear"),
        (["model=deep_mlp", "model.depth=5"], "did you mean model=mlp model.hidden=[8,6]?"),
        (["model=mlp", "model.hidden=[7,9]"], "did you mean model.hidden=[8,6]?"),
        (["model=mlp", "model.hidden=[8,6]", "norm=batch"], "did you mean norm=none?"),
    ],
)
def test_another_network_is_refused_with_the_one_that_the_weights_are_of(words, said, source, tmp_path):
    if words == ["model=linear"]:
        words = [*words, "data=wine"]
        said = "did you mean model=mlp model.hidden=[8,6]?"
    data = [] if "data=wine" in words else ["data=iris"]
    code, _, errors = command(tmp_path, *data, *words, "epochs=0", "threads=1", f"model.weights={source}")
    assert code == 2 and said in errors and len(errors.strip().splitlines()) == 1, errors
    assert not (tmp_path / "outputs").exists()


def test_a_file_of_torchvision_is_recognised_by_its_name(tmp_path):
    torch.save(torchvision.models.squeezenet1_1(num_classes=10).state_dict(), tmp_path / "squeezenet1_1-b8a52dc0.pth")
    code, _, errors = command(tmp_path, "model=cnn", "threads=1", "model.weights=squeezenet1_1-b8a52dc0.pth")
    assert code == 2 and "did you mean model=torchvision model.name=squeezenet1_1?" in errors, errors


def test_a_network_of_torchvision_takes_its_own_file(tmp_path):
    torch.manual_seed(1)
    theirs = torchvision.models.squeezenet1_1(num_classes=7)
    torch.save(theirs.state_dict(), tmp_path / "net.pth")
    words = ("model=torchvision", "model.name=squeezenet1_1", "model.stem=original", "data=photos", "epochs=0")
    run = trained(tmp_path, *words, "threads=1", "model.weights=net.pth")
    ours, theirs = weights_of(run), theirs.state_dict()
    assert all(torch.equal(ours[f"0.{name}"], values) for name, values in theirs.items() if "classifier" not in name)
    start = read_summary(run)["start"]
    assert start["loaded"] == len(theirs) - 2 and start["fresh"] == ["0.classifier.1.weight", "0.classifier.1.bias"]


def test_another_activation_than_the_weights_were_trained_with_is_noted(source, tmp_path):
    run = trained(tmp_path, *FRESH, "act=tanh", f"model.weights={source}")
    assert any("was trained with act=relu" in note for note in read_summary(run)["notes"])


class Payload:
    def __reduce__(self):
        return os.system, ("touch marker",)


def refused(folder, *said, code=3):
    exit_code, _, errors = command(folder, *FRESH, "model.weights=net.pt")
    assert not (folder / "marker").exists(), "the payload ran"
    assert exit_code == code and len(errors.strip().splitlines()) == 1 and "Traceback" not in errors, errors
    assert "model.weights=net.pt" in errors and all(words in errors for words in said), errors
    assert not (folder / "outputs").exists()


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("nested", [False, True])
def test_nothing_in_a_file_is_executed(zipped, nested, tmp_path):
    content = {"state_dict": {"weight": torch.zeros(2)}, "other": Payload()} if nested else Payload()
    torch.save(content, tmp_path / "net.pt", _use_new_zipfile_serialization=zipped)
    refused(tmp_path, "could execute code")


def test_a_plain_pickle_is_not_executed(tmp_path):
    (tmp_path / "net.pt").write_bytes(pickle.dumps(Payload()))
    refused(tmp_path)


def test_a_whole_module_is_refused_with_what_to_save(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "net.pt")
    refused(tmp_path, "torch.nn.modules.linear.Linear", "save model.state_dict()")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read"),
        (b"no weights", "cannot be read"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "cannot be read"),
        ((1000).to_bytes(8, "little") + b'{"a": 3}', "cannot be read"),
        ((2).to_bytes(8, "little") + b"{}", "holds no tensors"),
    ],
)
def test_a_file_of_another_kind_is_told_in_one_line(content, said, tmp_path):
    (tmp_path / "net.pt").write_bytes(content)
    refused(tmp_path, said)


@pytest.mark.parametrize("content", [torch.zeros(3), [torch.zeros(3)], {"lr": 0.1}, {3: torch.zeros(2)}])
def test_a_file_without_tensors_by_name_is_told_in_one_line(content, tmp_path):
    torch.save(content, tmp_path / "net.pt")
    refused(tmp_path, "holds no tensors by name")


@pytest.mark.parametrize("kind", ["folder", "empty folder", "missing", "pipe"])
def test_a_path_that_is_no_file_of_weights_is_told(kind, source, tmp_path):
    place = tmp_path / "net.pt"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind != "missing":
        place.mkdir()
    if kind == "folder":
        shutil.copy(source / "weights.safetensors", place / "model.safetensors")
    said = {"folder": "did you mean model.weights=net.pt/model.safetensors?", "empty folder": "empty"}
    refused(tmp_path, said.get(kind, "no such folder or file" if kind == "missing" else "neither a file nor a folder"))


def test_a_run_with_a_link_in_it_is_refused(source, tmp_path):
    shutil.copytree(source, tmp_path / "net.pt")
    (tmp_path / "net.pt/weights.safetensors").unlink()
    (tmp_path / "net.pt/weights.safetensors").symlink_to(source / "weights.safetensors")
    refused(tmp_path, "is a link")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value, source, tmp_path):
    weights = weights_of(source)
    name = list(weights)[2]
    weights[name][0] = value
    torch.save(weights, tmp_path / "net.pt")
    refused(tmp_path, name, "NaN or Inf")


def test_a_model_with_weights_of_its_own_takes_no_others(composed):
    from trainer.base.errors import ConfigError
    from trainer.config.hydra_context import Invocation
    from trainer.engine.fine_tuning import start_of

    model = nn.Linear(2, 2)
    model.pretrained = True
    with pytest.raises(ConfigError, match="model.weights=net.pt.*write model.pretrained=false"):
        start_of(composed("model.weights=net.pt"), model, torch.rand(2, 2), None, Invocation())


@pytest.fixture
def moved(source, tmp_path):
    """A copy of the source in `weights`, beside the folders `here` and `there`."""
    shutil.copytree(source, tmp_path / "weights")
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    return tmp_path


TRAINED = (*IRIS, "epochs=4", "optimizer=adam", "on_nan=stop")


@pytest.mark.parametrize("interrupted", [True, False])
def test_a_run_is_resumed_without_the_file_bit_for_bit(interrupted, moved, tmp_path):
    whole = trained(tmp_path / "whole", *TRAINED, "model.weights=../weights")
    run = trained(moved / "here", *TRAINED, "model.weights=../weights", *([] if interrupted else ["epochs=2"]))
    before = read_summary(run)["start"]
    if interrupted:  # as one that was killed before its last checkpoint
        (run / "summary.json").unlink()
        last = max((run / "checkpoints").glob("step-*.pt"), key=lambda path: int(path.stem[5:]))
        last.unlink()
        last.with_name(f"{last.name}.sha256").unlink()
    shutil.rmtree(moved / "weights")
    code, _, errors = command(moved / "there", f"resume={run}", *([] if interrupted else ["epochs=4"]))
    assert code == 0, errors
    after = read_summary(run)
    assert after["start"] == before == read_summary(whole)["start"]
    if interrupted:
        assert after["weights_sha256"] == read_summary(whole)["weights_sha256"]
    code, out, errors = command(moved / "there", "task=evaluate", f"runs=['{run}']", "device=cpu", "threads=1")
    assert code == 0 and f"{after['test']['loss']:.4f}" in out, errors


def test_a_fresh_run_keeps_its_first_state_so_that_it_can_be_resumed(moved):
    trained(moved / "here", *IRIS, "epochs=1", "model.weights=../weights")
    assert (only_run(moved / "here") / "checkpoints/step-0.pt").is_file()


def test_the_path_is_saved_as_an_absolute_one_and_is_no_part_of_the_description(moved):
    run = trained(moved / "here", *IRIS, "epochs=1", "model.weights=../weights")
    assert f"weights: {moved / 'weights'}\n" in (run / "config.yaml").read_text()
    assert "model.weights=../weights" in (run / "overrides.txt").read_text().splitlines()
    assert str(moved) not in (run / "run.json").read_text()
    assert "weights" not in json.loads((run / "run.json").read_text())["config"]["model"]


def test_other_weights_are_refused_beside_resume(moved):
    run = trained(moved / "here", *IRIS, "epochs=1", "model.weights=../weights")
    shutil.copytree(moved / "weights", moved / "others")
    code, _, errors = command(moved / "here", f"resume={run}", "epochs=2", "model.weights=../others")
    assert code == 2 and "model.weights was" in errors, errors


def test_a_sweep_over_weights_begins_each_job_with_its_own(source, tmp_path):
    other = {name: values + 1 for name, values in weights_of(source).items()}
    torch.save(other, tmp_path / "other.pt")
    shutil.copytree(source, tmp_path / "run")
    code, _, errors = command(tmp_path, "-m", *FRESH, "model.weights=run,other.pt,null")
    assert code == 0, errors
    jobs = sorted((tmp_path / "outputs/sweeps").glob("*/*/*/weights.safetensors"))
    assert len(jobs) == 3
    found = [load_file(job) for job in jobs]
    assert (
        sum(equal(each, weights_of(source)) for each in found) == 1 and sum(equal(each, other) for each in found) == 1
    )


def test_parts_of_a_file_come_with_the_best_weights_first(source):
    path = source / "checkpoints" / Path((source / "checkpoints/best").read_text()).name
    assert read_weights(str(path)).parts[0][0] == "weights"
