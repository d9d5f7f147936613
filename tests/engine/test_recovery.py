"""Losses that are no numbers, batches that do not fit into memory, signals from anywhere: what is said, and where the run goes on."""

import json
import re

import pytest
import torch
from conftest import only_run

from trainer.base.device import out_of_memory
from trainer.base.layers import decay_parameters
from trainer.engine.build import build_run
from trainer.rundir import checkpoint

SMALL = (
    "model=mlp",
    "model.hidden=[8]",
    "optimizer=sgd",
    "epochs=2",
    "batch_size=200",
    "threads=1",
    "device=cpu",
    "log_every=1000",
)  # 14 updates
TECHNIQUES = '''
import os, resource, signal
import torch
from torch import nn

class Sched:
    """1, but for the updates (from 1) that another factor is told for; a factor of `once` holds the first time only."""
    past = set()
    def __init__(self, factors, once=False):
        self.factors, self.once = {int(update): float(factor) for update, factor in factors.items()}, once
    def __call__(self, now):
        update = now.step + 1
        if update not in self.factors or self.once and update in Sched.past:
            return 1.0
        if self.once:
            Sched.past.add(update)
        return self.factors[update]

class Poison:
    """One pixel of the update `at` is no number."""
    def __init__(self, at):
        self.at = at
    def begin(self, now):
        self.now = now.step + 1
    def __call__(self, images, targets, rng):
        images = images.clone()
        if self.now == self.at:
            images[0, 0, 0, 0] = float("nan")
        return images, targets

class Tight:
    """From the first update on there is room for `mib` more."""
    def __init__(self, mib):
        self.mib = mib
    def __call__(self, now):
        if now.step == 0:
            pages = int(open("/proc/self/statm").read().split()[0])
            resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + self.mib * 2**20, resource.RLIM_INFINITY))
        return 1.0

class Killer(nn.Module):
    """ReLU that ends the process with SIGTERM, once, when its forward pass in this mode comes for the `at`-th time."""
    count, done = 0, False
    def __init__(self, training, at):
        super().__init__()
        self.mode, self.at = training, at
    def forward(self, x):
        if self.training == self.mode and not Killer.done:
            Killer.count += 1
            if Killer.count == self.at:
                Killer.done = True
                os.kill(os.getpid(), signal.SIGTERM)
        return x.relu()

class Data:
    def __init__(self, val_fraction, test_fraction, split_seed, half):
        pass
    def load(self):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("goes on after a signal")
'''


@pytest.fixture
def mine(package):
    return package(TECHNIQUES)


def weights(run):
    return checkpoint.load(checkpoint.resolve_pointer(run / "checkpoints", "last"), torch.device("cpu"))["model"]


def trained(run_in_process, tmp_path, *words):
    """The only run directory after a run that goes well; taken away from outputs/."""
    code, said, errors = run_in_process(*words)
    assert code == 0, errors
    target = tmp_path / f"kept{len(list(tmp_path.glob('kept*')))}"
    only_run(tmp_path).rename(target)
    return target, said


# Weights of an MLP on 64 pixels in [-3, 3] are below 1 and its gradients below 10 here. A factor of 1e30 makes weights of 1e27 to 1e30,
# so that the first layer's outputs stay below 1e33 and the second's would be beyond 3e38. An infinite factor leaves no number at once.
@pytest.mark.parametrize(
    "factor, found",
    [("1e30", r"it began in layer 3 \(Linear\)"), ("inf", r"update 6 had left no numbers in \S+weight")],
)
def test_a_run_that_diverges_says_in_which_update_and_layer(factor, found, mine, run_in_process, tmp_path):
    code, _, errors = run_in_process(
        *SMALL, f"sched._target_={mine}.Sched", f"+sched.factors={{6: {factor}}}", f"allow=[{mine}]"
    )
    assert code == 5 and re.search(rf"stopped being a number in update 7: ({found}); try ", errors), errors
    assert "Traceback" not in errors and len(errors.strip().splitlines()) == 1
    run = only_run(tmp_path)
    assert (
        not (run / "checkpoints" / "best").exists()
        and json.loads((run / "summary.json").read_text())["status"] == "diverged"
    )


def test_images_that_are_no_numbers_are_told_from_layers(mine, run_in_process):
    code, _, errors = run_in_process(
        *SMALL, f"+aug.poison._target_={mine}.Poison", "+aug.poison.at=5", f"allow=[{mine}]"
    )
    assert code == 5 and "in update 5: it began in the images, before any layer" in errors


