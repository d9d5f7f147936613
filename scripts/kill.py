"""Kill small runs of many configurations, resume them to their ends, and compare these with undisturbed runs.

    python scripts/kill.py                            # a short one
    python scripts/kill.py --kills 300 --every        # what docs/reliability.md has the figures of

Half of the kills fall at random moments; the others before, within or behind a write that the run makes: the renaming
of a file or an append. A run is killed one to four times. With --every, the first configuration is also killed at each
of its writes, once in a new run and once in a resumed one.

The table counts, for each configuration, the ends that were lost (a run that cannot be read, that is not resumed or
does not finish) or unequal: weights, rows of metrics.jsonl, points of TensorBoard, summary.json, curves.png, and the
files of dead processes that were left over. The exit code is 0 only if all of them are 0.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import disturbing
from children import scratch
from disturbing import (
    CONFIGURATIONS,
    PARTS,
    Undisturbed,
    command_of,
    differences,
    fork_train,
    kill_at,
    print_table,
    runs_in,
    wait,
)

COLUMNS = ("kills", "ends", "lost", *PARTS)
FEW = {"compile": 2}  # kills at most: it takes a minute to compile
MOST = 4  # kills of one run


class Configuration:
    """Runs of a configuration that are killed, and the counts of what became of them."""

    def __init__(self, name: str, folder: Path, rng: random.Random) -> None:
        self.name, self.folder, self.rng = name, folder, rng
        self.counts: Counter[str] = Counter()
        self.undisturbed = Undisturbed(name, folder / "undisturbed")

    def kill(self, kills: int) -> None:
        """Kill runs until so many kills are done, and take each run to its end."""
        while self.counts["kills"] < kills:
            folder = self.begin()
            for _ in range(min(self.rng.randint(1, MOST), kills - self.counts["kills"])):
                self.kill_at_moment(folder) if self.rng.random() < 0.5 else self.kill_at_event(
                    folder, disturbing.choose(self.rng, 1, self.undisturbed.events)
                )
            self.end(folder)

    def kill_at_every_event(self) -> None:
        """Kill new runs and resumed ones at each of their writes."""
        for number in range(1, self.undisturbed.events + 1):
            folder = self.begin()
            self.kill_at_event(folder, number)
            self.end(folder)
        half = self.begin()
        self.kill_at_event(half, self.undisturbed.events // 2)
        for number in range(1, self.undisturbed.events):
            folder = self.begin()
            shutil.copytree(half, folder, dirs_exist_ok=True)
            killed = self.kill_at_event(folder, number)
            self.end(folder)
            if not killed:
                break

    def begin(self) -> Path:
        """Return a new folder."""
        folder = self.folder / f"{self.counts['begun']}"
        self.counts["begun"] += 1
        shutil.copytree(self.undisturbed.begun, folder)
        return folder

    def kill_at_moment(self, folder: Path) -> bool:
        """Start or resume a run, and kill it at a random moment; return whether it was killed."""
        process = fork_train(folder, *command_of(self.name, folder))
        time.sleep(self.rng.uniform(0, self.undisturbed.duration))
        os.kill(process, signal.SIGKILL)
        return self.note(folder, wait(process))

    def kill_at_event(self, folder: Path, number: int) -> bool:
        """Start or resume a run that kills itself at a write; return whether it came so far."""
        return self.note(folder, wait(fork_train(folder, *command_of(self.name, folder), prepared=kill_at(number))))

    def note(self, folder: Path, code: int) -> bool:
        """Count a kill, and what it has made unreadable; return whether the process was killed."""
        killed = code == -signal.SIGKILL
        self.counts["kills"] += killed
        for run in runs_in(folder):
            if reason := disturbing.why_unreadable(run):
                self.fail("lost", f"{run.name}: {reason}")
        if code and not killed:
            self.fail("lost", f"exit code {code}: {(folder / 'log.txt').read_text()[-500:]}")
        return killed

    def end(self, folder: Path) -> None:
        """Resume a run to its end, and compare it with the undisturbed one."""
        self.note(folder, wait(fork_train(folder, *command_of(self.name, folder))))
        self.counts["ends"] += 1
        for part, details in differences(folder, self.undisturbed.records):
            self.fail(part, details)
        shutil.rmtree(folder)

    def fail(self, part: str, details: str) -> None:
        """Count and print a failure."""
        self.counts[part] += 1
        print(f"{self.name}: {part}: {details}", flush=True)


def kill_configurations(names: list[str], kills: int, seed: int, every: bool, folder: Path) -> int:
    """Share the kills among configurations; print the table, and return the number of failures."""
    disturbing.prepare(folder)
    rows = {}
    for index, name in enumerate(names):
        share = kills * (index + 1) // len(names) - kills * index // len(names)
        (folder / name).mkdir()
        configuration = Configuration(name, folder / name, random.Random(f"{seed} {name}"))
        configuration.kill(min(share, FEW.get(name, share)))
        if every and not index:
            configuration.kill_at_every_event()
        shutil.rmtree(folder / name)
        rows[name] = configuration.counts
        print(f"{name}: {configuration.counts['kills']} kills", file=sys.stderr, flush=True)
    total = print_table(rows, COLUMNS)
    return sum(total[column] for column in ("lost", *PARTS))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, help="over all configurations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", action="store_true", help="also kill the first one at each of its writes")
    parser.add_argument("--configurations", default=",".join(CONFIGURATIONS), help="NAME,...")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=scratch()) as place:
        chosen = arguments.configurations.split(",")
        failures = kill_configurations(chosen, arguments.kills, arguments.seed, arguments.every, Path(place))
    sys.exit(bool(failures))
