"""A full disk ends no run: files keep full records, one warning is given, the rest is written when there is space."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import files_of_at_most, fill
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from torch.utils.tensorboard.summary import scalar

from trainer.base.clock import Clock
from trainer.base.errors import MachineError
from trainer.rundir import curves_plot
from trainer.rundir.append_only import AppendOnlyFile
from trainer.rundir.console import Console
from trainer.rundir.event_file import EventFile
from trainer.rundir.reader import read_rows
from trainer.rundir.recorder import Recorder

pytest.importorskip("resource")

RECORDS = [b"a\n", b"bbbbb\n", b"\n", b"cccccccccc\n", b"dd\n"]


def points(path):
    """Step and value of each scalar, as tensorboard's own reader finds them."""
    return [
        (event.step, value.simple_value)
        for event in LegacyEventFileLoader(str(path)).Load()
        for value in event.summary.value
    ]


def log(recorder, steps, every=10):
    """Log points of a run of 10 steps per epoch, with an evaluation at the end of each."""
    for step in steps:
        recorder.before_step([torch.ones(1)])
        recorder.add(torch.full((2,), float(step)), torch.eye(2), torch.eye(2))
        recorder.log([torch.ones(1)], Clock(10, 1000).at(step, 0.1))
        if step % every == 0:
            recorder.record_evaluation("val", Clock(10, 1000).at(step, 0.1), {"loss": float(step), "accuracy": 1.0})


@pytest.mark.parametrize("before", [b"", b"older records\n"])
def test_a_file_holds_full_records_wherever_the_disk_ends_and_all_when_there_is_space(before, tmp_path):
    everything = b"".join(RECORDS)
    for size in range(len(everything)):
        path, errors = tmp_path / str(size), []
        path.write_bytes(before)
        file = AppendOnlyFile(path, errors.append)
        for record in RECORDS:
            file.write(record)
        with files_of_at_most(len(before) + size):
            file.flush()
            file.flush()
            whole = [b"".join(RECORDS[:number]) for number in range(len(RECORDS))]
            assert path.read_bytes() == before + max((part for part in whole if len(part) <= size), key=len)
            assert not file.complete and [error.errno for error in errors] == [27, 27]  # EFBIG
        file.write(b"later\n")
        file.close()
        assert file.complete and path.read_bytes() == before + everything + b"later\n"


def test_each_record_is_written_once_when_space_returns_little_by_little(tmp_path):
    records = [f"{number:>{number % 13}}\n".encode() for number in range(400)]
    file, size = AppendOnlyFile(tmp_path / "a", lambda error: None), 0
    for number, record in enumerate(records):
        file.write(record)
        size += 2 + number % 3
        with files_of_at_most(size):
            file.flush()
        assert (tmp_path / "a").read_bytes() == b"".join(records)[: (tmp_path / "a").stat().st_size]
        assert (tmp_path / "a").read_bytes()[-1:] in (b"", b"\n")
    file.close()
    assert (tmp_path / "a").read_bytes() == b"".join(records)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="only Linux has files that refuse to become shorter")
def test_a_partial_record_that_cannot_be_removed_is_completed(tmp_path):
    number = os.memfd_create("a", os.MFD_ALLOW_SEALING)
    fcntl.fcntl(number, 1033, 2)  # F_ADD_SEALS, F_SEAL_SHRINK
    path = Path(f"/proc/self/fd/{number}")  # a link, by which no such file is opened
    file = AppendOnlyFile(tmp_path / "a", lambda error: None)
    os.dup2(number, file._file.fileno())
    for record in RECORDS:
        file.write(record)
    for size in (5, 11):
        with files_of_at_most(size):
            file.flush()
        assert path.read_bytes() == b"".join(RECORDS)[:size]
    file.close()
    assert path.read_bytes() == b"".join(RECORDS)
    os.close(number)


def test_without_on_error_a_flush_that_fails_raises(tmp_path):
    events = EventFile(tmp_path)
    events.add(scalar("a", 1.0), 0)
    with files_of_at_most(10), pytest.raises(OSError, match="too large"):
        events.flush()
    events.close()
    assert points(next(tmp_path.glob("events*"))) == [(0, 1.0)]


def test_a_reader_of_an_event_file_finds_full_records_and_the_rest_when_there_is_space(tmp_path):
    events = EventFile(tmp_path, on_error=lambda error: None)
    path = next(tmp_path.glob("events*"))
    reader = LegacyEventFileLoader(str(path))
    for step in range(50):
        events.add(scalar("a", float(step)), step)
    with files_of_at_most(1000):
        events.flush()
    first = [event.step for event in reader.Load() if event.summary.value]
    assert first == list(range(len(first))) and 5 < len(first) < 50 and points(path) == [(step, step) for step in first]
    events.add(scalar("a", 50.0), 50)
    events.close()
    assert first + [event.step for event in reader.Load() if event.summary.value] == list(range(51))
    assert points(path) == [(step, step) for step in range(51)]


