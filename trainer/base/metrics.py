"""Metrics of a run: their names, and which of two values is better. No torch here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ROUNDING = 1e-6  # of an accuracy in float32


@dataclass(frozen=True)
class Metric:
    """A figure of an evaluation, and which of two values is better.

    `constant` names the answer, the same for every sample, that is the best by this figure.
    """

    name: str
    larger_is_better: bool
    constant: str

    @property
    def direction(self) -> str:
        """`maximize` or `minimize`, as searches say it."""
        return "maximize" if self.larger_is_better else "minimize"

    def cost(self, value: float) -> float:
        """Return a number that is smaller for a better value: a key to sort by."""
        return -value if self.larger_is_better else value

    def is_better(self, value: float, other: float) -> bool:
        """Return whether a value is better than another one by more than rounding."""
        return self.cost(value) < self.cost(other) - ROUNDING

    def rank(self, scores: Mapping[str, float]) -> tuple[float, float]:
        """Return a key that sorts evaluations, best first; the loss decides between equal values."""
        return self.cost(scores[self.name]), scores["loss"]


LOSS = Metric("loss", larger_is_better=False, constant="the best constant answer")
ACCURACY = Metric("accuracy", larger_is_better=True, constant="always the same class")
# 1 - sum (o - t)^2 / sum (t - mean t)^2, both sums over samples and outputs, each output with its own mean: the average
# of the outputs' r2 weighted by their variances (scikit-learn's multioutput="variance_weighted").
R2 = Metric("r2", larger_is_better=True, constant="always the mean")
METRICS = {metric.name: metric for metric in (ACCURACY, R2, LOSS)}
SCORES = {"classification": ACCURACY, "binary": ACCURACY, "regression": R2}  # beside the loss, by kind of data


def score_of(task: str) -> Metric:
    """Return the score of a kind of data: its metric beside the loss."""
    return SCORES[task]


def metric_named(name: str) -> Metric:
    """Return a metric by its name. Errors: KeyError."""
    return METRICS[name]


def monitored(monitor: str, names: Sequence[str]) -> Metric:
    """Return the metric that `monitor` means for evaluations that hold `names`: `auto` is the score, else the loss."""
    if monitor in METRICS:
        return METRICS[monitor]
    return next((metric for metric in METRICS.values() if metric.name in names), LOSS)
