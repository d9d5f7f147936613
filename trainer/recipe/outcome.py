"""Outcome of a recipe: how large the noise is, and which learning rates do as well as the best within it."""

import math
from collections.abc import Sequence

from trainer.base.metrics import ACCURACY, R2, Metric
from trainer.recipe.search import Stage
from trainer.recipe.trials import Trial, best_first, mean_and_deviation


def standard_error(score: float, samples: int, metric: Metric) -> float:
    """Return the standard error that a score has from the number of samples alone; 0 of a loss.

    Of an accuracy sqrt(p (1 - p) / n), with a success and a failure added, so that that of 1 is not 0; of an r2 about
    2 sqrt(r2) (1 - r2) / sqrt(n) (Olkin & Finn, 1995).
    """
    if metric is ACCURACY:
        shrunk = (score * samples + 1) / (samples + 2)
        return math.sqrt(shrunk * (1 - shrunk) / samples)
    return 2 * math.sqrt(max(score, 0.05)) * (1 - score) / math.sqrt(samples) if metric is R2 else 0.0


def error_of(trial: Trial) -> float:
    """Return the standard error of a trial's validation score; 0 where it has none."""
    count = trial.record.samples("val")
    return standard_error(trial.score, count, trial.metric) if count and trial.score is not None else 0.0


def noise_of(whole: Sequence[Trial]) -> float:
    """Return the deviation of a score over the seeds, or its standard error where that is larger.

    Settings that differ by less cannot be told apart: other seeds or other validation samples may turn them round.
    """
    _, deviation = mean_and_deviation(whole) or (0.0, 0.0)
    return max(deviation, *map(error_of, whole))


def plateau(stages: Sequence[Stage], key: str, noise: float) -> tuple[float, float]:
    """Return the lowest and the highest learning rate that do as well as the best one, without a worse one between.

    A rate does as well where any of its trials is within twice the noise of the best trial of its stage; the shortest
    stage, the first one, decides nothing.
    """
    good: dict[float, bool] = {}
    for stage in stages[1:]:
        for trial in stage.trials:
            rate = trial.point[key]
            good[rate] = good.get(rate, False) or is_as_good(trial, stage.best, 2 * noise)
    rates, chosen = sorted(good), best_first(trial for stage in stages[2:] for trial in stage.trials)[0].point[key]
    low = high = rates.index(chosen)
    while low > 0 and good[rates[low - 1]]:
        low -= 1
    while high + 1 < len(rates) and good[rates[high + 1]]:
        high += 1
    return rates[low], rates[high]


def is_as_good(trial: Trial, best: Trial | None, margin: float) -> bool:
    """Return whether the score of a trial is within a margin of the best one."""
    if trial.score is None or best is None:
        return False
    return trial.metric.cost(trial.score) <= trial.metric.cost(best.score) + margin
