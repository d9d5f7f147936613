"""Watch the memory and the descriptors of a sweep of many jobs in one process, and of a run of many epochs.

    python scripts/growth.py --jobs 1000 --epochs 10000

For each, a line with both after a fifth of the work and towards its end. The exit code is 0 if neither has grown by
more than 5 % in between. Linux only: it reads /proc.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

GROWTH = 1.05  # of the end to the beginning
INTERVAL = 1.0  # seconds
COMMON = ("data=iris", "model=linear", "threads=1", "device=cpu")


def sample(process: int) -> tuple[int, int]:
    """Return the memory of a process in KiB, without what it shares, and the number of its descriptors."""
    status = Path(f"/proc/{process}/status").read_text().splitlines()
    memory = next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))
    return memory, len(os.listdir(f"/proc/{process}/fd"))


def watch(words: list[str], folder: Path, done: Callable[[], float]) -> list[tuple[float, int, int]]:
    """Run `train` and return, every second, the part of its work that is done, its memory and its descriptors.

    Args:
        done: returns that part, from 0 to 1.
    """
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "trainer", *words], cwd=folder, stdout=log, stderr=log)
    samples = []
    while process.poll() is None:
        try:
            samples.append((done(), *sample(process.pid)))
        except (OSError, StopIteration):  # it has just ended
            break
        time.sleep(INTERVAL)
    if process.wait():
        sys.exit((folder / "log.txt").read_text()[-2000:])
    return samples


def has_grown(name: str, samples: list[tuple[float, int, int]]) -> bool:
    """Print what was found, and return whether memory or descriptors have grown."""
    parts = [[each for each in samples if low <= each[0] <= high] for low, high in ((0.2, 0.4), (0.8, 1.0))]
    early, late = ([min(each[place] for each in part) for place in (1, 2)] for part in parts)
    print(f"{name}: {early[0] / 1024:.0f} MiB and {early[1]} descriptors after a fifth of the work, ", end="")
    print(f"{late[0] / 1024:.0f} MiB and {late[1]} towards its end", flush=True)
    return late[0] > GROWTH * early[0] or late[1] > early[1]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=10_000)
    arguments = parser.parse_args()
    grown = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.jobs:
            sweep = ["-m", *COMMON, "epochs=1", f"seed=range({arguments.jobs})", "hydra.sweep.dir=sweep"]
            ended = lambda: len([*folder.glob("sweep/*/summary.json")]) / arguments.jobs  # noqa: E731
            grown.append(has_grown(f"{arguments.jobs} jobs", watch(sweep, folder, ended)))
        if arguments.epochs:
            run = [*COMMON, f"epochs={arguments.epochs}", "hydra.run.dir=run"]
            lines = lambda: (folder / "log.txt").read_text().count("\nepoch ") / arguments.epochs  # noqa: E731
            grown.append(has_grown(f"{arguments.epochs} epochs", watch(run, folder, lines)))
    sys.exit(any(grown))
