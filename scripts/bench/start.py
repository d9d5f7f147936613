"""Time from the start of a command to what its user waits for, in turn with `import torch` by itself.

    python scripts/bench/start.py [--rounds 5] [--jobs 450]

A run is waited for until it prints the line of step 0, behind the evaluation of its fresh network; a sweep until its
first job begins, when the directories of all jobs have been written.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HOME = Path(__file__).parents[2]
RUN = ("model=mlp", "epochs=1", "threads=1")
TRAIN = (sys.executable, "-m", "trainer")
WAIT = 60.0  # seconds, in which any of these has begun


def begun(command: tuple[str, ...], folder: str) -> subprocess.Popen:
    """Return the process of a command, whose output is read by the line."""
    environment = {**os.environ, "PYTHONPATH": str(HOME), "PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment, **pipes)


def seconds_to_line(text: str, *command: str) -> float:
    """Return the seconds until a command prints a line with a text, and wait for its end."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        process, lines = begun(command, folder), []
        for line in process.stdout:
            lines.append(line)
            if text in line:
                seconds = time.perf_counter() - start
                process.communicate()
                return seconds
    raise SystemExit("".join(lines))


def seconds_to_first_job(jobs: int) -> float:
    """Return the seconds until the first job of a sweep begins; the sweep is interrupted then."""
    optimizers, rates = ("momentum", "nesterov"), (0.01, 0.02, 0.05, 0.1, 0.2)
    grid = (f"optimizer={','.join(optimizers)}", f"optimizer.lr={','.join(map(str, rates))}")
    seeds = f"seed=range({jobs // len(optimizers) // len(rates)})"
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        process = begun((*TRAIN, "-m", *RUN, *grid, seeds, "hydra.sweep.dir=sweep"), folder)
        while time.perf_counter() - start < WAIT and process.poll() is None:
            if any(Path(folder, "sweep").glob("*/run.log")):
                seconds = time.perf_counter() - start
                process.send_signal(signal.SIGINT)
                process.communicate()
                return seconds
            time.sleep(0.01)
        process.kill()
        raise SystemExit(process.communicate()[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=450, help="jobs of the sweep, in tens (default: %(default)s)")
    arguments = parser.parse_args()
    waits: dict[str, Callable[[], float]] = {
        "import torch": lambda: seconds_to_line("ready", sys.executable, "-c", "import torch; print('ready')"),
        "train --help": lambda: seconds_to_line("resume.allow=", *TRAIN, "--help"),
        f"train {' '.join(RUN)}, until step 0": lambda: seconds_to_line("step 0", *TRAIN, *RUN),
        f"train -m, {arguments.jobs} jobs, until the first": lambda: seconds_to_first_job(arguments.jobs),
    }
    rounds = [{name: wait() for name, wait in waits.items()} for _ in range(arguments.rounds)]
    for name in waits:
        beyond = statistics.median(times[name] - times["import torch"] for times in rounds)
        behind = f"   {beyond:+.2f} s of import torch" if "until" in name else ""
        print(f"{name:52}{statistics.median(times[name] for times in rounds):6.2f} s{behind}")


if __name__ == "__main__":
    main()
