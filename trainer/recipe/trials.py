"""Trials of a recipe: settings that are trained for one length, as the jobs of a sweep in a folder of its own."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.types import TaskFunction

from trainer.base.metrics import ACCURACY, LOSS, R2, Metric
from trainer.base.text import as_typed
from trainer.comparison import record
from trainer.comparison.record import Record
from trainer.config.hydra_context import Invocation
from trainer.diagnosis.verdict import merged
from trainer.recipe.window import Point
from trainer.sweep.grid import run_sweep


def standard_error(score: float, samples: int, metric: Metric) -> float:
    """Return the standard error that a score has from the number of samples alone; 0 of a loss.

    Of an accuracy sqrt(p (1 - p) / n), with a success and a failure added, so that that of 1 is not 0; of an r2 about
    2 sqrt(r2) (1 - r2) / sqrt(n) (Olkin & Finn, 1995).
    """
    if metric is ACCURACY:
        shrunk = (score * samples + 1) / (samples + 2)
        return math.sqrt(shrunk * (1 - shrunk) / samples)
    return 2 * math.sqrt(max(score, 0.05)) * (1 - score) / math.sqrt(samples) if metric is R2 else 0.0


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A setting that was trained.

    Args:
        point: its values.
        record: of its run.
    """

    point: Point
    record: Record

    @property
    def metric(self) -> Metric:
        """The metric by which trials are compared."""
        return self.record.monitor

    @property
    def score(self) -> float | None:
        """The best validation score; None for a run without one, as one that diverged."""
        return self.record.score("best", self.metric.name) if self.record.complete else None

    @property
    def curves(self) -> Path:
        """The picture of its curves."""
        return self.record.path / "curves.png"

    @property
    def loss(self) -> float:
        """The loss of the best evaluation; infinite where there is none."""
        loss = self.record.score("best", LOSS.name)
        return math.inf if loss is None else loss

    @property
    def error(self) -> float:
        """The standard error of the score by the number of validation samples alone; 0 where it is not known."""
        count = self.record.samples("val")
        return standard_error(self.score, count, self.metric) if count and self.score is not None else 0.0

    @property
    def has_learnt(self) -> bool:
        """True if the score is better than that of the best constant answer by more than two standard errors."""
        constant = self.record.constant("val", self.metric.name)
        if self.score is None or constant is None:
            return self.score is not None
        count = self.record.samples("val") or 0
        margin = 2 * standard_error(constant, count, self.metric) if count else 0.0
        return self.metric.cost(self.score) < self.metric.cost(constant) - margin


def verdicts_of(trials: Sequence[Trial]) -> list[str]:
    """Return the verdicts on runs, each once, with what to try."""
    lines = {}
    for verdict in (verdict for trial in trials for verdict in trial.record.summary.get("verdicts") or []):
        advice = verdict["command"] or verdict["other"]
        lines.setdefault(
            verdict["code"], f"{verdict['level']}: {verdict['what']}{f'; try: {advice}' if advice else ''}"
        )
    return [*lines.values()]


def best_first(trials: Iterable[Trial]) -> list[Trial]:
    """Return the trials that have a score, the best first; of equal ones that with the lower loss.

    While none has learnt anything, their scores are chance, and their losses decide.
    """
    scored = [trial for trial in trials if trial.score is not None]
    if not any(trial.has_learnt for trial in scored):
        return sorted(scored, key=lambda trial: trial.loss)
    return sorted(scored, key=lambda trial: (trial.metric.cost(trial.score), trial.loss))


def mean_and_deviation(trials: Sequence[Trial], when: str = "best") -> tuple[float, float] | None:
    """Return the mean of a score, and its standard deviation over the sample, 0 of one; None where there is none."""
    scores = [trial.record.score(when, trial.metric.name) for trial in trials if trial.score is not None]
    scores = [score for score in scores if score is not None]
    if not scores:
        return None
    return statistics.fmean(scores), statistics.stdev(scores) if len(scores) > 1 else 0.0


@dataclass(frozen=True, kw_only=True)
class Train:
    """Trains settings in folders of a recipe; a setting that has been trained before is not trained again.

    Args:
        directory: of the recipe.
        invocation: its command.
        job: executes one run, in whatever process a launcher gives it.
        added: overrides that every run has beside those of the command.
    """

    directory: Path
    invocation: Invocation
    job: TaskFunction
    added: Sequence[str] = ()

    def overrides(self, point: Point, *more: str) -> list[str]:
        """Return the overrides of a run with a setting, and more of them."""
        values = [f"{key}={as_typed(value)}" for key, value in point.items()]
        return merged(self.invocation.run_overrides, [*self.added, *more, *values])

    def __call__(self, folder: str, points: Sequence[Point], *more: str) -> list[Trial]:
        """Return the trials of settings, trained in a folder, with more overrides that they have in common."""
        grid = [self.overrides(point, *more) for point in points]
        found = run_sweep(self.directory / folder, grid, {*points[0]}, self.invocation, self.job)
        return [Trial(point=point, record=record.read(job.directory)) for point, job in zip(points, found)]
