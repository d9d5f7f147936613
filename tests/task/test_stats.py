"""task=stats: what it prints and writes, on fresh and trained networks of any kind, and that it leaves no trace."""

import hashlib
import json
import math
import shutil

import pytest
import torch
from conftest import command, only_run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trainer.base.errors import ConfigError
from trainer.config.hydra_context import Invocation
from trainer.engine.build import build_run
from trainer.inspection.activations import Signal, shifts, signals
from trainer.inspection.cost import Cost
from trainer.inspection.report import affordable, attempt, measure, measure_layers
from trainer.inspection.report_text import count, milliseconds, short, size
from trainer.inspection.title import title_of
from trainer.rundir.integrity import is_whole_picture

FAST = ("task=stats", "threads=1", "device=cpu", "task.seconds=0.2", "task.samples=32")
PARTS = ("Layers", "Activations by layer", "Curvature", "Gradient noise", "first-order prediction")


def stats_in(folder):
    (path,) = (folder / "outputs").rglob("stats.json")
    return path.parent, json.loads(path.read_text())


def digest(run):
    """A digest of weights, buffers, the optimizer's state, modes and the random number generator."""
    state = hashlib.sha256()
    for tensor in (*run.model.state_dict().values(), torch.get_rng_state()):
        state.update(tensor.contiguous().numpy().tobytes())
    modes = [module.training for module in run.model.modules()]
    state.update(repr([run.optimizer.state_dict(), run.progress, modes]).encode())
    return state.hexdigest()


@pytest.mark.parametrize(
    "words",
    [
        ["model=cnn", "model.channels=[4]", "norm=batch", "reg=[dropout,l2]", "aug=[flip]"],
        ["model=mlp", "norm=batch", "reg=alpha_dropout", "optimizer=kfac"],
        ["model=mlp", "model.hidden=[4]", "reg=dropconnect", "averaging=ema"],
    ],
)
def test_measuring_leaves_no_trace(words, composed):
    run = build_run(composed("data=digits", *words, "threads=1", "device=cpu"))
    torch.manual_seed(3)
    before, generator = digest(run), torch.get_rng_state()
    found = measure(run, 32, 0.1)
    assert digest(run) == before and torch.equal(generator, torch.get_rng_state())
    assert all(weight.grad is None for weight in run.model.parameters())
    measured = (found.layers, found.cost, found.record, found.values, found.curvature, found.noise, found.first_order)
    assert not any(isinstance(part, str) for part in measured)


@pytest.mark.parametrize(
    "words",
    [
        ["data=iris", "model=linear"],
        ["data=breast_cancer", "model=mlp", "optimizer=lbfgs"],
        ["data=regression", "model=mlp", "norm=layer", "optimizer=schedule_free", "batch_size=full"],
        ["data=digits", "model=resnet20", "norm=group", "precision=bf16", "optimizer=sam", "batch_size=16"],
        ["data=digits", "model=cnn", "act=maxout", "averaging=swa", "accumulate=2"],
        ["data=diabetes", "model=linear", "preprocess=none"],
    ],
    ids=" ".join,
)
def test_any_run_has_every_part(words, tmp_path):
    code, out, errors = command(tmp_path, *FAST, *words)
    assert code == 0 and not errors
    folder, found = stats_in(tmp_path)
    assert all(part in out for part in PARTS) and "cannot be computed" not in out
    assert found["curvature"]["largest"] is not None and len(found["noise"]["points"]) > 1
    assert sum(row["parameters"] for row in found["layers"]) > 0 and found["signals"]
    assert is_whole_picture(folder / "stats.png") and "stats.png" in out and (folder / "config.yaml").is_file()


def test_tensorboard_has_histograms_of_every_layer(tmp_path):
    code, _, errors = command(tmp_path, *FAST, "data=iris", "model=mlp", "model.hidden=[4,4]")
    assert code == 0, errors
    folder, _ = stats_in(tmp_path)
    events = EventAccumulator(str(folder)).Reload()
    tags = set(events.Tags()["histograms"])
    layers = ("1", "3", "5")
    assert {f"activations/{place}" for place in range(1, 6)} <= tags
    assert {f"{kind}/{layer}.weight" for kind in ("weights", "gradients") for layer in layers} <= tags
    (histogram,) = events.Histograms("weights/1.weight")
    assert histogram.histogram_value.num == 16  # 4 features, 4 units


