"""A run as its directory tells it: text files only, of any age and state; nothing is built from them. No torch here."""

import glob
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from filelock import FileLock, Timeout

from trainer.base.errors import DataError
from trainer.base.text import nearest
from trainer.compare.options import options_of
from trainer.config import catalog
from trainer.config.untrusted import read_yaml
from trainer.rundir import directory as rundir
from trainer.rundir.resume import ENDED, flat

FILES = ("metrics.jsonl", "summary.json")  # one of them makes a directory a run's
DEPTH = 4  # levels below a named folder at which runs are looked for
NOT_BEGUN = "not begun"


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is known of one run.

    Args:
        path: its directory.
        words: what was typed for it.
        options: the option of every group, and of every key that holds one; several are joined by `+`.
        values: every other key of its configuration.
        status: as in summary.json; or running, unfinished (it ended without a word), not begun (a sweep has prepared it).
        summary: of summary.json, empty where there is none.
    """

    path: Path
    words: Sequence[str] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, object] = field(default_factory=dict)
    status: str
    summary: Mapping = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """As a run should."""
        return self.status in ENDED

    @property
    def seed(self) -> object:
        return self.values.get("seed", self.summary.get("seed"))

    @property
    def age(self) -> float:
        """When it last said something, in seconds since 1970."""
        return max((modified(self.path / name) for name in FILES), default=0.0)

    @cached_property
    def rows(self) -> list[dict]:
        """The scorings of metrics.jsonl, those that are whole and say when."""
        return [row for row in rundir.rows(self.path, "val", "test") if number(row.get("epoch")) is not None]

    @cached_property
    def settled(self) -> bool:
        """Whether summary.json tells all: the run ended with it, and metrics.jsonl, which takes longer to read, is no younger."""
        written = self.ended and {"best", "final", "test"} <= self.summary.keys()
        return written and modified(self.path / "metrics.jsonl") <= modified(self.path / "summary.json")

    @cached_property
    def cells(self) -> dict[str, str]:
        """Every key and option as it is typed, with every digit."""
        return {key: clean(exact(value)) for key, value in {**self.values, **self.options}.items()}

    @cached_property
    def monitor(self) -> str:
        """What this run calls best: loss, accuracy or r2."""
        said = self.values.get("monitor", "auto")
        return (
            said
            if said in ("loss", "accuracy", "r2")
            else next((name for name in ("accuracy", "r2") if name in self.metrics), "loss")
        )

    @cached_property
    def metrics(self) -> set[str]:
        """Which of loss, accuracy and r2 it has."""
        told = [part for part in (self.summary.get("best"), self.summary.get("test")) if isinstance(part, dict)]
        scorings = told if self.settled else [*self.rows, *told]
        return {name for name in ("loss", "accuracy", "r2") if any(name in scoring for scoring in scorings)}

    @cached_property
    def _known(self) -> dict[str, Mapping]:
        return {}

    def scoring(self, when: str) -> Mapping:
        """The scoring of the validation split that was `best` or `final`, or that of the `test` split; empty where there was none.

        Until a run has ended metrics.jsonl speaks where it is there: summary.json is missing, or tells of its earlier part.
        """
        if when not in self._known:
            self._known[when] = self._scoring(when)
        return self._known[when]

    def _scoring(self, when: str) -> Mapping:
        known = [] if self.settled else self.rows
        rows = [row for row in known if row.get("split") == ("test" if when == "test" else "val")]
        if when == "best":
            scored = [
                row for row in rows if number(row.get("loss")) is not None and number(row.get(self.monitor)) is not None
            ]
            sign = 1 if self.monitor == "loss" else -1
            rows = [min(scored, key=lambda row: (sign * row[self.monitor], row["loss"]))] if scored else []
        if known:
            return rows[-1] if rows else {}
        said = self.summary.get(when)
        said = said.get("val") if when == "final" and isinstance(said, dict) else said
        return said if isinstance(said, dict) else {}

    def score(self, when: str, metric: str) -> float | None:
        """A figure of a scoring; None where it is missing or not a number."""
        return number(self.scoring(when).get(metric))


def number(value: object) -> float | None:
    """A finite number, or None."""
    if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) > sys.float_info.max:
        return None
    return None if math.isnan(value) else float(value)


def exact(value: object) -> str:
    """A value as it is typed; a number that six digits do not give, in full."""
    shown = catalog.as_typed(value)
    return shown if not isinstance(value, float) or math.isnan(value) or float(shown) == value else repr(value)


def clean(text: object) -> str:
    """Text for a terminal or a table: a character that shows nothing, or that steers, becomes its escape."""
    shown = str(text)
    return (
        shown
        if shown.isprintable()
        else "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in shown)
    )


def is_run(directory: Path) -> bool:
    return any(os.path.isfile(f"{directory}/{name}") for name in FILES)


def find(patterns: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The runs at and below the given directories and globs, each once, and a line on every directory named that holds none.

    Errors: DataError where a name matches nothing, or there is no run at all.
    """
    found, notes = {}, []
    for pattern in map(str, patterns):
        place = Path(pattern).expanduser()
        matched = [place] if place.exists() else sorted(Path(name) for name in glob.glob(str(place)))
        if not matched:
            siblings = [path.name for path in place.parent.iterdir()] if place.parent.is_dir() else []
            near = ", ".join(clean(place.parent / name) for name in nearest(place.name, siblings))
            raise DataError(f"runs=[{clean(pattern)}]: nothing is there{f'; did you mean {near}?' if near else ''}")
        for path in matched:
            below = list(runs_below(path))
            found |= {run.resolve(): run for run in below}
            if not below and path == place:
                notes.append(f"left out: {clean(path)} holds no run (metrics.jsonl or summary.json)")
    if not found:
        raise DataError(
            f"runs=[{','.join(map(clean, patterns))}]: no run there; a run's directory holds config.yaml and metrics.jsonl"
        )
    return list(found.values()), notes


