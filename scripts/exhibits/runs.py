"""Run the commands of experiments, and read what their runs left."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean, stdev

from trainer.config import catalog
from trainer.rundir import reader

ROOT = Path(__file__).parents[2]
COMMAND = "#     train "  # how a line with a command begins
# Keys that make no other setting: figures are averaged over seeds, and the others are this machine's.
SAME = (
    "experiment",
    "seed",
    "data.split_seed",
    "data.root",
    "threads",
    "pretrain.run",
    "pretrain.teacher",
    "model.weights",
)
LIMIT = 900.0  # seconds of a command


@dataclass(frozen=True)
class Job:
    """A finished run.

    Args:
        place: its directory.
        words: what a sweep varied in it, without the seed.
        part: number of its command in the experiment, from 0.
    """

    place: Path
    words: Mapping[str, str]
    part: int

    @cached_property
    def summary(self) -> dict:
        """The content of summary.json."""
        return reader.read_summary(self.place)

    @cached_property
    def rows(self) -> list[dict]:
        """The lines of metrics.jsonl."""
        return [*reader.read_rows(self.place, "train", "val", "test")]

    @property
    def diverged(self) -> bool:
        """True if its loss was not finite."""
        return self.summary.get("status") == "diverged"


@dataclass(frozen=True)
class Group:
    """The runs of one setting, a seed each.

    Args:
        words: what a sweep varied, without the seed.
        part: number of the command.
        jobs: one for each seed.
    """

    words: Mapping[str, str]
    part: int
    jobs: Sequence[Job] = field(default_factory=list)

    @property
    def diverged(self) -> bool:
        """True if no run ended with a finite loss."""
        return all(job.diverged for job in self.jobs)

    @property
    def label(self) -> str:
        """The setting, as it is typed."""
        return " ".join(f"{key}={value}" for key, value in self.words.items()) or f"command {self.part + 1}"


@dataclass(frozen=True)
class Measured:
    """Mean and deviation over seeds; both None where no run has a value."""

    mean: float | None
    deviation: float | None
    values: tuple[float, ...] = ()


def measured(values: Sequence[float | None]) -> Measured:
    """Return mean and sample deviation of the values that are known."""
    known = tuple(value for value in values if value is not None)
    if not known:
        return Measured(None, None)
    return Measured(fmean(known), stdev(known) if len(known) > 1 else 0.0, known)


def commands(name: str) -> list[str]:
    """Return the commands in the opening comment of an experiment, without `train`."""
    lines = catalog.file("experiment", name).read_text().splitlines()
    return [line.removeprefix(COMMAND) for line in lines if line.startswith(COMMAND)]


def run(name: str, folder: Path, data: Sequence[str], threads: int) -> float:
    """Run the commands of an experiment that have not finished yet; return their seconds of processor time.

    Args:
        folder: of all experiments; each command begins in the experiment's own folder below it.
        data: overrides that replace `data.root=DIR`.
    """
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    total = 0.0
    for part, command in enumerate(commands(name)):
        words = [word for word in shlex.split(command) if word != "data.root=DIR"]
        words += [*(data if "data.root=DIR" in command else ()), f"threads={threads}"]
        target = next((word.partition("=")[2] for word in words if word.startswith("hydra.run.dir=")), None)
        if target is None:
            kind = "sweep" if "-m" in words else "run"
            target = f"{kind}-{part}"
            words.append(f"hydra.{kind}.dir={target}")
        total += run_once(words, settings(name), place, place / target, place / f"command-{part}.json")
    return total


def settings(name: str) -> list[str]:
    """Return the lines of an experiment without its comments."""
    return [line for line in catalog.file("experiment", name).read_text().splitlines() if not line.startswith("#")]


def run_once(words: Sequence[str], options: Sequence[str], place: Path, target: Path, note: Path) -> float:
    """Run a command, unless a note says that this one has finished; return its seconds of processor time.

    What an interrupted run has spent is not counted.

    Args:
        options: the lines of its experiment; with others the command begins anew.
        target: directory that it makes.
    """
    asked = {"words": [*words], "settings": [*options]}
    known = json.loads(note.read_text()) if note.exists() else {}
    if asked != {key: known.get(key) for key in asked}:
        shutil.rmtree(target, ignore_errors=True)
    elif known["seconds"] is not None:
        return known["seconds"]
    elif "-m" not in words:
        shutil.rmtree(target, ignore_errors=True)
    note.write_text(json.dumps({**asked, "seconds": None}))
    before = os.times()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with (place / "log.txt").open("a") as log:
        print(f"\n$ train {shlex.join(words)}", file=log, flush=True)
        ended = subprocess.run(
            [sys.executable, "-m", "trainer", *words],
            cwd=place, env=environment, stdout=log, stderr=subprocess.STDOUT, timeout=LIMIT, check=False,
        )  # fmt: skip
    if ended.returncode not in (0, 5):  # 5: a run diverged, which is a result
        raise SystemExit(f"gallery: {shlex.join(words)}: exit code {ended.returncode}, see {place / 'log.txt'}")
    after = os.times()
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    note.write_text(json.dumps({**asked, "seconds": seconds}))
    return seconds


def read_jobs(name: str, folder: Path) -> list[Job]:
    """Return the runs of an experiment's sweeps."""
    jobs = []
    for part, _ in enumerate(commands(name)):
        for path in sorted((folder / name / f"sweep-{part}").glob("*/config.yaml")):
            lines = reader.read_text(path.parent / "overrides.txt").splitlines()
            typed = dict(line.split("=", 1) for line in lines)
            jobs.append(Job(path.parent, {key: value for key, value in typed.items() if key not in SAME}, part))
    return sorted(jobs, key=lambda job: order_in(commands(name)[job.part], job))


def order_in(command: str, job: Job) -> list[int]:
    """Return the places of a job's words among the choices of its command."""
    choices = dict(word.split("=", 1) for word in shlex.split(command) if "=" in word)
    known = {key: [*map(plain, re.findall(r"\[[^\]]*\]|[^,]+", choices[key]))] for key in job.words}
    return [job.part, *(known[key].index(plain(value)) for key, value in job.words.items())]


def plain(value: str) -> str:
    """Return a value that was typed; a number in the same way however it was written, as 0.01 for 1e-2."""
    try:
        return f"{float(value):g}"
    except ValueError:
        return value


def grouped(jobs: Sequence[Job]) -> list[Group]:
    """Return the settings of runs, in the order of the commands, without the words that all of them have."""
    shared = set.intersection(*({*job.words.items()} for job in jobs)) if jobs else set()
    groups: dict[tuple, Group] = {}
    for job in jobs:
        words = {key: value for key, value in job.words.items() if (key, value) not in shared}
        groups.setdefault((job.part, *words.items()), Group(words, job.part, [])).jobs.append(job)
    return [*groups.values()]
