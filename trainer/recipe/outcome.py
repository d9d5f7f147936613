"""Outcome of a recipe: how large the noise is, and which learning rates do as well as the best within it."""

from collections.abc import Sequence

from trainer.recipe.search import Stage
from trainer.recipe.trials import Trial, mean_and_deviation


def noise_of(whole: Sequence[Trial]) -> float:
    """Return the deviation of a score over the seeds, or its standard error where that is larger.

    Settings that differ by less cannot be told apart: other seeds or other validation samples may turn them round.
    """
    _, deviation = mean_and_deviation(whole) or (0.0, 0.0)
    return max(deviation, *(trial.error for trial in whole))


def plateau(stages: Sequence[Stage], key: str, noise: float, chosen: float) -> tuple[float, float]:
    """Return the lowest and the highest learning rate that do as well as the chosen one, without a worse one between.

    A rate does as well where any of its longest trials is within twice the noise of the best one of its stage; shorter
    trials decide nothing.
    """
    longest = max(stage.length for stage in stages)
    good = {chosen: True}
    for stage in (stage for stage in stages if stage.length == longest):
        for trial in stage.trials:
            rate = trial.point[key]
            good[rate] = good.get(rate, False) or is_as_good(trial, stage.best, 2 * noise)
    rates = sorted(good)
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