def runs_below(directory: Path) -> Iterator[Path]:
    """The directory itself if it is a run's, else those of runs up to four levels below it, in order; in a run none is looked for."""
    level = [directory]
    for _ in range(DEPTH + 1):
        runs = {path for path in level if is_run(path)}
        yield from (path for path in level if path in runs)
        level = [below for path in level if path not in runs for below in folders(path)]


def folders(directory: Path) -> list[Path]:
    """Those in a folder, by name; none where it cannot be looked into."""
    try:
        with os.scandir(directory) as entries:
            return sorted(directory / entry.name for entry in entries if entry.is_dir())
    except OSError:
        return []


def read(directory: Path) -> Record:
    """What a run's directory tells; a file that is missing, cut off or not its kind tells nothing."""
    config, summary, words = (
        mapping(directory / "config.yaml"),
        mapping(directory / "summary.json"),
        text(directory / "overrides.txt").split("\n"),
    )
    status = summary.get("status")
    if busy(directory):
        status = "running"
    elif not isinstance(status, str):
        status = "unfinished" if is_run(directory) or (directory / "run.log").exists() else NOT_BEGUN
    options = dict(options_of(config, words))
    values = {key: value for key, value in flat(config) if not key.endswith("_target_")}
    return Record(path=directory, words=words, options=options, values=values, status=status, summary=summary)


def text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def mapping(path: Path) -> dict:
    """A YAML or JSON file that holds a mapping; empty where it does not."""
    try:
        content = json.loads(text(path)) if path.suffix == ".json" else read_yaml(path)
    except (DataError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def busy(directory: Path) -> bool:
    """Whether a process holds the run."""
    if not (directory / ".lock").is_file():
        return False
    try:
        with FileLock(directory / ".lock").acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False  # not ours to lock: somebody else's folder, or a read-only one
