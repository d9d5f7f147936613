"""Learning-rate schedules of one's own."""

import math
from dataclasses import dataclass

from trainer.base.clock import Clock


@dataclass(frozen=True, kw_only=True)
class Root:
    """multiplier = 1 - (1 - floor) sqrt(t / T)."""

    floor: float = 0.0

    def __call__(self, now: Clock) -> float:
        return 1 - (1 - self.floor) * math.sqrt(now.progress)