def test_curves_give_one_warning_of_each_kind_and_are_complete_when_there_is_space(tmp_path):
    warnings = []
    recorder = Recorder(tmp_path, "classification", warnings.append)
    log(recorder, range(1, 31))
    assert warnings == [] and recorder.incomplete == []
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.parent.name != "val"]
    with files_of_at_most(min(path.stat().st_size for path in files)):
        log(recorder, range(31, 61))
        recorder.state_dict()
        kept = [*read_rows(tmp_path)]
        assert kept == recorder.rows[: len(kept)] and len(kept) < len(recorder.rows) == 66
        assert recorder.incomplete == ["metrics.jsonl", "TensorBoard"]
    since = "incomplete from step 31 on (File too large); training continues"
    assert sorted(line.replace(str(tmp_path), "DIR") for line in warnings) == [
        f"warning: DIR: metrics.jsonl is {since}",
        f"warning: DIR: the TensorBoard curves are {since}",
    ]
    recorder.close()
    assert recorder.incomplete == [] and len(warnings) == 2
    assert [*read_rows(tmp_path)] == recorder.rows
    read = EventAccumulator(str(tmp_path / "train"), size_guidance={"scalars": 0}).Reload()
    assert [(event.step, event.value) for event in read.Scalars("loss")] == [(step, step) for step in range(1, 61)]


def test_the_closing_records_are_missing_from_the_last_step_on(tmp_path):
    warnings = []
    recorder = Recorder(tmp_path, "classification", warnings.append)
    log(recorder, range(1, 21))
    with files_of_at_most(100):
        recorder.record_results({"a": 1.0}, {"a"}, {"best": {"step": 20, "loss": 1.0}}, complete=True)
        recorder.close()
    assert recorder.incomplete == ["TensorBoard"] and len(warnings) == 1 and "incomplete from step 20 on" in warnings[0]


def test_records_that_never_find_space_are_incomplete_to_the_end(tmp_path):
    warnings = []
    recorder = Recorder(tmp_path, "classification", warnings.append)
    log(recorder, range(1, 11))
    with files_of_at_most(500):
        log(recorder, range(11, 1001))
        recorder.record_results({"a": 1.0}, {"a"}, {"best": {"step": 1000, "loss": 1.0}}, complete=True)
        recorder.close()
    assert (
        recorder.incomplete == ["metrics.jsonl", "TensorBoard"]
        and len(warnings) == 2
        and "from step 11 on" in warnings[0]
    )
    assert [row["step"] for row in recorder.rows if row["split"] == "train"] == list(range(1, 1001))
    curves_plot.draw(recorder.rows, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_a_disk_without_space_for_a_new_file_ends_nothing(small_disk):
    warnings = []
    ballast = fill(small_disk)
    recorder = Recorder(small_disk, "classification", warnings.append)
    log(recorder, range(1, 41))
    since = "incomplete from step 1 on (No space left on device); training continues"
    assert sorted(line.replace(str(small_disk), "DISK") for line in warnings) == [
        f"warning: DISK: metrics.jsonl is {since}",
        f"warning: DISK: the TensorBoard curves are {since}",
    ]
    assert recorder.incomplete == ["metrics.jsonl", "TensorBoard"]
    shutil.rmtree(ballast)
    recorder.close()
    assert recorder.incomplete == [] and len(recorder.rows) == 44
    assert len((small_disk / "metrics.jsonl").read_text().splitlines()) == 44
    assert len(points(next((small_disk / "val").iterdir()))) == 8  # loss and accuracy of four evaluations


def test_a_log_on_a_full_disk_gives_one_warning_on_the_terminal(tmp_path, capsys):
    console = Console(tmp_path / "run.log")
    with files_of_at_most(0):
        for number in range(3):
            console.print(f"line {number}")
        console.log_only("for the log alone")
        console.flush()
    warning = f"warning: {tmp_path}/run.log: incomplete from here on (File too large); training continues"
    assert capsys.readouterr().out.splitlines() == ["line 0", warning, "line 1", "line 2"]
    assert console.incomplete == ["run.log"]


def test_a_log_is_complete_again_when_there_is_space(tmp_path, capsys):
    console = Console(tmp_path / "run.log")
    with files_of_at_most(20):
        for number in range(5):
            console.print(f"line {number}")
        assert (tmp_path / "run.log").read_text() == "line 0\nline 1\n" and console.incomplete == ["run.log"]
    console.flush()
    everything = "".join(f"line {number}\n" for number in range(5))
    assert (tmp_path / "run.log").read_text() == everything and console.incomplete == []


PRINT = """
import sys
from pathlib import Path
from trainer.rundir.console import Console

console = Console(Path(sys.argv[1]))
for number in range(3):
    console.print(f"line {number}")
"""


def test_lines_that_the_output_does_not_take_are_in_the_log(tmp_path):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-c", PRINT, str(tmp_path / "run.log")]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    warning = "warning: the output is incomplete from here on (No space left on device); training continues"
    assert (tmp_path / "run.log").read_text().splitlines() == [warning, "line 0", "line 1", "line 2"]


def test_a_figure_is_written_atomically(tmp_path):
    rows = [{"step": 1, "epoch": 1.0, "split": "train", "lr": 0.1, "loss": 1.0, "accuracy": 0.5}]
    path = tmp_path / "curves.png"
    curves_plot.draw(rows, path)
    before = path.read_bytes()
    with files_of_at_most(len(before) // 2), pytest.raises(OSError, match="too large"):
        curves_plot.draw(rows * 2, path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_run_is_not_resumed_where_its_metrics_cannot_be_written(tmp_path):
    recorder = Recorder(tmp_path, "classification")
    log(recorder, range(1, 21))
    state = recorder.state_dict()
    recorder.close()
    before = (tmp_path / "metrics.jsonl").read_bytes()
    with (
        files_of_at_most(100),
        pytest.raises(MachineError, match=r"metrics.jsonl: cannot be written \(File too large\)"),
    ):
        Recorder(tmp_path, "classification").load_state_dict(state, Clock(10, 1000).at(10))
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
