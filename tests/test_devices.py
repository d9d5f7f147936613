"""`devices=2` and torchrun, from the command line: curves, signals, a dead rank, resuming, sweeps, refusals."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import begin as begin_forked

from trainer.base.errors import ConfigError
from trainer.config.hydra_context import Invocation
from trainer.task.train import Train

TRAIN = [sys.executable, "-m", "trainer"]
WORDS = ["data.train_samples=100", "model=mlp", "batch_size=32", "norm=batch", "reg=[dropout]", "threads=1"]
WORDS += ["device=cpu", "save_every=1st", "sched=constant", "optimizer.lr=0.01"]
LONG = "epochs=1000000"


def rows(directory: Path, split: str) -> list[dict]:
    found = map(json.loads, (directory / "metrics.jsonl").read_text().splitlines())
    return [row for row in found if row["split"] == split]


def summary(directory: Path) -> dict:
    return json.loads((directory / "summary.json").read_text())


def begin(folder: Path, *words: str) -> tuple[subprocess.Popen, Path]:
    """Start a long run of two ranks, and return it with its directory once it has evaluated."""
    command = [*TRAIN, *WORDS, LONG, "devices=2", *words]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "starting 2 processes\n"  # before torch is imported
    for line in process.stdout:
        if re.match("epoch +3/", line):
            (directory,) = folder.glob("outputs/*/*")
            return process, directory
    raise AssertionError(process.communicate())


def ranks_of(process: subprocess.Popen) -> dict[int, int]:
    """Return the process ids of the ranks that a process has started."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        if int(status.read_text().rpartition(")")[2].split()[1]) == process.pid:
            environment = (status.parent / "environ").read_bytes().split(b"\0")
            (rank,) = (entry for entry in environment if entry.startswith(b"RANK="))
            found[int(rank.removeprefix(b"RANK="))] = int(status.parent.name)
    return found


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory) -> tuple[Path, int, str]:
    """Directory, exit code and errors of a run of two ranks that SIGTERM has ended."""
    process, directory = begin(tmp_path_factory.mktemp("interrupted"))
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    return directory, process.returncode, errors


def test_a_signal_ends_all_ranks_with_a_checkpoint(interrupted):
    directory, code, errors = interrupted
    assert code == 143
    steps = summary(directory)["steps"]
    assert errors.startswith(f"train: interrupted after {steps:,} steps; resume it with: train resume=")
    assert errors.count("\n") == 1
    assert (directory / "checkpoints" / f"step-{steps}.pt").is_file()


def test_one_process_resumes_the_run_of_two_on_the_curve_of_one(interrupted, tmp_path):
    directory, *_ = interrupted
    steps = summary(directory)["steps"] + 2
    length = f"epochs={steps}st"
    resumed = begin_forked(tmp_path, f"resume={directory}", "devices=1", length, "resume.allow=[epochs]")
    alone = begin_forked(tmp_path, *WORDS, length, errors=tmp_path / "errors")
    for process in (resumed, alone):
        process.join(90)
    assert (resumed.exitcode, alone.exitcode) == (0, 0), (tmp_path / "errors").read_text()
    (other,) = tmp_path.glob("outputs/*/*")
    assert summary(directory)["steps"] == steps
    for split in ("train", "val"):
        found, expected = ({row["step"]: row["loss"] for row in rows(place, split)} for place in (directory, other))
        shared = [step for step in expected if step in found]
        assert steps in shared
        assert [found[step] for step in shared] == pytest.approx([expected[step] for step in shared], rel=1e-4)


def test_a_dead_rank_ends_the_job(tmp_path):
    process, directory = begin(tmp_path)
    os.kill(ranks_of(process)[1], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 4
    assert "train: rank 1 was killed by SIGKILL, and with it the run; repeat the command with resume=auto" in errors
    assert summary(directory)["status"] in ("failed", "interrupted")
    assert [*(directory / "checkpoints").glob("step-*.pt")]


def test_a_sweep_of_two_ranks_is_that_of_one_process(tmp_path):
    words = ["-m", "seed=1,2", "epochs=2", *WORDS]
    found = {}
    for count in (1, 2):
        (folder := tmp_path / str(count)).mkdir()
        process = begin_forked(folder, *words, f"devices={count}", errors=folder / "errors")
        process.join(90)
        assert process.exitcode == 0, (folder / "errors").read_text()
        jobs = sorted(folder.glob("outputs/sweeps/*/*/*/metrics.jsonl"))
        assert len(jobs) == 2
        found[count] = [[row["loss"] for row in rows(job.parent, "val")] for job in jobs]
        assert (folder / "errors").read_text() == ""
    for one, two in zip(found[1], found[2]):
        assert two == pytest.approx(one, rel=1e-5)


def test_torchrun_starts_a_run_whose_console_and_directory_are_of_one_process(tmp_path):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "trainer"]
    ended = subprocess.run([*launcher, *WORDS, "epochs=2"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("epoch 2/2") == ended.stdout.count("finished after 8 steps") == 1
    assert "2 processes, up to 16 samples of a batch each; batch norm over all of them" in ended.stdout
    (directory,) = tmp_path.glob("outputs/*/*")
    assert "devices: 2" in (directory / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["devices=0"], "devices=0: must be a whole number >= 1 (devices: processes that share each batch"),
        (["task=stats", "devices=2"], "devices=2: task=stats runs in one process; leave devices out"),
        (
            ["-m", "devices=2", "seed=1,2", "hydra/launcher=joblib"],
            "devices=2: its jobs run one after the other; leave hydra/launcher=joblib out",
        ),
    ],
)
def test_refusals(run_in_process, words, line):
    code, _, errors = run_in_process(*words)
    assert code == 2
    assert errors.startswith(f"train: {line}")


def test_more_processes_than_a_machine_has_a_use_for_are_refused(run_in_process):
    code, _, errors = run_in_process("devices=100000")
    assert code == 4
    assert errors.startswith("train: devices=100000: too many for this machine, which has ")
    assert errors.endswith(": one for each core, and 4 on any machine\n")


def test_a_run_that_was_not_started_in_processes_is_refused(composed):
    with pytest.raises(ConfigError, match="devices=2: is for the command train, which starts the processes; here is"):
        Train().execute(composed("devices=2"), Invocation())
