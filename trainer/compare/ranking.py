"""Which settings vary among runs, what they came to over their seeds, and which is best. No torch here."""

import re
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trainer.compare.options import typed
from trainer.compare.record import NOT_BEGUN, Record, clean, exact, number
from trainer.config import catalog

OWN = ("seed", "output", "runs", "allow", "resume", "task")  # keys that make no other setting
MISSING = "-"
FIGURES = (("best", "best val"), ("test", "test"), ("final", "final val"))  # scorings, and what a table calls them
ORDER = ("finished", "stopped", "running", "interrupted", "unfinished", "diverged", "failed", NOT_BEGUN)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One combination of the settings that vary, over its seeds.

    Args:
        cells: column -> value as it is typed, in full, `-` where the run has no such key.
        jobs: a run for each seed, in the order of the seeds.
    """

    cells: dict[str, str]
    jobs: tuple[Record, ...]

    @property
    def shown(self) -> dict[str, str]:
        """The cells, with six digits of a number."""
        return {column: rounded(cell) for column, cell in self.cells.items()}

    @property
    def label(self) -> str:
        return " ".join(f"{column}={cell}" for column, cell in self.shown.items() if cell != MISSING)

    @property
    def ended(self) -> bool:
        return any(job.ended for job in self.jobs)

    @property
    def counted(self) -> tuple[Record, ...]:
        """The runs that ended as they should; where none did, all, as far as they came."""
        return tuple(job for job in self.jobs if job.ended) or self.jobs

    @property
    def status(self) -> str:
        """`finished`, `3 finished`, `2 finished, 1 diverged`."""
        found = [job.status for job in self.jobs]
        names = sorted(set(found), key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
        return clean(names[0]) if len(found) == 1 else ", ".join(f"{found.count(name)} {clean(name)}" for name in names)

    @property
    def seeds(self) -> list[str]:
        return [MISSING if job.seed is None else clean(job.seed) for job in self.jobs]

    def scores(self, when: str, metric: str) -> list[float]:
        """A figure of every run that counts and has it."""
        return [score for job in self.counted if (score := job.score(when, metric)) is not None]

    def mean(self, when: str, metric: str) -> float | None:
        scores = self.scores(when, metric)
        return statistics.fmean(scores) if scores else None

    def deviation(self, when: str, metric: str) -> float | None:
        """Standard deviation of the sample, with n - 1 below; None for fewer than two."""
        scores = self.scores(when, metric)
        return statistics.stdev(scores) if len(scores) > 1 else None


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Settings, best first.

    Args:
        columns: the keys that vary, those that were typed first.
        settings: those with a run that ended come before those without.
        metric: what they are ranked by: accuracy and r2 large, loss small.
        when: `best` scoring of the validation split, or the `test` split's where no run has a validation split.
        notes: on runs that were left out.
    """

    columns: list[str]
    settings: list[Setting]
    metric: str
    when: str
    notes: list[str]

    @property
    def by(self) -> str:
        """What it is ranked by, in words."""
        return f"{dict(FIGURES)[self.when]} {self.metric}"

    @property
    def metrics(self) -> list[str]:
        """What is worth a column: what it is ranked by, and the loss."""
        return list(dict.fromkeys([self.metric, "loss"]))

    @property
    def jobs(self) -> list[Record]:
        return [job for setting in self.settings for job in setting.jobs]

    @property
    def scored(self) -> bool:
        """Whether any run came to a figure."""
        return any(setting.mean(self.when, self.metric) is not None for setting in self.settings)


