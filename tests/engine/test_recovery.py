"""Recovery from non-finite losses, lack of memory and signals: the message, and where the run continues."""

import importlib
import re

import processes
import pytest
import torch
from conftest import only_run
from safetensors.torch import load_file

from trainer.base.device import out_of_memory
from trainer.base.errors import MachineError
from trainer.engine import recovery
from trainer.engine.build import build_run
from trainer.engine.state import capture, restore
from trainer.rundir import checkpoint
from trainer.rundir.checkpoint import Checkpoints
from trainer.rundir.reader import read_rows, read_summary
from trainer.rundir.recorder import Recorder

SMALL = (
    "model=mlp",
    "model.hidden=[8]",
    "optimizer=sgd",
    "epochs=2",
    "batch_size=200",
    "threads=1",
    "device=cpu",
    "log_every=1000",
    "sched=constant",
)  # 14 steps
TECHNIQUES = '''
import os, resource, signal
import torch
from safetensors.torch import load_file
from torch import nn

class Sched:
    """1, but for the steps (from 1) with a factor of their own; with `once` a factor holds the first time only."""
    past = set()
    def __init__(self, factors, once=False):
        self.factors, self.once = {int(step): float(factor) for step, factor in factors.items()}, once
    def __call__(self, now):
        step = now.step + 1
        if step not in self.factors or self.once and step in Sched.past:
            return 1.0
        if self.once:
            Sched.past.add(step)
        return self.factors[step]

class Brittle(Sched):
    """A schedule that can be made once in a process."""
    made = 0
    def __init__(self, factors):
        Brittle.made += 1
        if Brittle.made > 1:
            raise MemoryError("no room for a second run")
        super().__init__(factors)

class Poison:
    """One pixel of the step `at` is NaN."""
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
    """From the first step on there is room for `mib` more."""
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

class Crash(nn.Module):
    """ReLU that fails, once, when its forward pass in training comes for the `at`-th time."""
    count = 0
    def __init__(self, at):
        super().__init__()
        self.at = at
    def forward(self, x):
        Crash.count += self.training
        if self.training and Crash.count == self.at:
            raise RuntimeError("crashed")
        return x.relu()

class Data:
    def __init__(self, val_fraction, test_fraction, split_seed):
        pass
    def load(self):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("continued after a signal")
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


# Weights of an MLP on 64 pixels in [-3, 3] are below 1 and its gradients below 10 here. A factor of 1e30 makes weights
# of 1e27 to 1e30, so that the first layer's outputs stay below 1e33 and the second's would be beyond 3e38. An infinite
# factor leaves non-finite weights at once.
@pytest.mark.parametrize(
    "factor, found",
    [("1e30", r"first in layer 3 \(Linear\)"), ("inf", r"after step 6 left NaN or Inf in \S+weight")],
)
def test_a_diverged_run_names_the_step_and_the_layer(factor, found, mine, run_in_process, tmp_path):
    code, _, errors = run_in_process(
        *SMALL, f"sched._target_={mine}.Sched", f"+sched.factors={{6: {factor}}}", f"allow=[{mine}]"
    )
    assert code == 5 and re.search(
        rf"not finite \(NaN or Inf\) at step 7, {found}; likely cause: rate too high$", errors.strip()
    ), errors
    assert "Traceback" not in errors and len(errors.strip().splitlines()) == 1
    run = only_run(tmp_path)
    assert not (run / "checkpoints" / "best").exists() and read_summary(run)["status"] == "diverged"


def test_the_search_for_the_layer_from_a_checkpoint_says_nothing_of_its_own_record(mine, run_in_process):
    words = (f"sched._target_={mine}.Sched", "+sched.factors={30: 1e30}", f"allow=[{mine}]")
    code, out, errors = run_in_process(*SMALL, "epochs=20", *words)
    assert code == 5 and "first in layer" in errors and "lost" not in out + errors, out + errors


def test_non_finite_images_are_told_from_layers(mine, run_in_process):
    code, _, errors = run_in_process(
        *SMALL, f"+aug.poison._target_={mine}.Poison", "+aug.poison.at=5", f"allow=[{mine}]"
    )
    assert code == 5 and "at step 5, first in the images, before any layer" in errors


def test_a_diverged_run_has_diverged_whatever_happens_to_the_search_for_the_layer(mine, run_in_process, tmp_path):
    code, said, errors = run_in_process(
        *SMALL, f"sched._target_={mine}.Brittle", "+sched.factors={6: inf}", f"allow=[{mine}]"
    )
    assert code == 5 and "at step 7, in a layer that could not be found (" in errors
    assert ": the run does not fit into the memory of cpu; " in errors
    assert "diverged at step 7" in said and read_summary(only_run(tmp_path))["status"] == "diverged"


def test_a_skipped_step_is_one_at_rate_0(mine, run_in_process, tmp_path):
    """Plain SGD at rate 0 leaves the weights to the last bit; so must a skipped step, and the others may not notice."""
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
        run_in_process,
        tmp_path,
        *SMALL,
        f"sched._target_={mine}.Sched",
        "+sched.factors={5: 0}",
        f"allow=[{mine}]",
    )
    assert "1 steps were skipped" in said and read_summary(skipping)["notes"]
    mine_, theirs = weights(skipping), weights(still)
    assert mine_.keys() == theirs.keys() and all(torch.equal(mine_[name], theirs[name]) for name in theirs)


def test_skipping_changes_nothing_where_nothing_is_skipped(run_in_process, tmp_path):
    words = ("model=cnn", "model.channels=[4]", *SMALL[3:], "optimizer=sam", "norm=batch", "reg=[dropout]")
    digests = [
        read_summary(trained(run_in_process, tmp_path, *words, word)[0])["weights_sha256"]
        for word in ("on_nan=stop", "on_nan=skip")
    ]
    assert digests[0] == digests[1]


def test_a_batch_norm_forgets_a_skipped_step(mine, run_in_process, tmp_path):
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


def test_a_run_that_skips_ten_steps_in_a_row_has_diverged(run_in_process, tmp_path):
    """Step 1 makes weights of 1e29 or so, finite ones; no loss is finite from step 2 on."""
    code, _, errors = run_in_process(*SMALL[:2], *SMALL[3:], "on_nan=skip", "optimizer=momentum", "optimizer.lr=1e30")
    summary = read_summary(only_run(tmp_path))
    assert code == 5 and "diverged: loss or gradient is not finite (NaN or Inf) at step 11," in errors
    assert (summary["status"], summary["steps"], summary["diverged_in"]) == ("diverged", 11, 11)
    assert summary["notes"][-1] == "10 steps were skipped: their loss or gradient was not finite (NaN or Inf)"


def test_a_rollback_goes_back_until_it_helps_and_lowers_the_rate(mine, run_in_process, tmp_path):
    """Step 6 ruins the weights once; its own loss is finite: the first way back is not far enough, the second is."""
    words = (
        *SMALL,
        "log_every=1",
        "save_every=1st",
        f"sched._target_={mine}.Sched",
        f"allow=[{mine}]",
    )
    run, said = trained(
        run_in_process, tmp_path, *words, "on_nan=rollback", "+sched.factors={6: 1e30}", "+sched.once=true"
    )
    first, second = (line for line in said.splitlines() if "rolled back" in line)
    assert "rolled back to step 6, continuing with optimizer.lr=" in first and "rolled back to step 5," in second
    rows = [*read_rows(run, "train")]
    assert [row["step"] for row in rows] == [*range(1, 15)]
    rate = rows[0]["lr"]
    assert [row["lr"] for row in rows] == [rate] * 5 + [rate / 4] * 9
    quarter = f"+sched.factors={{{','.join(f'{step}: 0.25' for step in range(6, 15))}}}"
    same, _ = trained(run_in_process, tmp_path, *words, quarter)  # a quarter of a float is exact
    assert all(torch.equal(value, weights(same)[name]) for name, value in weights(run).items())
    assert [read_summary(one)[key] for one in (run, same) for key in ("best", "test")][:2] == [
        read_summary(same)["best"],
        read_summary(same)["test"],
    ]


def test_a_run_that_crashes_after_a_rollback_resumes_on_the_branch_that_it_was_on(mine, run_in_process, tmp_path):
    """The probe (2), steps 1 to 7, 7 from the checkpoint of step 6, then from that of step 3: pass 12 is of step 5.

    Only the checkpoint of step 6, of the branch that was given up, is newer than that of step 3.
    """
    words = [
        *SMALL,
        "save_every=3st",
        "on_nan=rollback",
        f"sched._target_={mine}.Sched",
        "+sched.factors={6: 1e30}",
    ]
    words += ["+sched.once=true", f"act._target_={mine}.Crash", f"allow=[{mine}]"]
    module = importlib.import_module(mine)
    code, said, _ = run_in_process(*words, "+act.at=12")
    crashed = only_run(tmp_path)
    assert code == 2 and said.count("rolled back") == 2 and "rolled back to step 3," in said
    assert [path.name for path in checkpoint.newest_first(crashed / "checkpoints")][0] == "step-3.pt"
    code, _, errors = run_in_process(f"resume={crashed}", f"allow=[{mine}]")
    assert code == 0, errors
    crashed.rename(tmp_path / "resumed")
    module.Sched.past.clear()
    undisturbed, _ = trained(run_in_process, tmp_path, *words, "+act.at=1000")
    for name, value in weights(undisturbed).items():
        assert torch.equal(value, weights(tmp_path / "resumed")[name])
    assert read_summary(tmp_path / "resumed")["best"] == read_summary(undisturbed)["best"]


def test_a_rollback_without_an_end_ends(mine, run_in_process, tmp_path):
    code, said, errors = run_in_process(
        *SMALL,
        "on_nan=rollback",
        f"sched._target_={mine}.Sched",
        "+sched.factors={6: inf}",
        f"allow=[{mine}]",
    )
    assert code == 5 and 1 <= said.count("rolled back to") <= 3 and "at step 7," in errors
    assert read_summary(only_run(tmp_path))["status"] == "diverged"


@pytest.mark.parametrize("another_process", [False, True])
def test_restoring_a_state_brings_back_the_best_of_its_time(another_process, composed, tmp_path):
    """Weights, history, best, curves and checkpoints are of one step, though the abandoned branch had a better best.

    Only the newest two checkpoints are kept, and beside each the best of its time: that of step 1 for step 3.
    """
    run = build_run(composed(*SMALL))
    recorder, checkpoints = Recorder(tmp_path, run.data.task), Checkpoints(tmp_path)
    for step, accuracy in ((1, 0.6), (2, 0.5), (3, 0.4), (4, 0.7)):
        now, run.progress.step = run.clock.at(step), step
        with torch.no_grad():
            next(run.model.parameters()).fill_(step)
        scores = {"loss": 1.0, "accuracy": accuracy}
        best = run.progress.add_evaluation(now, scores, run.monitor)
        recorder.record_evaluation("val", now, scores)
        checkpoints = Checkpoints(tmp_path) if another_process else checkpoints
        checkpoints.save(capture(run, recorder, now, None), best)
    folder = tmp_path / "checkpoints"
    assert [path.name for path in checkpoint.newest_first(folder)] == ["step-4.pt", "step-3.pt", "step-1.pt"]

    restore(run, recorder, checkpoints, checkpoint.load(folder / "step-3.pt", run.device), discard=True)
    assert [path.name for path in checkpoint.newest_first(folder)] == ["step-3.pt", "step-1.pt"]
    assert (run.progress.step, run.progress.best["step"]) == (3, 1)
    assert [record["step"] for record in run.progress.history] == [row["step"] for row in recorder.rows] == [1, 2, 3]
    assert next(iter(checkpoints.weights_of(1, run.device).values())).unique().item() == 1
    assert checkpoint.resolve_pointer(folder, "last").name == "step-3.pt"
    recorder.close()


WIDE = (
    "model=mlp",
    "model.hidden=[30000]",
    "optimizer=sgd",
    "sched=constant",
    "epochs=1",
    "batch_size=1200",
    "data.val_fraction=0",
    "eval_batch_size=50",
    "threads=1",
    "device=cpu",
)


def limited(folder, *words):
    """Call `train` in a process of its own, whose memory it may limit: exit code, standard output, standard error."""
    process = processes.begin(folder, *words, output=folder / "output", errors=folder / "errors")
    process.join(300)
    return process.exitcode, (folder / "output").read_text(), (folder / "errors").read_text()


def test_a_batch_that_does_not_fit_is_explained(mine, tmp_path):
    code, _, errors = limited(tmp_path, *WIDE, f"sched._target_={mine}.Tight", "+sched.mib=150", f"allow=[{mine}]")
    assert code == 4, errors
    (line,) = errors.strip().splitlines()
    assert (
        line.startswith("train: batch_size=1200: does not fit into the memory of cpu (peak ")
        and "batch_size=600 accumulate=2 (the same steps), or on_oom=halve" in line
    )


def test_a_batch_of_one_sample_is_not_halved(composed):
    cfg = composed("data=iris", "model=linear", "batch_size=1")
    run = build_run(cfg)
    one_line = r"^batch_size=1: does not fit into the memory of cpu \(peak .+\); try a smaller model, precision=bf16$"
    assert re.search(one_line, str(recovery.does_not_fit(run)))
    with pytest.raises(MachineError, match=one_line):
        recovery.halved(cfg, run)


def test_halved_batches_give_the_same_steps(mine, run_in_process, tmp_path):
    """1,200 samples need 144 MB an activation, 400 need 48; the weights are those of a run with such batches."""
    tight = (f"sched._target_={mine}.Tight", "+sched.mib=300", f"allow=[{mine}]")
    code, said, errors = limited(tmp_path, *WIDE, "on_oom=halve", *tight)
    assert code == 0, errors
    batch, accumulate = re.findall(r"continuing after step 0 with batch_size=(\d+) accumulate=(\d+)", said)[-1]
    assert int(batch) * int(accumulate) == 1200 and int(accumulate) > 1
    found = only_run(tmp_path)
    found.rename(tmp_path / "halved")
    assert run_in_process(*WIDE, f"batch_size={batch}", f"accumulate={accumulate}")[0] == 0
    one, other = (read_summary(run)["weights_sha256"] for run in (tmp_path / "halved", only_run(tmp_path)))
    assert one == other


@pytest.mark.parametrize(("size", "smaller"), [(64, "batch_size=32 accumulate=2"), (15, "batch_size=5 accumulate=3")])
def test_the_smaller_batches_of_the_hint_make_the_same_steps(size, smaller, composed):
    error = str(recovery.does_not_fit(build_run(composed(*SMALL, f"batch_size={size}"))))
    assert f"try {smaller} (the same steps)" in error


def test_a_model_that_does_not_fit_into_memory_is_named(run_in_process, tmp_path):
    code, _, errors = run_in_process("model=mlp", "model.hidden=[300000000000]", "threads=1", "device=cpu")
    said = "model=mlp: the run does not fit into the memory of cpu; try a smaller model, residency=stream"
    assert (code, errors) == (4, f"train: {said}\n") and not [*tmp_path.iterdir()]


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
    [("false", 6, 7), ("true", 1, None), ("true", 3, None), ("true", 7, 5)],
    ids=["validation", "the probe", "the first step", "a step"],
)
def test_a_run_interrupted_by_a_signal_resumes_to_the_same_end(mode, at, steps, mine, run_in_process, tmp_path):
    """Passes in evaluation: the gain, two of the dry run, the multiply-adds, the fresh network, the validation.

    In training: the probe, the steps.
    """
    words = (*SMALL, f"act._target_={mine}.Killer", f"+act.training={mode}", f"+act.at={at}", f"allow=[{mine}]")
    code, _, errors = run_in_process(*words)
    assert code == 143 and "interrupted" in errors and len(errors.strip().splitlines()) == 1, errors
    run = only_run(tmp_path)
    assert read_summary(run)["status"] == "interrupted"
    assert [path.name for path in checkpoint.newest_first(run / "checkpoints")] == (
        [f"step-{steps}.pt"] if steps else []
    )
    code, said, errors = run_in_process(f"resume={run}", f"allow=[{mine}]")
    assert code == 0, errors
    run.rename(tmp_path / "resumed")
    assert run_in_process(*words)[0] == 0  # the killer strikes once a process
    one, other = (read_summary(where) for where in (tmp_path / "resumed", only_run(tmp_path)))
    assert (one["weights_sha256"], one["best"], one["test"]) == (other["weights_sha256"], other["best"], other["test"])
    places = (tmp_path / "resumed", only_run(tmp_path))
    rows = [[(row["step"], row["split"], row["loss"]) for row in read_rows(place)] for place in places]
    assert rows[0] == rows[1]


def test_a_signal_while_data_is_prepared_ends_the_program(mine, run_in_process, tmp_path):
    code, _, errors = run_in_process(*SMALL, f"data._target_={mine}.Data", f"allow=[{mine}]")
    assert code == 143 and "SIGTERM" in errors and "Traceback" not in errors
    assert not (tmp_path / "outputs").exists()


def test_the_best_weights_are_exported_for_use_elsewhere(honest):
    from safetensors.torch import load_file

    exported = load_file(honest / "weights.safetensors")
    best = checkpoint.load(checkpoint.resolve_pointer(honest / "checkpoints", "best"), torch.device("cpu"))["weights"]
    assert exported.keys() == best.keys() and all(torch.equal(exported[name], best[name]) for name in best)
    assert not any(name.startswith("_orig_mod") for name in exported)


def test_checkpoints_that_do_not_fit_into_memory_end_nothing(run_in_process, tmp_path, monkeypatch):
    undisturbed, _ = trained(run_in_process, tmp_path, *SMALL)

    def full(*_):
        raise MemoryError

    monkeypatch.setattr(torch, "save", full)
    run, said = trained(run_in_process, tmp_path, *SMALL)
    assert " ".join(said.split()).count("could not be written (it does not fit into memory); there is none yet") == 1
    summary, exported = read_summary(run), load_file(run / "weights.safetensors")
    assert summary["status"] == "finished" and summary["best"] is None and "checkpoints" in summary["incomplete"]
    assert exported.keys() == weights(undisturbed).keys()
    assert all(torch.equal(value, exported[name]) for name, value in weights(undisturbed).items())


def test_a_best_checkpoint_that_does_not_fit_into_memory_leaves_the_next_best(run_in_process, tmp_path, monkeypatch):
    save, best = torch.save, []

    def full_at_first(state, file):
        if state["progress"]["best"] and not best:
            best.append(state["step"])
            raise torch.OutOfMemoryError("out of memory")
        save(state, file)

    monkeypatch.setattr(torch, "save", full_at_first)
    run, said = trained(run_in_process, tmp_path, *SMALL, "epochs=3")
    summary = read_summary(run)
    assert summary["status"] == "finished" and summary["incomplete"] == [] and summary["best"]["step"] > best[0]
    what = f"the checkpoint of the best evaluation, after step {best[0]}, was not written"
    assert any(note.startswith(what) for note in summary["notes"]) and what in " ".join(said.split())
