"""Curve of a range test, the loss against the learning rate: smoothed, how far it falls, where it diverges. No torch.

Nothing here depends on the scale or the offset of the loss: it is measured from its level at the smallest rates, which
do not change it yet.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile

SPAN = 0.4  # decades of rates that the moving average spans
WINDOW = 0.3  # decades to each side over which a slope is measured
LEVEL = 0.1  # fraction of the points, at the smallest rates, that give the level
FEWEST_OF_LEVEL = 5  # points
BEGUN = 0.05  # fraction of the fall
AT_ONCE = 0.5  # fraction of the fall
SURE = 4.0  # standard errors
EXCESS = 2.0  # standard deviations of single losses, six of the average behind its level


class Average:
    """Exponential moving average, corrected for its start at zero (Kingma & Ba, 2015), of values as they arrive."""

    def __init__(self, span: float) -> None:
        self._new, self._sum, self._weight = 1 / max(span, 1.0), 0.0, 0.0

    def add(self, value: float) -> float:
        """Take a value, and return the average."""
        self._sum += self._new * (value - self._sum)
        self._weight += self._new * (1 - self._weight)
        return self._sum / self._weight


class Divergence:
    """Watch for the end of a range test: the loss is not finite, or has risen above its level by as much as it fell.

    Args:
        rates: of all points that are to come.
    """

    def __init__(self, rates: Sequence[float]) -> None:
        self._average, self._needed = Average(points_in(SPAN, rates)), points_of_level(len(rates))
        self._first: list[float] = []
        self._lowest = math.inf

    def add(self, loss: float) -> bool:
        """Take the loss of a point, and return whether it has diverged."""
        smoothed = self._average.add(loss)
        if not math.isfinite(smoothed):
            return True
        if len(self._first) < self._needed:
            self._first.append(loss)
            return False
        level, noise = statistics.fmean(self._first), statistics.pstdev(self._first)
        self._lowest = min(self._lowest, smoothed)
        return smoothed > level + max(level - self._lowest, EXCESS * noise)


@dataclass(frozen=True)
class LossByRate:
    """Finite losses of a range test.

    Args:
        rates: ascending, at equal distances on a logarithmic axis.
        losses: after a step at each.
        blown_up: a loss that is not finite came next.
    """

    rates: Sequence[float]
    losses: Sequence[float]
    blown_up: bool = False

    @cached_property
    def smoothed(self) -> list[float]:
        """The moving average of the losses."""
        average = Average(points_in(SPAN, self.rates))
        return [average.add(loss) for loss in self.losses]

    @cached_property
    def first(self) -> Sequence[float]:
        """The losses at the smallest rates."""
        return self.losses[: points_of_level(len(self.losses))]

    @cached_property
    def level(self) -> float:
        """The loss before it falls."""
        return statistics.fmean(self.first)

    @property
    def noise(self) -> float:
        """The standard deviation of the moving average, from that of single losses."""
        new = 1 / max(points_in(SPAN, self.rates), 1.0)
        return statistics.pstdev(self.first) * math.sqrt(new / (2 - new))

    @property
    def falls_at_once(self) -> bool:
        """True if most of the fall is at the very first rates, by more than the noise of those behind them."""
        early, late = self.first[: len(self.first) // 2], self.first[len(self.first) // 2 :]
        if not early:
            return False
        drop = statistics.fmean(early) - statistics.fmean(late)
        depth = statistics.fmean(early) - self.smoothed[self.lowest]
        return drop > max(AT_ONCE * depth, SURE * statistics.pstdev(late) / math.sqrt(len(late)))

    @cached_property
    def lowest(self) -> int:
        """The point of the smallest smoothed loss, behind the first ones, of which the average is of few losses."""
        behind = range(min(len(self.first), len(self.losses) - 1), len(self.losses))
        return min(behind, key=self.smoothed.__getitem__)

    @property
    def fall(self) -> float:
        """Fall of the smoothed loss below its level."""
        return self.level - self.smoothed[self.lowest]

    @property
    def rise(self) -> float:
        """Rise of the smoothed loss behind its lowest point."""
        return math.inf if self.blown_up else max(self.smoothed[self.lowest :]) - self.smoothed[self.lowest]

    def reached(self, fraction: float) -> int:
        """Return the first point, behind those of the level, at which a fraction of the fall is done."""
        wanted = self.level - fraction * self.fall
        return next(point for point in range(len(self.first), self.lowest + 1) if self.smoothed[point] <= wanted)

    @cached_property
    def begun(self) -> int:
        """The point from which on, until the lowest, the loss is below its level."""
        level = self.level - BEGUN * self.fall
        above = (point for point in range(self.lowest, -1, -1) if self.smoothed[point] > level)
        return next(above, -1) + 1

    @cached_property
    def slopes(self) -> dict[int, float]:
        """The slope of the smoothed loss, by decade of the rate, at each point that is not too close to an end."""
        reach, decades = max(round(points_in(WINDOW, self.rates)), 1), [*map(math.log10, self.rates)]
        spans = {point: slice(point - reach, point + reach + 1) for point in range(reach, len(decades) - reach)}
        return {point: slope(decades[span], self.smoothed[span]) for point, span in spans.items()}


def loss_by_rate(rates: Sequence[float], losses: Sequence[float]) -> LossByRate:
    """Return the curve of a range test, of whose losses the last ones may not be finite."""
    finite = list(takewhile(math.isfinite, losses))
    return LossByRate(rates[: len(finite)], finite, blown_up=len(finite) < len(losses))


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the slope of the line with the least squared errors."""
    return statistics.linear_regression(x, y).slope


def points_in(decades: float, rates: Sequence[float]) -> float:
    """Return the number of points in so many decades of rates at equal distances."""
    return decades * (len(rates) - 1) / math.log10(rates[-1] / rates[0]) if len(rates) > 1 else 1.0


def points_of_level(count: int) -> int:
    """Return how many of so many points give the level that the loss falls from."""
    return max(round(LEVEL * count), FEWEST_OF_LEVEL)