def ranked(records: Sequence[Record], notes: Sequence[str] = ()) -> Ranking:
    """Group runs that differ in nothing but the seed, and put the best group first.

    Of several runs of one setting with one seed the newest counts, before all those that ended as they should.
    """
    columns = varying(records)
    groups: dict[tuple[str, ...], dict[object, list[Record]]] = {}
    for record in records:
        cells = tuple(record.cells.get(column, MISSING) for column in columns)
        groups.setdefault(cells, {}).setdefault(str(record.seed), []).append(record)
    settings, repeated = [], []
    for cells, by_seed in groups.items():
        jobs = []
        for seed in sorted(by_seed, key=seed_order):
            *others, counts = sorted(by_seed[seed], key=lambda record: (record.ended, record.age))
            jobs.append(counts)
            repeated += [
                f"left out: {clean(other.path)}, of the same settings and seed as {clean(counts.path)}"
                for other in others
            ]
        settings.append(Setting(cells=dict(zip(columns, cells)), jobs=tuple(jobs)))
    metric, when = common_metric(records), "best" if any(record.scoring("best") for record in records) else "test"
    sign = 1 if metric == "loss" else -1

    def rank(setting: Setting) -> tuple:
        values = (setting.mean(when, metric), setting.mean(when, "loss"))
        return (
            not setting.ended,
            *((value is None, direction * (value or 0.0)) for value, direction in zip(values, (sign, 1))),
            setting.label,
        )

    return Ranking(
        columns=columns, settings=sorted(settings, key=rank), metric=metric, when=when, notes=[*notes, *repeated]
    )


def rounded(cell: str) -> str:
    """`0.00123456789` as `0.00123457`; everything else as it is."""
    return f"{float(cell):g}" if re.fullmatch(r"-?\d+\.\d{6,}(e-?\d+)?", cell) else cell


def seed_order(seed: str) -> tuple[float, str]:
    return (float(seed), seed) if seed.isdecimal() else (float("inf"), seed)


def common_metric(records: Sequence[Record]) -> str:
    """What all can be ranked by: what they all monitor, else a score that they all have, else the loss."""
    scored = [record for record in records if record.metrics]
    monitors = {record.monitor for record in scored}
    if len(monitors) == 1:
        return monitors.pop()
    return next(
        (name for name in ("accuracy", "r2") if scored and all(name in record.metrics for record in scored)), "loss"
    )


def varying(records: Sequence[Record]) -> list[str]:
    """The keys that make runs different: those that were typed in the order of typing, then the others by name.

    A key of an option varies where two runs took the same option with another value, or where it was typed; that the keys
    of one option are not those of another goes without saying.
    """
    order = typed_order(records)
    places = {place for record in records for place in record.options if place not in catalog.MULTI_SELECT}
    keys = sorted({key for record in records for key in record.cells})
    found = []
    for key in keys:
        if key.partition(".")[0] in OWN or len({record.cells.get(key) for record in records}) == 1:
            continue
        owner = max((place for place in places if key.startswith(f"{place}.")), key=len, default=None)
        by_option: dict[object, set[str]] = {}
        for record in records:
            if key in record.cells:
                by_option.setdefault(record.options.get(owner), set()).add(record.cells[key])
        if any(len(cells) > 1 for cells in by_option.values()) or key in order:
            found.append(key)
    return sorted(found, key=lambda key: (order.index(key) if key in order else len(order), key))


def typed_order(records: Sequence[Record]) -> list[str]:
    """The keys that were typed for any of the runs."""
    return list(dict.fromkeys(key for record in records for key in typed(record.words)))


def told(record: Record) -> dict[str, str]:
    """Everything that is on record of what a run was, and what it ran on, as text."""
    settings = {key: value for key, value in record.cells.items() if key.partition(".")[0] not in OWN[1:]}
    versions = record.summary.get("versions")
    facts = (
        {f"versions.{name}": exact(version) for name, version in versions.items()} if isinstance(versions, dict) else {}
    )
    facts |= {"machine": record.summary["device"]} if "device" in record.summary else {}
    return {clean(key): clean(value) for key, value in {**facts, **settings}.items()}


def differences(*records: Record) -> Iterator[list[str]]:
    """Every key in which any two of the runs differ, with its value in each: those that were typed first, in their order, then by name."""
    known, order = [told(record) for record in records], typed_order(records)
    for key in sorted(set().union(*known), key=lambda key: (order.index(key) if key in order else len(order), key)):
        row = [facts.get(key, MISSING) for facts in known]
        if len(set(row)) > 1:
            yield [key, *row]


def seconds(setting: Setting) -> float | None:
    """Mean time of a run."""
    times = [time for job in setting.counted if (time := number(job.summary.get("seconds"))) is not None]
    return statistics.fmean(times) if times else None
