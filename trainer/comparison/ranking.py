"""Ranking of runs: the settings that vary among them, with their scores over the seeds, best first. No torch here."""

import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from trainer.base.metrics import LOSS, METRICS, Metric
from trainer.comparison.record import Record, clean, exact, number
from trainer.config import catalog
from trainer.config.auto_rate import AUTO, is_auto
from trainer.config.keys import belongs_to_run, key_of, owner_of
from trainer.rundir.saved_options import typed_values
from trainer.rundir.status import Status

MISSING = "-"
MANY = 6  # columns, from which a label leaves out what most settings have
STARTS = ("init", "bias")  # groups that decide what a network is before its first step
EVALUATIONS = (("best", "best val"), ("test", "test"), ("final", "final val"))  # and what a table calls them
ORDER = (  # of states, from the best
    Status.FINISHED,
    Status.STOPPED,
    Status.RUNNING,
    Status.INTERRUPTED,
    Status.UNFINISHED,
    Status.DIVERGED,
    Status.FAILED,
    Status.NOT_BEGUN,
)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One combination of the settings that vary, over its seeds.

    Args:
        cells: column -> value as it is typed, in full, `-` where the run has no such key.
        jobs: a run for each seed, in the order of the seeds.
        usual: column -> value, left out of the label.
    """

    cells: dict[str, str]
    jobs: tuple[Record, ...]
    usual: dict[str, str] = field(default_factory=dict)

    @property
    def shown(self) -> dict[str, str]:
        """The cells, with six digits of a number."""
        return {column: rounded(cell) for column, cell in self.cells.items()}

    @property
    def label(self) -> str:
        """The cells as they are typed, without the usual ones."""
        special = {column: cell for column, cell in self.cells.items() if self.usual.get(column) != cell}
        return typed(special) or ("as usual" if self.usual else "")

    @property
    def complete(self) -> bool:
        """True if any of its runs finished or stopped early."""
        return any(job.complete for job in self.jobs)

    @property
    def counted(self) -> tuple[Record, ...]:
        """The complete runs; where there is none, all of them, as far as they came."""
        return tuple(job for job in self.jobs if job.complete) or self.jobs

    @property
    def status(self) -> str:
        """`finished`, `3 finished`, `2 finished, 1 diverged`."""
        found = [job.status for job in self.jobs]
        names = sorted(set(found), key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
        return clean(names[0]) if len(found) == 1 else ", ".join(f"{found.count(name)} {clean(name)}" for name in names)

    @property
    def steps(self) -> float | None:
        """The mean of the steps that its runs have done; None where they are not known."""
        known = [steps for job in self.counted if (steps := job.steps) is not None]
        return statistics.fmean(known) if known else None

    @property
    def seeds(self) -> list[str]:
        """The seeds of the runs, as text."""
        return [MISSING if job.seed is None else clean(job.seed) for job in self.jobs]

    def scores(self, when: str, metric: str) -> list[float]:
        """Return a score of every run that counts and has it."""
        return [score for job in self.counted if (score := job.score(when, metric)) is not None]

    def mean(self, when: str, metric: str) -> float | None:
        """Return the mean over the seeds; None where no run has the score."""
        scores = self.scores(when, metric)
        return statistics.fmean(scores) if scores else None

    def deviation(self, when: str, metric: str) -> float | None:
        """Return the standard deviation of the sample, with n - 1 below; None for fewer than two."""
        scores = self.scores(when, metric)
        return statistics.stdev(scores) if len(scores) > 1 else None


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Settings, best first.

    Args:
        columns: the keys that vary, those that were typed first.
        settings: those with a complete run come before those without.
        usual: column -> value of most settings, which their labels leave out.
        metric: the metric that ranks them.
        when: `best` evaluation of the validation split, or the `test` split's where no run has a validation split.
        notes: on runs that were left out.
    """

    columns: list[str]
    settings: list[Setting]
    usual: dict[str, str]
    metric: Metric
    when: str
    notes: list[str]

    @property
    def by(self) -> str:
        """The score that ranks them: `best val accuracy`."""
        return f"{dict(EVALUATIONS)[self.when]} {self.metric.name}"

    @property
    def metrics(self) -> list[str]:
        """The metrics worth a column: the one that ranks, and the loss."""
        return list(dict.fromkeys([self.metric.name, LOSS.name]))

    @property
    def jobs(self) -> list[Record]:
        """All runs, in the order of their settings."""
        return [job for setting in self.settings for job in setting.jobs]

    @property
    def scored(self) -> list[Setting]:
        """The settings that have the score that ranks."""
        return [setting for setting in self.settings if setting.scores(self.when, self.metric.name)]

    @property
    def split(self) -> str:
        """The split whose score ranks the runs."""
        return "test" if self.when == "test" else "val"

    @property
    def compares_starts(self) -> bool:
        """True if the runs differ in how their networks begin, which the loss before the first step shows."""
        return any(key.partition(".")[0] in STARTS for key in self.columns)

    @property
    def steps_differ(self) -> bool:
        """True if some settings have done more steps than others."""
        return len({steps for setting in self.settings if (steps := setting.steps) is not None}) > 1


