"""Learning-rate warm-ups of one's own."""

from collections.abc import Callable
from dataclasses import dataclass

from trainer.base.clock import Clock

Sched = Callable[[Clock], float]


@dataclass(frozen=True, kw_only=True)
class Gentle:
    """The schedule times ((t + 1) / W)^2 in the first W steps."""

    length: str = "5%"

    def __call__(self, sched: Sched) -> Sched:
        def warmed(now: Clock) -> float:
            return sched(now) * min(1.0, (now.step + 1) / now.steps(self.length)) ** 2

        return warmed