def test_a_skipped_update_is_one_at_rate_0(mine, run_in_process, tmp_path):
    """Plain SGD at rate 0 leaves the weights to the last bit; so must a skipped update, and the others may not notice."""
    skipping, said = trained(
        run_in_process,
        tmp_path,
        *SMALL,
        "on_nan=skip",
        f"+aug.poison._target_={mine}.Poison",
        "+aug.poison.at=5",
        f"allow=[{mine}]",
    )
    still, _ = trained(
        run_in_process, tmp_path, *SMALL, f"sched._target_={mine}.Sched", "+sched.factors={5: 0}", f"allow=[{mine}]"
    )
    assert "1 updates were skipped" in said and json.loads((skipping / "summary.json").read_text())["verdicts"]
    mine_, theirs = weights(skipping), weights(still)
    assert mine_.keys() == theirs.keys() and all(torch.equal(mine_[name], theirs[name]) for name in theirs)


def test_skipping_changes_nothing_where_nothing_is_skipped(run_in_process, tmp_path):
    words = ("model=cnn", "model.channels=[4]", *SMALL[2:], "optimizer=sam", "norm=batch", "reg=[dropout]")
    digests = [
        json.loads((trained(run_in_process, tmp_path, *words, word)[0] / "summary.json").read_text())["weights_sha256"]
        for word in ("on_nan=stop", "on_nan=skip")
    ]
    assert digests[0] == digests[1]


def test_a_batch_norm_forgets_a_skipped_update(mine, run_in_process, tmp_path):
    run, _ = trained(
        run_in_process,
        tmp_path,
        *SMALL,
        "norm=batch",
        "on_nan=skip",
        f"+aug.poison._target_={mine}.Poison",
        "+aug.poison.at=5",
        f"allow=[{mine}]",
    )
    state = weights(run)
    assert all(value.isfinite().all() for value in state.values())
    assert [int(value) for name, value in state.items() if name.endswith("num_batches_tracked")] == [13]  # of 14


def test_a_run_that_skips_everything_has_diverged(mine, run_in_process, tmp_path):
    code, _, errors = run_in_process(*SMALL, "on_nan=skip", "optimizer=momentum", "optimizer.lr=1e30")
    told = json.loads((only_run(tmp_path) / "summary.json").read_text())
    assert code == 5 and told["steps"] <= 14 and "10" not in told["status"]


def test_a_rollback_goes_back_until_it_helps_and_lowers_the_rate(mine, run_in_process, tmp_path):
    """Update 6 ruins the weights once; that of update 6 is still finite, so the first way back is not far enough, and the second is."""
    words = (*SMALL, "log_every=1", "save_every=1st", f"sched._target_={mine}.Sched", f"allow=[{mine}]")
    run, said = trained(
        run_in_process, tmp_path, *words, "on_nan=rollback", "+sched.factors={6: 1e30}", "+sched.once=true"
    )
    lines = [line for line in said.splitlines() if "rolled back" in line]
    assert (
        len(lines) == 2
        and "rolled back to after update 6, on with optimizer.lr=" in lines[0]
        and "rolled back to after update 5" in lines[1]
    )
    rows = [row for row in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if row["split"] == "train"]
    assert [row["step"] for row in rows] == [*range(1, 15)]
    rate = rows[0]["lr"]
    assert [row["lr"] for row in rows] == [rate] * 5 + [rate / 4] * 9
    quarter = f"+sched.factors={{{','.join(f'{update}: 0.25' for update in range(6, 15))}}}"
    same, _ = trained(run_in_process, tmp_path, *words, quarter)  # a quarter of a float is exact
    assert all(torch.equal(value, weights(same)[name]) for name, value in weights(run).items())


def test_a_rollback_without_an_end_ends(mine, run_in_process, tmp_path):
    code, said, errors = run_in_process(
        *SMALL, "on_nan=rollback", f"sched._target_={mine}.Sched", "+sched.factors={6: inf}", f"allow=[{mine}]"
    )
    assert code == 5 and 1 <= said.count("rolled back to") <= 3 and "stopped being a number in update 7" in errors
    assert json.loads((only_run(tmp_path) / "summary.json").read_text())["status"] == "diverged"


WIDE = (
    "model=mlp",
    "model.hidden=[30000]",
    "optimizer=sgd",
    "epochs=1",
    "batch_size=1200",
    "data.val_fraction=0",
    "eval_batch_size=50",
    "threads=1",
    "device=cpu",
)


