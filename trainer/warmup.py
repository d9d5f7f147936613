"""Learning-rate warm-ups: wrappers around any schedule, `(sched) -> sched`."""

from collections.abc import Callable
from dataclasses import dataclass

from trainer.base.checks import require
from trainer.base.clock import Clock, parse_length

Sched = Callable[[Clock], float]


@dataclass(frozen=True, kw_only=True)
class Identity:
    """No warm-up: the schedule as it is."""

    def __call__(self, sched: Sched) -> Sched:
        return sched


@dataclass(frozen=True, kw_only=True)
class LinearWarmup:
    """Linear warm-up (Goyal et al., 2017): multiplier = sched(t) (start + (1 - start) min(1, (t + 1) / W)).

    The first step already moves the weights (its ramp is 1 / W above start), and step W is the first at the full
    schedule. The schedule keeps its own time, so that drops fall where they would without a warm-up.

    Args:
        length: W, a length. cs231n: 5000st.
        start: multiplier at which the rise begins, in [0, 1). Paper: 1 / workers.
    Errors: ValueError. Source: arXiv:1706.02677, section 2.2.
    """

    length: str = "5%"
    start: float = 0.0

    def __post_init__(self) -> None:
        parse_length(self.length)
        require("in [0, 1)", start=self.start)

    def __call__(self, sched: Sched) -> Sched:
        def warmed(now: Clock) -> float:
            ramp = min(1.0, (now.step + 1) / now.steps(self.length))
            return sched(now) * (self.start + (1 - self.start) * ramp)

        return warmed
