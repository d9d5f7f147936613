"""Window of a search: an interval of each key, by powers of ten, from which settings are drawn quasi-randomly."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch.quasirandom import SobolEngine

from trainer.base.text import as_typed
from trainer.inspection.lr_suggestion import two_digits

Point = Mapping[str, float]  # key -> value

EDGE = 0.1  # of an interval on a logarithmic scale, in which a best value lies at its border


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Interval of a key, with 0 < low < high.

    Args:
        limit: that `high` never exceeds, as where the loss diverges.
    """

    key: str
    low: float
    high: float
    limit: float = math.inf

    @property
    def span(self) -> float:
        """Powers of ten from low to high."""
        return math.log10(self.high / self.low)

    def at(self, place: float) -> float:
        """Return the value at a place in [0, 1], with two digits."""
        return two_digits(self.low * 10 ** (place * self.span))

    def place(self, value: float) -> float:
        """Return where a value lies: 0 at low, 1 at high, evenly by its powers of ten."""
        return math.log10(value / self.low) / self.span

    def border(self, value: float) -> str:
        """Return `lower` or `upper` where a value lies at that border, and nothing within."""
        place = self.place(value) if value > 0 else 0.5
        if not 0 <= place <= 1:
            return ""  # it was not drawn from here
        return "lower" if place < EDGE else "upper" if place > 1 - EDGE and self.high < self.limit else ""

    def around(self, value: float, factor: float) -> "Axis":
        """Return the interval with a value in its middle, from a factor below to a factor above it."""
        return Axis(key=self.key, low=value / factor, high=min(value * factor, self.limit), limit=self.limit)

    def __str__(self) -> str:
        return f"{self.key} from {as_typed(two_digits(self.low))} to {as_typed(two_digits(self.high))}"


def draw(axes: Sequence[Axis], count: int, seed: int) -> list[Point]:
    """Return settings spread evenly over a window (scrambled Sobol sequence; Bergstra & Bengio, 2012, section 3).

    Source: Sobol, 1967; Owen, 1998; against grids: JMLR 13:281-305.
    """
    if count < 1:
        return []
    places = SobolEngine(len(axes), scramble=True, seed=seed).draw(count).tolist()
    return [{axis.key: axis.at(place) for axis, place in zip(axes, row)} for row in places]
