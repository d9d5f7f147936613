"""A run that was killed at a certain place and is resumed ends as if nothing had happened.

A process that was killed before the end of a run leaves no summary, and no checkpoint from there on.
"""

import json
import shutil

import pytest
import torch
from conftest import only_run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trainer.rundir import checkpoint
from trainer.rundir.event_file import files_in
from trainer.rundir.reader import read_rows, read_summary

SMALL = ("data=iris", "model=linear", "batch_size=30", "threads=1", "device=cpu", "log_every=3")
POISON = """
class Poison:
    '''The first sample of every batch is NaN in steps 2 and 3, and from step `after` on.'''
    def __init__(self, after):
        self.after = after
    def begin(self, now):
        self.step = now.step + 1
    def __call__(self, images, targets, rng):
        images = images.clone()
        if self.step in (2, 3) or self.step >= self.after:
            images[0] = float("nan")
        return images, targets
"""


@pytest.fixture
def trained(run_in_process, tmp_path):
    """Train with the words given; return the run's directory and the words that resume it."""

    def train(*words, code=0):
        own = {word.partition("=")[0]: word for word in (*SMALL, *words)}
        ended, _, errors = run_in_process(*own.values())
        assert ended == code, errors
        run = only_run(tmp_path)
        return run, [f"resume={run}", *(word for word in words if word.startswith("allow="))]

    return train


def kill(run, lost=0):
    """Leave what a process leaves that is killed before the summary, or before the newest `lost` checkpoints."""
    (run / "summary.json").unlink()
    if lost:
        newest = [*checkpoint.newest_first(run / "checkpoints")][lost]
        best = checkpoint.best_step(checkpoint.load(newest, torch.device("cpu")))
        assert checkpoint.Checkpoints(run).rewind(checkpoint.step_of(newest), best, discard=True) == (best is not None)


def timeless(value):
    if isinstance(value, dict):
        times = ("seconds", "time", "throughput", "images_per_second", "files", "sha256")  # digests of files with times
        return {key: timeless(child) for key, child in value.items() if key not in times}
    return value


def end_of(run):
    return timeless(read_summary(run)), [timeless(row) for row in read_rows(run)]


def texts(run):
    """Step and text of every configuration in the event files of a run."""
    accumulator = EventAccumulator(str(run / "train"), size_guidance={"tensors": 0}).Reload()
    return [(each.step, each.tensor_proto.string_val[0]) for each in accumulator.Tensors("config/text_summary")]


@pytest.mark.parametrize("kills", [1, 2])
def test_killed_before_the_summary(kills, trained, run_in_process):
    """The rows of the end have the learning rate of the last step, though the schedule ends at 0."""
    run, words = trained("epochs=2", "sched=cosine")
    before = end_of(run)
    assert before[1][-1]["lr"] > 0
    for _ in range(kills):
        kill(run)
        assert run_in_process(*words)[0] == 0
    assert end_of(run) == before


@pytest.mark.parametrize("lost", [0, 1])
def test_a_run_that_has_stopped_early_stays_stopped(lost, trained, run_in_process):
    patient = "reg.stop.early_stopping.patience=2"
    run, words = trained("epochs=40", "reg=early_stopping", patient, "optimizer.lr=1.5", "save_every=1st")
    before = end_of(run)
    assert before[0]["status"] == "stopped" and before[0]["epochs"] < 40
    kill(run, lost)
    assert run_in_process(*words)[0] == 0
    assert end_of(run) == before


def test_skipped_steps_are_counted_over_all_parts_of_a_run(trained, run_in_process, package):
    name = package(POISON)
    words = ("on_nan=skip", f"+aug.poison._target_={name}.Poison", f"allow=[{name}]", "save_every=1st")
    run, words = trained("epochs=2", *words, "+aug.poison.after=99")
    before = end_of(run)
    assert before[0]["notes"][-1] == "2 steps were skipped: their loss or gradient was not finite (NaN or Inf)"
    kill(run, 1)
    assert run_in_process(*words)[0] == 0
    assert end_of(run) == before


def test_ten_skipped_steps_in_a_row_end_a_run_wherever_it_was_killed(trained, run_in_process, package):
    name = package(POISON)
    words = ("on_nan=skip", f"+aug.poison._target_={name}.Poison", f"allow=[{name}]", "save_every=1st")
    run, words = trained("epochs=10", *words, "+aug.poison.after=6", code=5)
    before = read_summary(run)["diverged_in"]
    assert before == 15  # steps 6 to 15
    kill(run, 1)
    assert run_in_process(*words)[0] == 5
    assert read_summary(run)["diverged_in"] == before


DIVERGING = ("data=regression", "epochs=90st", "eval_every=3st", "batch_size=full", "optimizer=gd", "optimizer.lr=3")


def test_a_rollback_is_noted_once_and_a_loss_that_is_not_finite_is_no_damage(trained, run_in_process):
    """Its validation loss is infinite before its training loss is."""
    words = (*DIVERGING, "sched=constant", "on_nan=rollback", "save_every=1st")
    run, words = trained(*words)
    before = end_of(run)
    assert any("rolled back" in note for note in before[0]["notes"])
    kill(run, 1)
    assert run_in_process(*words)[0] == 0
    assert end_of(run) == before


def test_a_run_that_has_diverged_can_be_resumed(trained, run_in_process):
    run, words = trained(*DIVERGING, "sched=constant", "save_every=1st", "eval_every=1st", code=5)
    code, _, errors = run_in_process(*words)
    assert code == 5 and "diverged: " in errors, errors


def test_texts_of_tensorboard_are_there_once_after_a_kill_while_they_are_written_anew(trained, run_in_process):
    run, words = trained("epochs=2", "save_every=3st")
    (before,) = texts(run)
    old = [file for file in files_in(run / "train")]
    for file in old:  # the new file is complete, and the old one is still there
        first, _, rest = file.name.partition(".1")
        shutil.copy(file, file.with_name(f"{first}.2{rest}"))
    kill(run, 1)
    assert run_in_process(*words)[0] == 0
    assert texts(run) == [before] and len(files_in(run / "train")) == 1


def test_tensorboard_has_the_new_configuration_though_the_run_was_killed_before_it_was_written(trained, run_in_process):
    run, words = trained("epochs=2", "save_every=3st", "optimizer.lr=0.5")
    kill(run, 1)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("lr: 0.5", "lr: 0.25"))
    states = [*checkpoint.newest_first(run / "checkpoints")]
    step = checkpoint.step_of(states[0])
    allowed = "resume.allow=[optimizer.lr]"
    assert run_in_process(*words, "optimizer.lr=0.25", allowed)[0] == 0
    assert [(at, b"lr: 0.25" in text) for at, text in texts(run)] == [(0, False), (step, True)]


def test_files_that_a_dead_process_has_half_written_are_removed(trained, run_in_process):
    run, words = trained("epochs=2")
    kill(run)
    left = [
        run / f".{name}.4711.partial"
        for name in ("summary.json", "weights.safetensors", "metrics.jsonl", "curves.png", "layers.json")
    ]
    mine = [run / name for name in (".notes.4711", ".summary.json.bak", "summary.json.4711")]
    for path in (*left, *mine):
        path.write_text("{")
    assert run_in_process(*words)[0] == 0
    assert not any(path.exists() for path in left) and all(path.exists() for path in mine)
    assert json.loads((run / "summary.json").read_text())["status"] == "finished"
