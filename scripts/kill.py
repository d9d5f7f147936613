"""Kill a small run at random moments, resume it, and repeat; then compare the result with that of an undisturbed run.

    python scripts/kill.py --kills 1000

A third of the kills fall while a checkpoint is being written: the child process slows down the renaming of files in
checkpoints/, and notifies the parent of it. The last line has the counts; the exit code is 0 if every run could be
read, was resumed and ended with the same result.
"""

import argparse
import contextlib
import io
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: a child inherits no threads

import torch

from trainer.base.errors import DataError
from trainer.cli import main
from trainer.rundir import checkpoint, reader
from trainer.rundir.status import Status

OVERRIDES = (
    "model=mlp model.hidden=[16] threads=1 device=cpu epochs=12 batch_size=100 save_every=5st eval_every=3ep "
    "averaging=ema reg=dropout"
).split()
WINDOW = 0.02  # seconds before and after each renaming in which a kill can fall


def fork_train(folder: Path, *overrides: str, notify: int | None = None) -> int:
    """Start `train` in a forked process and return its id.

    Args:
        notify: file descriptor that gets a byte before and after each renaming of a checkpoint's file, which is slowed
            down; None for usual speed.
    """
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        os.chdir(folder)
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if notify is not None:
            slow_down_renames(notify)
        code = train(*overrides)
    finally:
        sys.stdout.flush()
        os._exit(code)


def train(*overrides: str) -> int:
    """Run `train` in this process and return its exit code."""
    sys.argv = ["train", *overrides]
    try:
        main.main()
    except SystemExit as end:
        return end.code or 0
    return 0


def slow_down_renames(notify: int) -> None:
    """Write a byte to `notify` and wait, before and after each renaming of a file in checkpoints/."""
    replace = os.replace

    def pause() -> None:
        os.write(notify, b".")
        time.sleep(WINDOW)

    def slow_replace(source: object, target: object) -> None:
        if Path(target).parent.name != "checkpoints":
            return replace(source, target)
        pause()
        replace(source, target)
        pause()

    os.replace = slow_replace


def wait(process: int) -> tuple[bool, int]:
    """Wait for a process; return whether it was killed, and its exit code."""
    _, status = os.waitpid(process, 0)
    return os.WIFSIGNALED(status), os.waitstatus_to_exitcode(status)


def resume_and_kill(folder: Path, rng: random.Random, duration: float, while_writing: bool) -> tuple[bool, int]:
    """Resume the run and kill it at a random moment; return whether it was killed, and its exit code.

    Args:
        duration: seconds of an undisturbed run.
        while_writing: kill it while a checkpoint is being written.
    """
    read, write = os.pipe()
    process = fork_train(folder, *OVERRIDES, "resume=auto", notify=write if while_writing else None)
    os.close(write)
    if while_writing:
        for _ in range(rng.randrange(1, 40)):  # 8 bytes a checkpoint: two for it, its digest and each pointer
            if not os.read(read, 1):
                break
        time.sleep(rng.uniform(0, WINDOW))
    else:
        time.sleep(rng.uniform(0, duration))
    os.kill(process, signal.SIGKILL)
    os.close(read)
    return wait(process)


def why_unreadable(run: Path) -> str | None:
    """Return the reason why a run cannot be read; None if it can."""
    checkpoints = run / "checkpoints"
    try:
        reader.read_overrides(run)
        reader.read_config(run)
        for path in checkpoint.newest_first(checkpoints):
            if checkpoint.digest_path(path).exists():
                checkpoint.load(path, torch.device("cpu"))
        for pointer in ("best", "last"):
            if (checkpoints / pointer).exists():
                target = checkpoint.resolve_pointer(checkpoints, pointer)
                if target is None or not checkpoint.is_complete(target):
                    return f"{pointer} points to an incomplete checkpoint"
        if (run / "summary.json").exists():
            json.loads((run / "summary.json").read_text())
    except (DataError, ValueError) as error:
        return str(error)
    return None


def runs_in(folder: Path) -> set[Path]:
    """Return the directories of all runs that have started."""
    return {file.parent for file in folder.glob("outputs/*/*/overrides.txt")}


def result_of(run: Path) -> list:
    """Return everything that must not depend on kills: the digest of the weights, the scores and the steps."""
    summary = json.loads((run / "summary.json").read_text())
    return [summary[key] for key in ("weights_sha256", "best", "test", "steps")]


def kill_repeatedly(folder: Path, kills: int, seed: int) -> int:
    """Kill and resume runs; print the failures and the counts, and return the number of failures."""
    with contextlib.redirect_stdout(io.StringIO()):
        train(*OVERRIDES, f"output={folder / 'warm-up'}")  # imports everything, before children are forked from here
    (folder / "undisturbed").mkdir()
    start = time.monotonic()
    wait(fork_train(folder / "undisturbed", *OVERRIDES))
    duration = time.monotonic() - start
    (undisturbed,) = runs_in(folder / "undisturbed")
    expected = result_of(undisturbed)
    rng = random.Random(seed)
    failures: dict[str, set[str]] = {"unreadable": set(), "not resumed": set(), "different": set()}
    ended: set[Path] = set()
    done = writing = 0  # all kills, and those while a checkpoint was being written
    while done < kills or runs_in(folder) - ended:
        if done < kills:
            while_writing = done % 3 == 0
            killed, code = resume_and_kill(folder, rng, duration, while_writing)
            done += killed
            writing += killed and while_writing
        else:
            killed, code = False, wait(fork_train(folder, *OVERRIDES, "resume=auto"))[1]
        if not killed and code:
            failures["not resumed"].add(f"exit code {code} after {done} kills")
        for run in runs_in(folder) - ended:
            if reason := why_unreadable(run):
                failures["unreadable"].add(f"{run.name}: {reason}")
            status = reader.read_status(run)
            if status is Status.FINISHED:
                ended.add(run)
                if result_of(run) != expected:
                    failures["different"].add(run.name)
            elif done >= kills and not killed:
                ended.add(run)
                failures["not resumed"].add(f"{run.name}: {status or Status.UNFINISHED}")
    for kind, cases in failures.items():
        for case in sorted(cases):
            print(f"{kind}: {case}")
    counts = ", ".join(f"{len(cases)} {kind}" for kind, cases in failures.items())
    print(f"{done} kills ({writing} while a checkpoint was written), {len(ended)} runs to their end: {counts}")
    return sum(map(len, failures.values()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    memory = Path("/dev/shm")  # a killed process loses nothing there, and no file waits for the disk
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        sys.exit(bool(kill_repeatedly(Path(folder), arguments.kills, arguments.seed)))
