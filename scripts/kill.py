"""Kill a small run at random moments, resume it, and so on; then compare the result with an undisturbed run.

    python scripts/kill.py --kills 1000

A third of the kills fall while a checkpoint is being written: in the child alone, renaming a file in checkpoints/ is
slowed down and told to the parent. Ends with one line; the exit code is 0 if no run was unreadable, failed to resume or
differed.
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

WORDS = (
    "model=mlp",
    "model.hidden=[16]",
    "threads=1",
    "device=cpu",
    "epochs=12",
    "batch_size=100",
    "save_every=5st",
    "eval_every=3ep",
    "averaging=ema",
    "reg=dropout",
)
WINDOW = 0.02  # seconds before and after each renaming in which a kill can fall


def child(folder: Path, words: tuple[str, ...], told: int | None) -> int:
    """Start `train` in a forked process, which writes a byte to `told` around each renaming of a checkpoint's file."""
    number = os.fork()
    if number:
        return number
    code = 1
    try:
        os.chdir(folder)
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if told is not None:
            slow_down(told)
        code = start(words)
    finally:
        sys.stdout.flush()
        os._exit(code)


def start(words: tuple[str, ...]) -> int:
    """`train` in this process; its exit code."""
    sys.argv = ["train", *words]
    try:
        main.main()
    except SystemExit as end:
        return end.code or 0
    return 0


def slow_down(told: int) -> None:
    replace = os.replace

    def slow(source: object, target: object) -> None:
        if Path(target).parent.name != "checkpoints":
            return replace(source, target)
        for act in (lambda: None, lambda: replace(source, target)):
            act()
            os.write(told, b".")
            time.sleep(WINDOW)

    os.replace = slow


def disturb(folder: Path, draw: random.Random, usual: float, while_writing: bool) -> tuple[bool, int]:
    """Let a run go on for a while and kill it. Returns whether it was killed, and its exit code."""
    reading, told = os.pipe()
    number = child(folder, (*WORDS, "resume=auto"), told if while_writing else None)
    os.close(told)
    if while_writing:
        for _ in range(draw.randrange(1, 40)):  # 8 bytes a checkpoint: two for it, its digest and each pointer
            if not os.read(reading, 1):
                break
        time.sleep(draw.uniform(0, WINDOW))
    else:
        time.sleep(draw.uniform(0, usual))
    os.kill(number, signal.SIGKILL)
    _, status = os.waitpid(number, 0)
    os.close(reading)
    return os.WIFSIGNALED(status), os.waitstatus_to_exitcode(status)


def unreadable(run: Path) -> str | None:
    """What of a run that has begun cannot be read; None where all can."""
    checkpoints = run / "checkpoints"
    try:
        reader.read_overrides(run)
        reader.read_config(run)
        digests = [path for path in checkpoint.newest_first(checkpoints) if checkpoint.digest_path(path).exists()]
        for path in digests if checkpoints.is_dir() else ():
            checkpoint.load(path, torch.device("cpu"))
        for pointer in ("best", "last"):
            if (checkpoints / pointer).exists() and not checkpoint.is_complete(
                checkpoint.resolve_pointer(checkpoints, pointer)
            ):
                return f"{pointer} names what is not whole"
        if (run / "summary.json").exists():
            json.loads((run / "summary.json").read_text())
    except (DataError, ValueError) as error:
        return str(error)
    return None


def begun(folder: Path) -> set[Path]:
    return {file.parent for file in folder.glob("outputs/*/*/overrides.txt")}


def results(run: Path) -> list:
    """What must not depend on how often a run was killed: its weights, and the scores of what they were averaged to."""
    told = json.loads((run / "summary.json").read_text())
    return [told[key] for key in ("weights_sha256", "best", "test", "steps")]


def kill(folder: Path, kills: int, seed: int) -> int:
    """Returns the number of things that went wrong, having told of them."""
    with contextlib.redirect_stdout(io.StringIO()):
        start((*WORDS, f"output={folder / 'warm'}"))  # imports all that a run needs: children are forked from here
    (folder / "whole").mkdir()
    started = time.monotonic()
    os.waitpid(child(folder / "whole", WORDS, None), 0)
    usual = time.monotonic() - started
    (summary,) = (folder / "whole").glob("outputs/*/*/summary.json")
    wanted = results(summary.parent)
    draw, done, writing, wrong = (
        random.Random(seed),
        0,
        0,
        {"unreadable": set(), "not resumed": set(), "different": set()},
    )
    ended: set[Path] = set()
    while done < kills or begun(folder) - ended:
        if done < kills:
            while_writing = done % 3 == 0
            killed, code = disturb(folder, draw, usual, while_writing)
            done, writing = done + killed, writing + (killed and while_writing)
        else:
            killed, code = (
                False,
                os.waitstatus_to_exitcode(os.waitpid(child(folder, (*WORDS, "resume=auto"), None), 0)[1]),
            )
        if not killed and code:
            wrong["not resumed"].add(f"exit code {code} after {done} kills")
        for run in begun(folder) - ended:
            if why := unreadable(run):
                wrong["unreadable"].add(f"{run.name}: {why}")
            if reader.read_status(run) == "finished":
                ended.add(run)
                if results(run) != wanted:
                    wrong["different"].add(run.name)
            elif done >= kills and not killed:
                ended.add(run)
                wrong["not resumed"].add(f"{run.name}: {reader.read_status(run) or 'never ended'}")
    for kind, cases in wrong.items():
        for case in sorted(cases):
            print(f"{kind}: {case}")
    counts = ", ".join(f"{len(cases)} {kind}" for kind, cases in wrong.items())
    print(f"{done} kills ({writing} while a checkpoint was written), {len(ended)} runs to their end: {counts}")
    return sum(map(len, wrong.values()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    typed = parser.parse_args()
    memory = Path("/dev/shm")  # a process that dies loses nothing there, and 300 waits for a disk are saved
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        sys.exit(bool(kill(Path(folder), typed.kills, typed.seed)))
