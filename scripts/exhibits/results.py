"""Results of an experiment: measurements by setting, and the finding on its statement."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from exhibits.runs import Group, Job, Measured, grouped, measured, plain, read_jobs

Metric = Callable[[Job], float | None]


@dataclass(frozen=True)
class Finding:
    """Result of an exhibit: whether the lecture's claim held.

    Args:
        held: whether what the lecture says was seen; None where nothing is compared.
        text: the sentence with the figures.
    """

    held: bool | None
    text: str


@dataclass(frozen=True)
class Results:
    """The runs of an experiment, by setting.

    Args:
        place: their folder.
        groups: the settings.
        metrics: by name.
    """

    place: Path
    groups: Sequence[Group]
    metrics: Mapping[str, Metric]

    def values(self, metric: str) -> list[tuple[Group, Measured]]:
        """Return a figure of every setting."""
        return [(group, self.measure(group, metric)) for group in self.groups]

    def measure(self, group: Group, metric: str) -> Measured:
        """Return a figure of a setting."""
        return measured([self.metrics[metric](job) for job in group.jobs])

    def group(self, words: str = "", part: int | None = None) -> Group:
        """Return the one setting that has these words, and is of that command."""
        wanted = {(key, plain(value)) for key, value in (word.split("=", 1) for word in words.split())}
        found = [
            group
            for group in self.groups
            if wanted <= {(key, plain(value)) for key, value in group.words.items()} and part in (None, group.part)
        ]
        if len(found) != 1:
            raise LookupError(f"{len(found)} settings have {words or 'no words'} (command {part})")
        return found[0]

    def of(self, metric: str, words: str = "", part: int | None = None) -> Measured:
        """Return a figure of the one setting that has these words, and is of that command."""
        return self.measure(self.group(words, part), metric)

    def mean(self, metric: str, words: str = "", part: int | None = None) -> float:
        """Return its mean; infinite where no run has a value."""
        found = self.of(metric, words, part).mean
        return float("inf") if found is None else found


@dataclass(frozen=True)
class Exhibit:
    """An experiment and what a lecture says of it.

    Args:
        name: of the experiment.
        says: the lecture's statement, with its tag.
        metrics: columns of the table, by heading.
        find: makes the finding.
        draw: makes the figure.
        because: why it did not hold, or what limits it; on the page where that is not empty.
        data: files that it needs; digits needs none.
        read: returns the settings of its folder, where they are not those of sweeps.
    """

    name: str
    says: str
    metrics: Mapping[str, Metric]
    find: Callable[[Results], Finding]
    draw: Callable[[Results], Figure]
    because: str = ""
    data: str = "digits"
    read: Callable[[Path], list[Group]] | None = None

    def results(self, folder: Path) -> Results:
        """Read the runs below a folder."""
        place = folder / self.name
        groups = self.read(place) if self.read else grouped(read_jobs(self.name, folder))
        return Results(place, groups, self.metrics)


def short(value: float) -> str:
    """Return a figure with three digits behind the point below 10, else with three digits in all."""
    if not math.isfinite(value):
        return "none"
    if value == 0:
        return "0"
    if 0.001 <= abs(value) < 10:
        return f"{value:.3f}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spread(value: Measured) -> str:
    """Return mean and deviation of a figure as text, with as many digits behind the point in both."""
    if value.mean is None:
        return "none"
    mean, deviation = short(value.mean), value.deviation
    if not deviation or not math.isfinite(deviation) or "e" in mean:
        return f"{mean} ± {short(deviation)}"
    digits = len(mean.partition(".")[2])
    if value.mean < 10:
        digits = max(digits, -math.floor(math.log10(deviation)))
    return f"{value.mean:,.{digits}f} ± {deviation:,.{digits}f}"


def test_accuracy(job: Job) -> float | None:
    """Accuracy of the best weights on the test split; None where the run diverged."""
    return None if job.diverged else job.summary["test"]["accuracy"]


def test_loss(job: Job) -> float | None:
    """Loss of the best weights on the test split; None where the run diverged."""
    return None if job.diverged else job.summary["test"]["loss"]


def final(split: str, metric: str) -> Metric:
    """Return a figure of the last point of a run; None where it diverged."""
    return lambda job: None if job.diverged else job.summary["final"][split][metric]


def steps_to(metric: str, target: float, split: str = "val") -> Metric:
    """Return the steps to the first evaluation at which a figure reached a target; None where it never did.

    A loss reaches it from above.
    """

    def count(job: Job) -> float | None:
        for row in job.rows:
            value = row.get(metric)
            if (
                row["split"] == split
                and value is not None
                and (value <= target if metric == "loss" else value >= target)
            ):
                return row["step"]
        return None

    return count


def of_summary(*path: str) -> Metric:
    """Return a number of summary.json."""

    def find(job: Job) -> float | None:
        node = job.summary
        for name in path:
            node = (node or {}).get(name)
        return node

    return find


def epochs(job: Job) -> float:
    """Epochs that the run took."""
    return job.summary["epochs"]


LABEL = "test accuracy"
ACCURACY = {LABEL: test_accuracy}


def compare(results: Results, better: str, worse: str, metric: str = LABEL, smaller: bool = False) -> Finding:
    """Return whether one setting is better than another, by their means."""
    one, other = results.of(metric, better), results.of(metric, worse)
    known = one.mean is not None
    held = known and (other.mean is None or (one.mean < other.mean if smaller else one.mean > other.mean))
    text = "all runs diverge" if results.group(worse).diverged else spread(other)
    return Finding(held, f"{metric} {spread(one)} with `{better}`, {text} with `{worse}`")