def test_six_cases_of_the_lecture(tmp_path):
    """cs231n: small weights die out, large ones saturate tanh, the right scale keeps its spread; ReLU needs He's."""
    wide = ("data=digits", "model=deep_mlp", "model.width=512", "batch_size=16", "task.seconds=0.01", "task.samples=16")
    spreads = {}
    for act, init in [
        ("tanh", "init=small_normal"),
        ("tanh", "init=normal"),
        ("tanh", "init=lecun_normal"),
        ("relu", "init=lecun_normal"),
        ("relu", "init=he_normal"),
    ]:
        folder = tmp_path / f"{act}-{init}"
        folder.mkdir()
        code, _, errors = command(folder, *FAST, *wide, f"act={act}", init)
        assert code == 0, errors
        rows = stats_in(folder)[1]["signals"][:6]
        spreads[act, init] = [row["std"] for row in rows], [row["saturated"] for row in rows]
    std, _ = spreads["tanh", "init=small_normal"]
    assert [round(math.log2(one / other), 1) for one, other in zip(std, std[1:])] == pytest.approx([2.14] * 5, abs=0.2)
    # A layer multiplies by 0.01 sqrt(512) = 2^-2.14 where tanh is linear.
    _, saturated = spreads["tanh", "init=normal"]
    assert min(saturated[1:]) > 0.8 and saturated[0] > 0.6  # |z| of deviation 22, at first 8, is below 3 for 11 %
    std, saturated = spreads["tanh", "init=lecun_normal"]
    assert std[-1] > 0.3 and max(saturated) < 0.01
    dying, kept = spreads["relu", "init=lecun_normal"][0], spreads["relu", "init=he_normal"][0]
    assert dying[-1] / dying[0] == pytest.approx(2**-2.5, rel=0.5)  # each ReLU halves the mean square
    assert kept[-1] / kept[0] == pytest.approx(1, abs=0.5)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run of 40 steps."""
    folder = tmp_path_factory.mktemp("trained")
    words = ("data=iris", "model=mlp", "model.hidden=[5]", "act=tanh", "batch_size=10", "epochs=5", "norm=batch")
    code, _, errors = command(folder, *words, "threads=1", "device=cpu")
    assert code == 0, errors
    return folder


def test_a_trained_run_has_its_best_weights_and_its_shifts(trained, tmp_path):
    folder = tmp_path / "copied"
    shutil.copytree(trained, folder)
    run = only_run(folder)
    code, out, errors = command(folder, *FAST, f"runs=[{run}]")
    assert code == 0 and not errors and "(best weights)" in out
    _, found = stats_in(folder)
    from safetensors.torch import load_file

    weights = load_file(run / "weights.safetensors")
    norms = {name: weights[name].norm().item() for name in weights if weights[name].dim() > 1}
    measured = {f"{row['names'][0]}.weight": row["weight_norm"] for row in found["signals"] if row["weight_norm"]}
    assert measured == pytest.approx(norms, rel=1e-5)
    assert [*found["shifts"]] == ["best weights"]  # a run of 40 steps has no measurements in between
    assert any(abs(each["mean"]) > 1e-3 for each in found["shifts"]["best weights"])
    assert json.loads((run / "summary.json").read_text())["status"] == "finished"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["batch_size=3"], "batch_size: task=stats takes it from the run's config.yaml"),
        (["tta=flip"], "tta: task=stats has no use for it"),
        (["task.samples=1"], "task.samples=1"),
        (["task.seconds=0"], "task.seconds=0"),
        (["runs=[nowhere]"], "nowhere"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(words, reason, trained, tmp_path):
    folder = tmp_path / "copied"
    shutil.copytree(trained, folder)
    runs = [] if any(word.startswith("runs=") for word in words) else [f"runs=[{only_run(folder)}]"]
    code, out, errors = command(folder, *FAST[:3], *runs, *words)
    assert code in (2, 3) and reason in errors and len(errors.splitlines()) <= 2, out + errors
    assert not [*folder.rglob("stats.json")]


def test_a_sweep_has_a_directory_a_job(tmp_path):
    words = ("data=iris", "model=linear", "init=zeros,he_normal")
    code, out, errors = command(tmp_path, "-m", *FAST, *words)
    assert code == 0, errors
    found = [json.loads(path.read_text())["title"] for path in (tmp_path / "outputs" / "sweeps").rglob("stats.json")]
    assert sorted("init=zeros" in title for title in found) == [False, True]


OWN = '''
import torch
from torch import nn

class Net(nn.Module):
    """A sum that cannot be differentiated twice, a float32 constant and functions instead of modules."""
    def __init__(self, input_shape, outputs, kit):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(input_shape[0], outputs))
        self.layer = nn.Linear(input_shape[0], outputs)
    def forward(self, x):
        return Once.apply(torch.relu(self.layer(x)) + x @ self.weight + torch.ones(1))

class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x
    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return 2 * grad
'''


def test_a_users_own_model_that_cannot_be_differentiated_twice(package, tmp_path, composed):
    name = package(OWN)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "net.yaml").write_text(f"# A net.\n_target_: {name}.Net\n")
    words = ("data=iris", "model=net", f"allow=[{name}]", "--config-dir", "conf")
    code, out, errors = command(tmp_path, *FAST, *words)
    assert code == 0, out + errors
    _, found = stats_in(tmp_path)
    assert found["curvature"]["exact"] is False and "cannot be differentiated twice" in out
    assert found["curvature"]["largest"] > 0
    assert found["noise"]["points"] and found["first_order"]["points"] and found["first_order"]["curvature"] > 0
    rows = {row["name"]: row for row in found["layers"]}
    assert rows[""]["macs"] == 12 and rows["layer"]["macs"] == 12 and rows[""]["parameters"] == 12


def test_a_batch_that_does_not_fit_is_halved(composed):
    run = build_run(composed("data=iris", "model=linear", "threads=1", "device=cpu"))

    class Narrow(torch.nn.Linear):
        def forward(self, x):
            if len(x) > 20:
                raise torch.OutOfMemoryError("too large")
            return super().forward(x)

    rows, (images, _) = measure_layers(Narrow(4, 3), run.train.batch(torch.arange(64)), run)
    assert len(images) == 16 and rows[0].macs == 12

    def fails():
        raise RuntimeError("no\nreason")

    def refuses():
        raise ConfigError("a user's error")

    assert attempt(fails) == "cannot be computed (no)" and attempt(lambda: 3) == 3
    with pytest.raises(ConfigError):
        attempt(refuses)


def test_rows_join_a_layer_with_its_activation():
    layer = {"kind": "Linear", "mean": 9.0, "std": 9.0, "weight_std": 0.1, "grad_norm": 2.0}
    act = {"kind": "Tanh", "mean": 0.1, "std": 0.5, "dead": 0.0, "saturated": 0.2}
    record = {
        "layers": [{"name": "0", **layer}, {"name": "3", **layer}],
        "activations": [{"name": "1", **act}, {"name": "2", **act}],
        "parameters": {"0.weight": {"norm": 1.5}},
    }
    first, second, third = signals(record, ["0", "1", "2", "3"])
    assert first.names == ("0", "1") and first.kind == "Linear + Tanh" and first.weight_norm == 1.5
    assert first.std == 0.5 and first.offset == pytest.approx(0.2) and first.grad_norm == 2.0
    assert second.names == ("2",) and second.weight_std is None and third.names == ("3",) and third.dead is None
    alone = signals(record, ["1", "2", "0", "3"])
    assert [row.names for row in alone] == [("1",), ("2",), ("0",), ("3",)]


def test_shifts_by_hand():
    before = [Signal(names=("0",), kind="Linear", mean=1.0, std=2.0), Signal(names=("1",), kind="Linear")]
    after = [Signal(names=("0",), kind="Linear", mean=2.0, std=3.0), Signal(names=("1",), kind="Linear", mean=1.0)]
    first, second = shifts(before, after)
    assert (first.mean, first.std) == (0.5, 1.5) and second.mean is None


def test_a_title_has_what_decides_the_network_and_what_was_typed():
    choices = {"data": "iris", "model": "mlp", "act": "relu", "init": "auto", "norm": "none", "preprocess": "none"}
    typed = ("preprocess=none", "model.hidden=[4]", "threads=1", "task.samples=32", "seed=3")
    title = title_of(Invocation(overrides=typed, choices=choices))
    assert title == "data=iris model=mlp act=relu init=auto preprocess=none model.hidden=[4] seed=3"


def test_the_tables_fit_a_terminal_of_80_columns(tmp_path):
    code, out, errors = command(tmp_path, *FAST, "data=iris", "model=mlp")
    assert code == 0, errors
    rows = [line for line in out.splitlines() if "Linear + ReLU" in line]
    assert len(rows) == 2 and max(map(len, rows)) <= 80


def test_numbers_as_they_are_read():
    assert [count(value) for value in (None, 0, 999, 1000, 416_520, 714_188_480)] == [
        "?",
        "0",
        "999",
        "1 k",
        "416.5 k",
        "714.2 M",
    ]
    assert [size(value) for value in (0, 12, 1024, 1536, 3 * 2**20)] == ["", "12 B", "1 KiB", "1.5 KiB", "3 MiB"]
    assert [short(value) for value in (None, 0.00123456, 213.4, 1922.0, 1.5e7)] == [
        "",
        "0.00123",
        "213",
        "1,922",
        "1.5e+07",
    ]
    assert milliseconds(0.0123) == "12.3 ms" and milliseconds(None) == ""


def test_what_takes_too_long_is_measured_on_fewer_samples():
    batches = [(torch.zeros(64, 4), torch.zeros(64, 3))] * 8
    cost = Cost(samples=32, forward=0.02, backward=0.03)  # of half a batch: a batch takes 0.1 s, 60 of them 6 s
    assert [len(affordable(batches, cost, seconds)) for seconds in (100, 48, 20, 1)] == [8, 8, 3, 1]
    assert len(affordable(batches, "does not fit into memory", 100)) == 1
