"""Display of a sweep: lines and table are read from the jobs' directories."""

import json
import subprocess
import sys

import pytest

from trainer.config import catalog
from trainer.sweep.display import SweepDisplay, duration
from trainer.sweep.jobs import Job
from trainer.sweep.plot_worker import PlotWorker

FINISHED = (
    '{"status": "finished", "steps": 3, "best": {"loss": 0.5, "accuracy": 0.5, "step": 3, "epoch": 1}, "seconds": 1.5}'
)


def test_running_and_failed_jobs_are_shown_first_and_each_end_is_reported(tmp_path, capsys):
    prepared = []
    for number in range(30):
        directory = tmp_path / f"seed-{number}"
        directory.mkdir()
        prepared.append(Job((f"seed={number}",), directory))
    display = SweepDisplay(tmp_path, 30, PlotWorker(), prepared)
    running, failed = prepared[3].directory, prepared[20].directory
    (running / "run.log").write_text("begun")
    (running / "metrics.jsonl").write_text(
        '{"split": "val", "step": 8, "epoch": 2.6667, "accuracy": 0.75, "loss": 1.0}\n'
    )
    (failed / "summary.json").write_text('{"status": "failed", "error": "out of memory", "code": 4}')
    for number, epoch in enumerate(("1", "0.3333")):
        text = FINISHED.replace('"epoch": 1', f'"epoch": {epoch}')
        (prepared[number].directory / "summary.json").write_text(text)
    display.refresh()
    printed = capsys.readouterr().out
    assert "[3/30] seed-20: failed: out of memory (" in printed
    assert "seed-0: finished, best loss 0.5000  accuracy 0.5000 (epoch 1), 1.5 s" in printed
    assert "seed-1: finished, best loss 0.5000  accuracy 0.5000 (epoch 0.33), 1.5 s" in printed

    table = display.table()
    names = [str(cell) for cell in table.columns[1].cells]
    assert "seed-3" in names and "seed-20" in names and names[-1] == f"and {30 - (len(names) - 1)} more"
    states, epochs, best = (dict(zip(names, table.columns[place].cells)) for place in (2, 3, 4))
    assert [states[f"seed-{number}"] for number in (3, 20, 0, 4)] == ["running", "failed", "finished", "waiting"]
    assert epochs["seed-3"] == "2.67" and best["seed-3"] == "accuracy 0.7500"

    (failed / "summary.json").write_text('{"status": "failed", "error": "out of memory again", "code": 4}')
    display.refresh()  # a second attempt
    assert "[3/30] seed-20: failed: out of memory again (" in capsys.readouterr().out


@pytest.mark.parametrize("length, reached", [("20", {"epoch": 10.0, "step": 8}), ("16st", {"epoch": 4.0, "step": 8})])
def test_the_time_left_counts_the_part_that_a_running_job_has_done(length, reached, tmp_path):
    """8 jobs: 2 ended, one has done its training, one half of it, a fifth has none of it, the others wait."""
    prepared = [Job((f"seed={number}",), tmp_path / f"seed-{number}") for number in range(8)]
    for job in prepared:
        job.directory.mkdir()
        groups = "".join(f"{group}: {{}}\n" for group in catalog.defaults())
        (job.directory / "config.yaml").write_text(f"epochs: {length}\n{groups}")
    display = SweepDisplay(tmp_path, 8, PlotWorker(), prepared)
    assert display.seconds_left() == 0
    row = {"split": "val", "accuracy": 0.75, "loss": 1.0}
    whole = {key: 2 * value for key, value in reached.items()}
    for job, place in zip(prepared[2:5], (whole, reached, {"epoch": 0.0, "step": 0})):
        (job.directory / "run.log").write_text("begun")
        (job.directory / "metrics.jsonl").write_text(json.dumps({**row, **place}) + "\n")
    for job in prepared[:2]:
        (job.directory / "summary.json").write_text(FINISHED)
    display.refresh()
    display._start -= 35  # 3.5 jobs in 35 s
    assert display.seconds_left() == pytest.approx((8 - 3.5) * 10, rel=0.02)


@pytest.mark.parametrize("seconds, text", [(0.4, "0 s"), (59.6, "1 min 0 s"), (125, "2 min 5 s"), (7260, "2 h 1 min")])
def test_durations_have_at_most_two_units(seconds, text):
    assert duration(seconds) == text


PROGRAM = """
import sys
from pathlib import Path
from trainer.sweep.plot_worker import PlotWorker

with PlotWorker() as worker:
    worker.draw(Path(sys.argv[1]))
    while not Path(sys.argv[1], "curves.png").exists():
        pass
    print("drawn", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a killed process closes its output there")
def test_the_plot_worker_ends_with_a_sweep_that_is_killed(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(
        '{"split": "val", "epoch": 1.0, "accuracy": 0.75, "loss": 1.0, "lr": 0.1}\n'
    )
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "drawn\n"
    process.kill()
    process.communicate(timeout=30)  # the worker shares the output, which ends with the last process that has it
