"""Time a sweep: jobs in one process against as many processes, and joblib's processes against one job after the other.

    python scripts/bench/sweep.py [--jobs 20] [--long 8] [--seconds 10] [--pairs 3]

First, short jobs on digits run in one sweep, and the same as commands of their own. Each further job of the sweep takes
the seconds of its summary, and those of what the sweep does around it. Then `--long` jobs of about `--seconds` each run
one after the other, and by joblib with as many processes as there are cores, one thread a job.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HOME = Path(__file__).parents[2]
EPOCHS = 8
SHORT = ("model=mlp", f"epochs={EPOCHS}", "threads=1", "device=cpu")


def timed(arguments: list[str], folder: str) -> float:
    """Run `train` in a process of its own and return its seconds."""
    environment = {**os.environ, "PYTHONPATH": str(HOME)}
    start = time.perf_counter()
    command = [sys.executable, "-m", "trainer", *arguments]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - start


def training_seconds(folder: str, name: str) -> float:
    """Return the total seconds of all jobs of a sweep, from the first step to the last evaluation."""
    return sum(json.loads(path.read_text())["seconds"] for path in Path(folder, name).glob("*/summary.json"))


def time_short_jobs(count: int, folder: str) -> float:
    """Print the time of short jobs in one process and in one process each; return the seconds of a job's training."""
    sweep = timed(["-m", *SHORT, f"seed=range({count})", "hydra.sweep.dir=sweep"], folder)
    single = timed(["-m", *SHORT, "seed=0", "hydra.sweep.dir=single"], folder)
    separate = sum(timed([*SHORT, f"seed={seed}"], folder) for seed in range(count))
    training = (training_seconds(folder, "sweep") - training_seconds(folder, "single")) / (count - 1)
    further = (sweep - single) / (count - 1)
    print(
        f"{count} jobs of {training:.2f} s: one process {sweep:.1f} s, {count} processes {separate:.1f} s, "
        f"ratio {separate / sweep:.1f}"
    )
    print(
        f"each further job takes {further * 1e3:.0f} ms: {training * 1e3:.0f} ms training, "
        f"{(further - training) * 1e3:.0f} ms around it"
    )
    return training


def time_long_jobs(count: int, epochs: int, pairs: int, folder: str) -> None:
    """Print the time of long jobs one after the other, and by joblib."""
    overrides = ["-m", *SHORT, f"epochs={epochs}", f"seed=range({count})"]
    ratios = []
    for pair in range(pairs):
        names = [f"sequential{pair}", f"joblib{pair}"]
        sequential = timed([*overrides, f"hydra.sweep.dir={names[0]}"], folder)
        parallel = timed([*overrides, f"hydra.sweep.dir={names[1]}", "hydra/launcher=joblib"], folder)
        ratios.append(sequential / parallel)
        each = [training_seconds(folder, name) / count for name in names]
        print(
            f"{count} jobs on {os.cpu_count()} cores: sequential {sequential:.0f} s, {each[0]:.1f} s each; "
            f"joblib {parallel:.0f} s, {each[1]:.1f} s each; ratio {ratios[-1]:.2f}",
            flush=True,
        )
    print(f"median ratio of {pairs} pairs: {statistics.median(ratios):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=20, help="short jobs, at least 2 (default: %(default)s)")
    parser.add_argument("--long", type=int, default=8, help="long jobs (default: %(default)s)")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        training = time_short_jobs(arguments.jobs, folder)
        epochs = max(1, round(EPOCHS * arguments.seconds / training))
        time_long_jobs(arguments.long, epochs, arguments.pairs, folder)


if __name__ == "__main__":
    main()
