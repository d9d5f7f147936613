"""Checks of a learning rate: training at it for some steps, from the run's own weights, which are restored."""

import math
import statistics
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile

from trainer.engine.run import Run
from trainer.inspection.loss_by_rate import Average, LossByRate
from trainer.inspection.lr_range import GroupRates, training_losses

SPAN = 10  # steps that the moving average spans
END = 0.1  # fraction of the steps that the loss at the end is the mean of
LOST = 0.5  # fraction of what was learnt: a loss that rises by more is unstable
LEARNT = 0.5  # fraction of the range test's fall that a rate has to bring


@dataclass(frozen=True, kw_only=True)
class Check:
    """Training at one learning rate.

    Args:
        rate: the value of the key.
        losses: before the first step and after each; the last one may not be finite.
    """

    rate: float
    losses: Sequence[float]

    @property
    def steps(self) -> int:
        """The steps done."""
        return len(self.losses) - 1

    @property
    def finite(self) -> bool:
        """True if all losses are."""
        return math.isfinite(self.losses[-1])

    @cached_property
    def smoothed(self) -> list[float]:
        """The moving average of the finite losses."""
        average = Average(SPAN)
        return [average.add(loss) for loss in takewhile(math.isfinite, self.losses)]

    @property
    def end(self) -> float:
        """The loss at the end."""
        return statistics.fmean(self.losses[-max(round(END * len(self.losses)), 1) :]) if self.finite else math.inf

    @property
    def rise(self) -> tuple[float, int]:
        """The largest rise of the smoothed loss above the lowest before it, and the step at its end."""
        lowest, largest, where = math.inf, 0.0, 0
        for step, loss in enumerate(self.smoothed):
            lowest = min(lowest, loss)
            if loss - lowest > largest:
                largest, where = loss - lowest, step
        return largest, where

    @property
    def stable(self) -> bool:
        """True if the loss stays finite and never loses half of what it learns in all."""
        learnt = self.smoothed[0] - min(self.smoothed)
        return self.finite and self.rise[0] <= LOST * learnt

    def learns(self, curve: LossByRate) -> bool:
        """Return whether the loss ends below the level of a range test by half of the fall there."""
        return self.end <= curve.level - LEARNT * curve.fall

    def passes(self, curve: LossByRate) -> bool:
        """Return whether the rate learns, and is stable."""
        return self.learns(curve) and self.stable


def check(run: Run, group_rates: GroupRates, rate: float, steps: int) -> Check:
    """Train for so many steps at a rate, or until the loss is not finite."""
    losses: list[float] = []
    with closing(training_losses(run, [group_rates(rate)] * steps)) as arriving:
        for loss in arriving:
            losses.append(loss)
            if not math.isfinite(loss):
                break
    return Check(rate=rate, losses=losses)