def rank(
    records: Sequence[Record], notes: Sequence[str] = (), counts: Callable[[str], bool] = belongs_to_run
) -> Ranking:
    """Group runs that differ in nothing but the seed, and put the best group first.

    Of several runs of one setting with one seed the newest counts, but a complete one before all others.

    Args:
        counts: returns whether two values of a key make two settings.
    """
    columns = varying(records, counts)
    groups: dict[tuple[str, ...], dict[object, list[Record]]] = {}
    for record in records:
        known = setting_of(record)
        cells = tuple(known.get(column, MISSING) for column in columns)
        groups.setdefault(cells, {}).setdefault(str(record.seed), []).append(record)
    settings, repeated, usual = [], [], usual_cells(columns, list(groups))
    for cells, by_seed in groups.items():
        jobs = []
        for seed in sorted(by_seed, key=seed_order):
            *others, newest = sorted(by_seed[seed], key=lambda record: (record.complete, record.age))
            jobs.append(newest)
            reason = f"has the settings and the seed of {clean(newest.path)}"
            repeated += [f"left out: {clean(other.path)} {reason}" for other in others]
        shown = {column: cell_of(column, cell, jobs) for column, cell in zip(columns, cells)}
        settings.append(Setting(cells=shown, jobs=tuple(jobs), usual=usual))
    metric = common_metric(records)
    when = "best" if any(record.evaluation("best") for record in records) else "test"

    def order(setting: Setting) -> tuple:
        means = [(measure, setting.mean(when, measure.name)) for measure in (metric, LOSS)]
        costs = [(mean is None, 0.0 if mean is None else measure.cost(mean)) for measure, mean in means]
        return not setting.complete, *costs, setting.label

    settings.sort(key=order)
    notes = [*notes, *repeated]
    return Ranking(columns=columns, settings=settings, usual=usual, metric=metric, when=when, notes=notes)


def setting_of(record: Record) -> dict[str, str]:
    """Return the cells by which runs are one setting: a measured learning rate is `auto`, whatever it became."""
    return {**record.cells, **{key_of(text): AUTO for text in record.overrides if is_auto(text)}}


def cell_of(column: str, cell: str, jobs: Sequence[Record]) -> str:
    """Return the cell of a setting; a learning rate that was measured has its range over the seeds beside it."""
    found = [value for job in jobs if (value := number(job.values.get(column))) is not None]
    if cell != AUTO or not found:
        return cell
    ends = dict.fromkeys(f"{end:g}" for end in (min(found), max(found)))
    return f"{cell} {' to '.join(ends)}"


