"""Record of a run, read from the text files of its directory; nothing is built from them. No torch here."""

import glob
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from filelock import FileLock, Timeout

from trainer.base.errors import DataError, MachineError
from trainer.base.metrics import METRICS, Metric, monitored
from trainer.base.paths import expanded
from trainer.base.text import as_typed, counted, nearest
from trainer.config import schema
from trainer.config.rule import is_number
from trainer.rundir import integrity, reader
from trainer.rundir.directory import held_folder
from trainer.rundir.saved_options import flat, options_of
from trainer.rundir.status import COMPLETE, Status

FILES = ("metrics.jsonl", "summary.json")  # one of them makes a directory a run's
DEPTH = 4  # levels below a named folder at which runs are searched


@dataclass(frozen=True, kw_only=True)
class Record:
    """A run as its files describe it.

    Args:
        path: its directory.
        overrides: what was typed for it.
        options: the option of every group, and of every key that holds one; several are joined by `+`.
        values: every other key of its configuration.
        status: one of Status; any text that summary.json gives.
        summary: of summary.json, empty where there is none.
        damaged_config: config.yaml is missing or not that of a run.
    """

    path: Path
    overrides: Sequence[str] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, object] = field(default_factory=dict)
    status: str
    summary: Mapping = field(default_factory=dict)
    damaged_config: bool = False

    @property
    def complete(self) -> bool:
        """True if the run finished or stopped early."""
        return self.status in COMPLETE

    @property
    def seed(self) -> object:
        """The seed, which may be anything that a file holds."""
        return self.values.get("seed", self.summary.get("seed"))

    @property
    def age(self) -> float:
        """When its files last changed, in seconds since 1970."""
        return max((modified(self.path / name) for name in FILES), default=0.0)

    @cached_property
    def rows(self) -> list[dict]:
        """The evaluations of metrics.jsonl that have an epoch."""
        return [row for row in reader.read_rows(self.path, "val", "test") if number(row.get("epoch")) is not None]

    @cached_property
    def summarized(self) -> bool:
        """True if summary.json holds all evaluations: the run is complete, and metrics.jsonl is no younger."""
        written = self.complete and {"best", "final", "test"} <= self.summary.keys()
        return written and modified(self.path / "metrics.jsonl") <= modified(self.path / "summary.json")

    @cached_property
    def cells(self) -> dict[str, str]:
        """Every key and option as it is typed, with every digit."""
        return {key: clean(exact(value)) for key, value in {**self.values, **self.options}.items()}

    @cached_property
    def monitor(self) -> Metric:
        """The metric by which this run has chosen its best evaluation."""
        return monitored(str(self.values.get("monitor", "auto")), self.metrics)

    @cached_property
    def metrics(self) -> set[str]:
        """The metrics that any of its evaluations has."""
        parts = [part for part in (self.summary.get("best"), self.summary.get("test")) if isinstance(part, dict)]
        evaluations = parts if self.summarized else [*self.rows, *parts]
        return {name for name in METRICS if any(name in evaluation for evaluation in evaluations)}

    @property
    def steps(self) -> int | None:
        """The steps that the run has done; None where they are not known."""
        known = [self.summary, *(() if self.summarized else self.rows)]
        counts = [number(found.get(name)) for found, name in zip(known, ("steps", *["step"] * len(known)))]
        return max((int(count) for count in counts if count is not None), default=None)

    @property
    def pace(self) -> int | None:
        """The steps of one epoch; None where they are not known."""
        ends = [(row.get("step"), row["epoch"]) for row in self.rows if number(row.get("step")) and row["epoch"] > 0]
        return round(ends[-1][0] / ends[-1][1]) if ends else None

    @property
    def notes(self) -> list[str]:
        """The notes that the run has printed, and those on what its files lack."""
        missing = self.summary.get("incomplete")
        lines = [f"incomplete: {', '.join(map(str, missing))}"] if isinstance(missing, list) and missing else []
        if integrity.was_changed(self.summary):
            lines.append("its summary.json was changed since it was written")
        if self.damaged_config:
            lines.append("its config.yaml is damaged or missing: it lacks settings")
        elif self.complete and integrity.config_was_changed(self.path, self.summary):
            lines.append("its config.yaml was changed since it was written")
        if (
            self.complete
            and not self.summarized
            and "metrics.jsonl" in integrity.damaged_files(self.path, self.summary)
        ):
            lines.append("its metrics.jsonl was changed since it was written")
        elif not self.summarized and (count := reader.damaged_rows(self.path)):
            lines.append(f"{counted('line', count)} of its metrics.jsonl damaged, and left out")
        return [*map(clean, (*reader.notes_of(self.summary), *lines))]

    @property
    def problems(self) -> list[str]:
        """The problems that its verdicts name, as `rate too high`."""
        return [*map(clean, reader.problems_of(self.summary))]

    def of_split(self, name: str, split: str) -> object:
        """Return what summary.json has of a split under `samples`, `samples_sha256` or `constant`; None without it."""
        found = self.summary.get(name)
        return found.get(split) if isinstance(found, dict) else None

    def samples(self, split: str) -> int | None:
        """Return the number of a split's samples; None where it is not known."""
        count = number(self.of_split("samples", split))
        return int(count) if count else None

    def constant(self, split: str, metric: str) -> float | None:
        """Return the score of the best constant answer on a split; None where it is not known."""
        scores = self.of_split("constant", split)
        return number(scores.get(metric)) if isinstance(scores, dict) else None

    @cached_property
    def _evaluations(self) -> dict[str, Mapping]:
        return {}

    def evaluation(self, when: str) -> Mapping:
        """Return the `fresh`, `best` or `final` evaluation of the validation split, or the `test` split's.

        It is empty where there is none. The fresh network's, before the first step, is neither the best nor the final
        one of a run that has done any.
        It is that of metrics.jsonl until a run is complete: summary.json is missing then, or of the run's earlier part.
        """
        if when not in self._evaluations:
            self._evaluations[when] = self._find_evaluation(when)
        return self._evaluations[when]

    def _find_evaluation(self, when: str) -> Mapping:
        known = [] if self.summarized else self.rows
        rows = [row for row in known if row.get("split") == ("test" if when == "test" else "val")]
        if when == "fresh":
            rows = [row for row in rows if row.get("step") == 0]
        elif self.steps:
            rows = [row for row in rows if row.get("step") != 0]
        if when == "best":
            finite = [
                row for row in rows if all(number(row.get(name)) is not None for name in ("loss", self.monitor.name))
            ]
            rows = [min(finite, key=self.monitor.rank)] if finite else []
        if known:
            return rows[-1] if rows else {}
        found = self.summary.get(when)
        found = found.get("val") if when == "final" and isinstance(found, dict) else found
        return found if isinstance(found, dict) else {}

    def score(self, when: str, metric: str) -> float | None:
        """Return a metric of an evaluation; None where it is missing or not finite."""
        return number(self.evaluation(when).get(metric))


