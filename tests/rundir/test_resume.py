"""A run that was stopped anywhere goes on to the same weights, bit for bit."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import only_run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trainer.base.errors import ConfigError, DataError
from trainer.engine import summary as report
from trainer.engine.build import build_run
from trainer.engine.loop import fit
from trainer.engine.state import capture, restore
from trainer.rundir import checkpoint, reader
from trainer.rundir import resume as resume_words
from trainer.rundir.checkpoint import Checkpoints, weights_digest
from trainer.rundir.console import Console
from trainer.rundir.recorder import Recorder

SMALL = ("model=mlp", "model.hidden=[16]", "threads=1", "epochs=3", "batch_size=100", "log_every=5")
EVERYTHING = (
    "model=resnet20", "norm=batch", "reg=[dropout,stochastic_depth,label_smoothing,grad_noise,weight_decay]", "aug=[crop,flip,mixup]", "averaging=ema",
    "sched=cosine", "warmup=linear", "accumulate=2", "sampler=hard_examples", "precision=bf16", "optimizer=adam",
    "threads=1", "epochs=2", "batch_size=50", "log_every=3",
)  # fmt: skip
KINDS = {
    "plain": SMALL,
    "everything": EVERYTHING,
    "plateau": (*SMALL, "sched=plateau", "sched.patience=0", "sched.threshold=0.9", "reg=early_stopping"),
    "swa": (*SMALL, "averaging=swa", "norm=batch"),
    "lookahead": (*SMALL, "optimizer=lookahead"),
    "schedule_free": (*SMALL, "optimizer=schedule_free"),
    "sam": (*SMALL, "optimizer=sam"),
    "lbfgs": (*SMALL, "optimizer=lbfgs", "optimizer.max_iter=3", "epochs=4", "batch_size=full"),
    "fractional": ("model=cnn", "model.channels=[8]", "pool=fractional", *SMALL[2:]),
}


class Stop(Exception):
    pass


def train(run, folder, save_at=None, state=None):
    """Fit; after `save_at` steps keep the state and stop as if killed. Returns the state."""
    folder.mkdir(exist_ok=True)
    curves, checkpoints = Recorder(folder, run.data.task), Checkpoints(folder)
    if state:
        restore(run, curves, checkpoints, state)
    taken = []

    def save(now, evaluated, best):
        checkpoints.save(capture(run, curves, now, evaluated), best)
        if now.step == save_at:
            taken.append(checkpoint.load(checkpoints.folder / f"step-{now.step}.pt", run.device))
            raise Stop

    try:
        fit(run, curves, Console(), save)
    except Stop:
        pass
    curves.close()
    return taken[0] if taken else None


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_ends_bit_for_bit_as_the_undisturbed_one(kind, composed, tmp_path):
    words = KINDS[kind]
    undisturbed = build_run(composed(*words))
    train(undisturbed, tmp_path / "undisturbed")
    steps = undisturbed.clock.total_steps
    for at in {1, steps // 2 + 1, steps - 1}:  # the second lies within an epoch
        run = replace(build_run(composed(*words)), save_steps=1)
        state = train(run, tmp_path / str(at), save_at=at)
        resumed = build_run(composed(*words))
        train(resumed, tmp_path / str(at), state=state)
        assert weights_digest(resumed.model) == weights_digest(undisturbed.model)
        with resumed.evaluation_model() as mine, undisturbed.evaluation_model() as theirs:
            assert weights_digest(mine) == weights_digest(theirs)
        assert resumed.progress.history == undisturbed.progress.history
        rows = [
            json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[-1])
            for name in (str(at), "undisturbed")
        ]
        assert rows[0]["loss"] == rows[1]["loss"]


def test_a_checkpoint_holds_nothing_but_tensors_numbers_words_lists_and_dicts(composed, tmp_path):
    state = train(replace(build_run(composed(*EVERYTHING)), save_steps=1), tmp_path, save_at=5)

    def kinds(value):
        if isinstance(value, dict):
            return set().union(*(kinds(key) | kinds(child) for key, child in value.items()))
        return set().union(*map(kinds, value)) if isinstance(value, list) else {type(value)}

    assert kinds(state) <= {torch.Tensor, int, float, str, bool, type(None)}


def test_other_data_is_refused(composed, tmp_path):
    state = train(replace(build_run(composed(*SMALL)), save_steps=1), tmp_path, save_at=5)
    with pytest.raises(DataError, match="the data has changed since the run was trained"):
        train(build_run(composed(*SMALL, "data.split_seed=1")), tmp_path, state=state)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run killed in its middle, and the weights it would have ended with."""
    folder = tmp_path_factory.mktemp("killed")
    words = [*SMALL[:3], "epochs=40", "save_every=10st", "log_every=4"]
    command = [sys.executable, "-m", "trainer", *words]
    subprocess.run([*command, "output=whole"], cwd=folder, check=True, capture_output=True, timeout=120)
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    while len(list(folder.glob("outputs/*/*/checkpoints/step-*.sha256"))) < 2 and process.poll() is None:
        time.sleep(0.01)  # waits for a state of the disk, not for time to pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    (run,) = folder.glob("outputs/*/*")
    (whole,) = folder.glob("whole/*/*/summary.json")
    assert not (run / "summary.json").exists()
    return folder, run, json.loads(whole.read_text()), whole.parent


