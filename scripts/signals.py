"""Send signals to small runs at random times, resume them to their ends, and compare these with undisturbed runs.

    python scripts/signals.py                         # a short one
    python scripts/signals.py --signals 100           # what docs/reliability.md has the figures of

SIGINT, SIGTERM, SIGHUP, or SIGINT twice, to the process or to its group as a terminal sends it; every third time to a
whole `python -m trainer`, from its very start, else to a forked process that has imported everything. A run must end
with 130, 143 or 129, of the signal itself where the program is not yet or no longer there, or be finished.

The table counts the signals that were lost (the run trained on, did not resume, or ended with another code), the
tracebacks, and the ends that were unequal, as kill.py does. The exit code is 0 only if all of them are 0.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from functools import cache
from pathlib import Path

import children
import disturbing
from disturbing import CONFIGURATIONS, PARTS, Undisturbed, command_of, differences, print_table, runs_in, wait

from trainer.rundir import reader

SENT = ((signal.SIGINT,), (signal.SIGTERM,), (signal.SIGHUP,), (signal.SIGINT, signal.SIGINT))
COLUMNS = ("signals", "interrupted", "before", "finished", "lost", "tracebacks", *PARTS)
WHOLE = 3  # every third process is a whole one
PATIENCE = 120  # seconds from a signal to the end
USUAL = ("short", "plain", "sam", "lbfgs", "ema", "rollback", "skip", "early_stopping", "stream", "sweep")


class Configuration:
    """Runs of a configuration that get signals, and the counts of what became of them."""

    def __init__(self, name: str, folder: Path, rng: random.Random) -> None:
        self.name, self.folder, self.rng = name, folder, rng
        self.counts: Counter[str] = Counter()
        self.undisturbed = Undisturbed(name, folder / "undisturbed")

    def strike(self, numbers: tuple[int, ...], *, whole: bool, group: bool) -> None:
        """Start a run, send signals at a random time, and take the run to its end."""
        folder = self.folder / f"{self.counts['signals']}"
        shutil.copytree(self.undisturbed.begun, folder)
        self.counts["signals"] += 1
        start = begin_whole if whole else begin_forked
        duration = self.undisturbed.duration + (seconds_of_a_start() if whole else 0)
        process = start(folder, *command_of(self.name, folder))
        time.sleep((seconds_of_python() if whole else 0) + self.rng.uniform(0, 1.05 * duration))
        sent = time.time()
        for number in numbers:
            send(process, number, group)
            time.sleep(self.rng.uniform(0, 0.2) if len(numbers) > 1 else 0)
        self.judge(folder, children.wait(process, PATIENCE), numbers[0], sent)
        if code := wait(disturbing.fork_train(folder, *command_of(self.name, folder))):
            self.fail("lost", f"resumed: exit code {code}: {(folder / 'log.txt').read_text()[-500:]}")
        for part, details in differences(folder, self.undisturbed.records):
            self.fail(part, details)

    def judge(self, folder: Path, code: int, number: int, sent: float) -> None:
        """Count how a process ended after a signal that was sent at a time."""
        errors = (folder / "errors.txt").read_text() if (folder / "errors.txt").exists() else ""
        if "Traceback" in errors:
            self.fail("tracebacks", errors[-1500:])
        if code == 128 + number:
            self.counts["interrupted"] += 1
        elif code == -number:
            self.counts["before"] += 1
        elif code == 0:
            self.counts["finished"] += 1
            rows = [row for run in runs_in(folder) for row in reader.read_rows(run, "train")]
            if late := [row for row in rows if row["time"] > sent + 1]:
                self.fail("lost", f"{len(late)} rows of training after the signal")
        else:
            self.fail("lost", f"exit code {code} after signal {number}: {errors[-500:]}")

    def fail(self, part: str, details: str) -> None:
        """Count and print a failure."""
        self.counts[part] += 1
        print(f"{self.name}: {part}: {details}", flush=True)


@cache
def seconds_of_a_start() -> float:
    """Return the seconds that a whole process takes to import what a run needs."""
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", "import disturbing"], cwd=Path(__file__).parent, check=True)
    return time.monotonic() - start


@cache
def seconds_of_python() -> float:
    """Return the seconds in which Python has surely started: a SIGINT before is its own affair, and may be lost."""
    start = time.monotonic()
    for _ in range(4):
        subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.monotonic() - start


def begin_forked(folder: Path, *overrides: str) -> int:
    """Start the program in a forked process with a group of its own, and return its id."""
    return disturbing.fork_train(folder, *overrides, prepared=lead_a_group, whole=True)


def lead_a_group() -> None:
    """Separate this process from the script's group, and its errors from its output."""
    os.setpgrp()
    errors = os.open("errors.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(errors, 2)


def begin_whole(folder: Path, *overrides: str) -> int:
    """Start `python -m trainer` with a group of its own, and return its id."""
    home = Path(__file__).parent.parent
    path = os.pathsep.join([str(home), *sys.path[:1], os.environ.get("PYTHONPATH", "")])
    with (folder / "log.txt").open("a") as log, (folder / "errors.txt").open("a") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", "trainer", *overrides],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path},
            stdout=log,
            stderr=errors,
            process_group=0,
        ).pid


def send(process: int, number: int, group: bool) -> None:
    """Send a signal to a process or to its group, if it is there."""
    try:
        (os.killpg if group else os.kill)(process, number)
    except ProcessLookupError:
        if group:  # it has no group of its own yet
            os.kill(process, number)


def strike_configurations(names: list[str], signals: int, seed: int, forked: bool, folder: Path) -> int:
    """Share the signals among configurations; print the table, and return the number of failures."""
    disturbing.prepare(folder)
    rows = {}
    for index, name in enumerate(names):
        (folder / name).mkdir()
        configuration = Configuration(name, folder / name, random.Random(f"{seed} {name}"))
        for count in range(signals * index // len(names), signals * (index + 1) // len(names)):
            rng = configuration.rng
            whole = count % WHOLE == 0 and not forked
            configuration.strike(SENT[count % len(SENT)], whole=whole, group=rng.random() < 0.3)
        rows[name] = configuration.counts
        print(f"{name}: {configuration.counts['signals']} signals", file=sys.stderr, flush=True)
    total = print_table(rows, COLUMNS)
    return sum(total[column] for column in ("lost", "tracebacks", *PARTS))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--signals", type=int, default=20, help="over all configurations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--configurations", default=",".join(USUAL), help=f"NAME,... of {','.join(CONFIGURATIONS)}")
    parser.add_argument("--forked", action="store_true", help="only forked processes, which start sooner")
    arguments = parser.parse_args()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup the runs would inherit that it is ignored
    with tempfile.TemporaryDirectory(dir=children.scratch()) as place:
        chosen = arguments.configurations.split(",")
        failures = strike_configurations(chosen, arguments.signals, arguments.seed, arguments.forked, Path(place))
    sys.exit(bool(failures))