def usual_cells(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> dict[str, str]:
    """Return what more than half of many settings have in a column, where the columns are too many for a label."""
    if len(columns) <= MANY:
        return {}
    most = [Counter(column).most_common(1)[0] for column in zip(*rows)]
    return {name: cell for name, (cell, count) in zip(columns, most) if cell != MISSING and 2 * count > len(rows)}


def typed(cells: Mapping[str, str]) -> str:
    """Return cells as they are typed, with six digits of a number."""
    return " ".join(f"{column}={rounded(cell)}" for column, cell in cells.items() if cell != MISSING)


def rounded(cell: str) -> str:
    """Return `0.00123456789` as `0.00123457`, and everything else as it is."""
    return f"{float(cell):g}" if re.fullmatch(r"-?\d+\.\d{6,}(e-?\d+)?", cell) else cell


def seed_order(seed: str) -> tuple[float, str]:
    """Return a key that sorts seeds by their value, and other texts behind them."""
    return (float(seed), seed) if seed.isdecimal() else (float("inf"), seed)


def common_metric(records: Sequence[Record]) -> Metric:
    """Return the metric that ranks all runs: the one they all monitor, else a score they all have, else the loss."""
    scored = [record for record in records if record.metrics]
    monitors = {record.monitor for record in scored}
    if len(monitors) == 1:
        return monitors.pop()
    shared = (metric for metric in METRICS.values() if all(metric.name in record.metrics for record in scored))
    return next(shared, LOSS) if scored else LOSS


def varying(records: Sequence[Record], counts: Callable[[str], bool] = belongs_to_run) -> list[str]:
    """Return the keys in which runs differ: those that were typed in the order of typing, then the others by name.

    A key of an option varies where two runs took the same option with another value, or where it was typed. That two
    options have different keys is no difference of its own.
    """
    order = typed_order(records)
    places = {place for record in records for place in record.options if place not in catalog.MULTI_SELECT}
    keys = sorted({key for record in records for key in record.cells})
    found = []
    for key in keys:
        grouped = key == "seed" or not counts(key)
        if grouped or len({record.cells.get(key) for record in records}) == 1:
            continue
        owner = owner_of(key, places)
        by_option: dict[object, set[str]] = {}
        for record in records:
            if key in record.cells:
                by_option.setdefault(record.options.get(owner), set()).add(record.cells[key])
        if any(len(cells) > 1 for cells in by_option.values()) or key in order:
            found.append(key)
    return sorted(found, key=lambda key: (order.index(key) if key in order else len(order), key))


def typed_order(records: Sequence[Record]) -> list[str]:
    """Return the keys that were typed for any of the runs, in the order of typing."""
    return list(dict.fromkeys(key for record in records for key in typed_values(record.overrides)))


def facts(record: Record) -> dict[str, str]:
    """Return the settings of a run, its versions and its machine, as text."""
    settings = {key: value for key, value in record.cells.items() if belongs_to_run(key)}
    versions, device = record.summary.get("versions"), record.summary.get("device")
    versions = versions if isinstance(versions, dict) else {}
    found = {f"versions.{name}": exact(version) for name, version in versions.items()}
    found |= {"machine": device} if "device" in record.summary else {}
    return {clean(key): clean(value) for key, value in {**found, **settings}.items()}


def differences(*records: Record) -> Iterator[list[str]]:
    """Yield every key in which any two runs differ, with its value in each: the typed ones first, then by name."""
    known, order = [facts(record) for record in records], typed_order(records)
    for key in sorted(set().union(*known), key=lambda key: (order.index(key) if key in order else len(order), key)):
        row = [found.get(key, MISSING) for found in known]
        if len(set(row)) > 1:
            yield [key, *row]


def mean_seconds(setting: Setting) -> float | None:
    """Return the mean time of a run; None where it is not known."""
    times = [time for job in setting.counted if (time := number(job.summary.get("seconds"))) is not None]
    return statistics.fmean(times) if times else None