@pytest.fixture(scope="module")
def resumed(killed, tmp_path_factory):
    """That run resumed past a damaged checkpoint: its process, its directory, the name of what was damaged."""
    folder = tmp_path_factory.mktemp("resumed")
    run = shutil.copytree(killed[1], folder / killed[1].relative_to(killed[0]))
    newest = next(checkpoint.newest_first(run / "checkpoints"))
    newest.write_bytes(newest.read_bytes()[:-20])
    return resume(folder, f"resume={run}"), run, newest.name


def resume(folder, *words):
    return subprocess.run(
        [sys.executable, "-m", "trainer", *words], cwd=folder, capture_output=True, text=True, timeout=120
    )


def test_a_changed_configuration_is_named_by_key_and_needs_a_word(killed):
    folder, run, _, _ = killed
    done = resume(folder, f"resume={run}", "optimizer.lr=0.01")
    assert (
        done.returncode == 2
        and "optimizer.lr was 0.05, is 0.01" in done.stderr
        and "resume.allow=[optimizer.lr]" in done.stderr
    )
    assert len(done.stderr.strip().splitlines()) == 2


def test_a_killed_run_goes_on_to_the_same_weights_past_a_damaged_checkpoint(killed, resumed):
    (done, run, damaged), whole = resumed, killed[2]
    assert done.returncode == 0, done.stderr
    assert (
        f"passed over: {run / 'checkpoints' / damaged}" in done.stdout.replace("\n", "")
        and "resumed after step" in done.stdout
    )
    summary = json.loads((run / "summary.json").read_text())
    assert (
        summary["status"] == "finished"
        and summary["weights_sha256"] == whole["weights_sha256"]
        and summary["test"] == whole["test"]
    )
    assert [path.parent for path in run.parents[1].glob("*/*/config.yaml")] == [run]


def test_a_resumed_runs_curves_have_every_point_once(killed, resumed):
    run, whole = resumed[1], killed[3]
    for split in ("train", "val", "test"):
        points = []
        for folder in (run, whole):
            events = EventAccumulator(str(folder / split), size_guidance={"scalars": 0})
            events.Reload()
            points.append([(event.step, event.value) for event in events.Scalars("loss")])
        assert [step for step, _ in points[0]] == [step for step, _ in points[1]]
        assert [value for _, value in points[0]] == pytest.approx([value for _, value in points[1]], rel=1e-5)
    rows = [
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()] for folder in (run, whole)
    ]
    assert [(row["step"], row["split"]) for row in rows[0]] == [(row["step"], row["split"]) for row in rows[1]]