def number(value: object) -> float | None:
    """Return a finite number, and None for anything else."""
    return float(value) if is_number(value) else None


def exact(value: object) -> str:
    """Return a value as it is typed; a number that six digits do not give, in full."""
    shown = as_typed(value)
    return shown if not isinstance(value, float) or math.isnan(value) or float(shown) == value else repr(value)


def clean(text: object) -> str:
    """Return text for a terminal or a table, with the escapes of characters that are invisible or that steer."""
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in shown)


def is_run(directory: Path) -> bool:
    """Return whether a directory is that of a run which has recorded anything."""
    return any(os.path.isfile(f"{directory}/{name}") for name in FILES)


def find(patterns: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Return the runs at and below directories and globs, each once, and a note on every directory without any.

    Errors: DataError where a pattern matches nothing, or there is no run at all.
    """
    found, notes = {}, []
    for pattern in map(str, patterns):
        place = expanded(pattern)
        matched = [place] if place.exists() else sorted(Path(name) for name in glob.glob(str(place)))
        if not matched:
            siblings = [path.name for path in place.parent.iterdir()] if place.parent.is_dir() else []
            similar = (place.parent / name for name in nearest(place.name, siblings))
            near = ", ".join(clean(path) for path in similar if path.suffix == ".safetensors" or any(runs_below(path)))
            missing = "matches nothing" if {*pattern} & {*"*?["} else "no such directory"
            raise DataError(f"runs=[{clean(pattern)}]: {missing}{f'; did you mean {near}?' if near else ''}")
        for path in matched:
            below = list(runs_below(path))
            found |= {run.resolve(): run for run in below}
            if not below and path == place:
                notes.append(f"left out: {clean(path)} holds no run (metrics.jsonl or summary.json)")
    if not found:
        asked = ",".join(map(clean, patterns))
        raise DataError(f"runs=[{asked}]: holds no run; a run's directory has config.yaml and metrics.jsonl")
    return list(found.values()), notes


def runs_below(directory: Path) -> Iterator[Path]:
    """Yield the directory itself if it is a run's, else the runs up to four levels below it, in order."""
    level = [directory]
    for _ in range(DEPTH + 1):
        runs = {path for path in level if is_run(path)}
        yield from (path for path in level if path in runs)
        level = [below for path in level if path not in runs for below in folders(path)]


def folders(directory: Path) -> list[Path]:
    """Return the folders in a folder, by name and without links; none where it cannot be read."""
    try:
        with os.scandir(directory) as entries:
            return sorted(directory / entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []


def read(directory: Path) -> Record:
    """Return the record of a run's directory; a file that is missing, cut off or of another kind adds nothing."""
    config = reader.at_present(reader.read_mapping(directory / "config.yaml"))
    summary = reader.read_summary(directory)
    overrides = reader.read_text(directory / "overrides.txt").split("\n")
    status = summary.get("status")
    if busy(directory):
        status = Status.RUNNING
    elif not isinstance(status, str):
        begun = is_run(directory) or (directory / "run.log").exists()
        status = Status.UNFINISHED if begun else Status.NOT_BEGUN
    options = dict(options_of(config, overrides))
    # Keys that the version which made the run did not have; a file without any is no run's.
    known = schema.rules({"reg": {}, "aug": {}}, options) if config else {}
    own = {key: value for key, value in flat(config) if not key.endswith("_target_")}
    return Record(
        path=directory,
        overrides=overrides,
        options=options,
        values={**{path: key.default for path, key in known.items()}, **own},
        status=status,
        summary=summary,
        damaged_config=is_run(directory) and not reader.is_config(config),
    )


def modified(path: Path) -> float:
    """Return when a file was changed; 0 where there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def busy(directory: Path) -> bool:
    """Return whether a process holds the run."""
    try:
        if not (directory / ".lock").is_file():
            with held_folder(directory):
                return False
        with FileLock(directory / ".lock").acquire(timeout=0):
            return False
    except MachineError:
        return True
    except Timeout:
        return True
    except OSError:
        return False  # not ours to lock: somebody else's folder, or a read-only one