def test_a_batch_that_does_not_fit_is_explained(mine, train, tmp_path):
    done = train(*WIDE, f"sched._target_={mine}.Tight", "+sched.mib=150", f"allow=[{mine}]", PYTHONPATH=str(tmp_path))
    assert done.returncode == 4, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert (
        line.startswith("train: batch_size=1200: does not fit into the memory of cpu (peak ")
        and "batch_size=600 accumulate=2 (the same updates), on_oom=halve" in line
    )


def test_halved_batches_give_the_same_updates(mine, train, tmp_path):
    """1,200 samples need 144 MB an activation, 400 need 48; the weights are those of a run that began with what was found."""
    done = train(
        *WIDE,
        "on_oom=halve",
        f"sched._target_={mine}.Tight",
        "+sched.mib=400",
        f"allow=[{mine}]",
        PYTHONPATH=str(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    batch, accumulate = re.findall(r"going on after update 0 with batch_size=(\d+) accumulate=(\d+)", done.stdout)[-1]
    assert int(batch) * int(accumulate) == 1200 and int(accumulate) > 1
    found = only_run(tmp_path)
    found.rename(tmp_path / "halved")
    assert train(*WIDE, f"batch_size={batch}", f"accumulate={accumulate}").returncode == 0
    one, other = (
        json.loads((run / "summary.json").read_text())["weights_sha256"]
        for run in (tmp_path / "halved", only_run(tmp_path))
    )
    assert one == other


@pytest.mark.parametrize(
    "error, wanted",
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("shapes differ"), False),
    ],
)
def test_errors_of_memory_are_told_from_others(error, wanted):
    assert out_of_memory(error) is wanted


@pytest.mark.parametrize(
    "mode, at, steps",
    [("false", 3, 7), ("true", 1, None), ("true", 5, 5)],
    ids=["scoring", "the first update", "an update"],
)
def test_a_run_ended_by_a_signal_goes_on_to_the_same_end(mode, at, steps, mine, run_in_process, tmp_path):
    """A forward pass in evaluation comes twice before the run, then in the scoring after update 7."""
    words = (*SMALL, f"act._target_={mine}.Killer", f"+act.training={mode}", f"+act.at={at}", f"allow=[{mine}]")
    code, _, errors = run_in_process(*words)
    assert code == 143 and "interrupted" in errors and len(errors.strip().splitlines()) == 1, errors
    run = only_run(tmp_path)
    assert json.loads((run / "summary.json").read_text())["status"] == "interrupted"
    assert [path.name for path in checkpoint.newest_first(run / "checkpoints")] == (
        [f"step-{steps}.pt"] if steps else []
    )
    code, said, errors = run_in_process(f"resume={run}", f"allow=[{mine}]")
    assert code == 0, errors
    run.rename(tmp_path / "resumed")
    assert run_in_process(*words)[0] == 0  # the killer strikes once a process
    one, other = (
        json.loads((where / "summary.json").read_text()) for where in (tmp_path / "resumed", only_run(tmp_path))
    )
    assert (one["weights_sha256"], one["best"], one["test"]) == (other["weights_sha256"], other["best"], other["test"])
    rows = [
        [
            (row["step"], row["split"], row["loss"])
            for row in map(json.loads, (where / "metrics.jsonl").read_text().splitlines())
        ]
        for where in (tmp_path / "resumed", only_run(tmp_path))
    ]
    assert rows[0] == rows[1]


def test_a_signal_while_data_is_prepared_ends_the_program(mine, run_in_process, tmp_path):
    code, _, errors = run_in_process(*SMALL, f"data._target_={mine}.Data", f"allow=[{mine}]")
    assert code == 143 and "signal" in errors and "Traceback" not in errors
    assert not (tmp_path / "outputs").exists()


def test_the_best_weights_are_exported_for_use_elsewhere(honest):
    from safetensors.torch import load_file

    exported = load_file(honest / "weights.safetensors")
    best = checkpoint.load(checkpoint.resolve_pointer(honest / "checkpoints", "best"), torch.device("cpu"))["weights"]
    assert exported.keys() == best.keys() and all(torch.equal(exported[name], best[name]) for name in best)
    assert not any(name.startswith("_orig_mod") for name in exported)


def test_nothing_is_skipped_by_default(composed):
    run = build_run(composed(*SMALL))
    assert not run.skips and len(decay_parameters(run.model)) == 2