def test_a_finished_run_has_nothing_to_resume_and_epochs_can_be_added(resumed, tmp_path):
    folder, run = tmp_path, shutil.copytree(resumed[1], tmp_path / "run")
    before = (run / "metrics.jsonl").read_bytes()
    done = resume(folder, f"resume={run}")
    assert done.returncode == 0 and "nothing to do" in done.stdout and (run / "metrics.jsonl").read_bytes() == before
    done = resume(folder, f"resume={run}", "epochs=+2")
    assert done.returncode == 0, done.stderr
    assert "epochs was 40, is 42" in done.stdout and "schedule" not in done.stdout  # a constant one stays what it is
    assert json.loads((run / "summary.json").read_text())["epochs"] == 42


def test_auto_takes_up_the_unfinished_run_of_the_same_words_and_else_begins_one(tmp_path):
    words = [*SMALL, "resume=auto"]
    first = resume(tmp_path, *words)
    assert first.returncode == 0 and "resumed" not in first.stdout
    run = only_run(tmp_path)
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**summary, "status": "interrupted"}))
    second = resume(tmp_path, *words)
    assert second.returncode == 0 and "resumed after step" in second.stdout and only_run(tmp_path) == run
    other = resume(tmp_path, *words, "seed=1")
    assert "resumed" not in other.stdout and len(list(tmp_path.glob("outputs/*/*"))) == 2


def test_a_second_writer_is_refused_and_a_dead_one_holds_nothing(tmp_path):
    from trainer.base.errors import MachineError
    from trainer.rundir import directory as rundir

    holder = subprocess.Popen(
        [sys.executable, "-c", f"from trainer.rundir.directory import lock\nfrom pathlib import Path\nwith lock(Path({str(tmp_path)!r})): print('held', flush=True); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(MachineError, match="another process is writing"):
        with rundir.lock(tmp_path):
            pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with rundir.lock(tmp_path):
        pass


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["resume=nowhere"], 3, "resume=nowhere: not a run's directory"),
        (["epochs=+3"], 2, "epochs can only be added to a run that is resumed"),
    ],
)
def test_what_cannot_be_resumed_is_explained(words, code, said, run_in_process, tmp_path):
    exit_code, _, errors = run_in_process(*words)
    assert exit_code == code and said in errors and "Traceback" not in errors and not list(Path(tmp_path).iterdir())


def test_what_was_perhaps_meant_is_named(tmp_path):
    for name in ("12-00-00-a", "12-30-00-b"):
        (tmp_path / "2026" / name).mkdir(parents=True)
        (tmp_path / "2026" / name / "overrides.txt").touch()
    with pytest.raises(
        DataError,
        match=f"the folder of a sweep; resume one run with resume={tmp_path}/2026/12-00-00-a, or repeat .* all 2$",
    ):
        reader.read_overrides(tmp_path / "2026")
    with pytest.raises(DataError, match=f"not a run's directory.*; did you mean {tmp_path}/2026/12-00-00-a"):
        reader.read_overrides(tmp_path / "2026" / "12-00-00")


def test_a_schedule_that_is_stretched_by_more_epochs_is_told(composed):
    changed = {"epochs": (2, 4)}
    assert "the schedule now spans the new length" in report.resumed(
        build_run(composed(*SMALL, "sched=cosine")), changed
    )
    assert "schedule" not in report.resumed(build_run(composed(*SMALL, "sched=constant")), changed)


def test_fewer_epochs_than_the_run_had_need_a_word():
    resume_words.require_allowed({"epochs": (10, 20)}, [])
    with pytest.raises(ConfigError, match="epochs was 20, is 10"):
        resume_words.require_allowed({"epochs": (20, 10)}, [])
    resume_words.require_allowed({"epochs": (20, 10)}, ["epochs"])


def test_a_resumed_run_takes_up_no_other_optimizer_and_no_smaller_length(run_in_process, unfinished):
    before = (unfinished / "config.yaml").read_bytes()
    for words, said in (
        (
            ("optimizer=sgd", "resume.allow=[optimizer]"),
            "another optimizer cannot continue from the run's state",
        ),
        (("epochs=1", "resume.allow=[epochs]"), "epochs=1: the run has already done 2; epochs=+N adds N epochs"),
    ):
        code, _, errors = run_in_process(f"resume={unfinished}", *words)
        assert code == 2 and said in errors, errors
        assert (unfinished / "config.yaml").read_bytes() == before
