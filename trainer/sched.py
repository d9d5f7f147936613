"""Learning-rate schedules: `(now: Clock) -> multiplier`, pure functions of the time; and warm-ups, which wrap one.

The loop writes lr = base_lr * multiplier. At step 0 and without a warm-up the multiplier is exactly 1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from trainer.clock import Clock, parse_length
from trainer.errors import require

Sched = Callable[[Clock], float]


@dataclass(frozen=True, kw_only=True)
class Constant:
    """multiplier = 1."""

    def __call__(self, now: Clock) -> float:
        return 1.0


@dataclass(frozen=True, kw_only=True)
class Step:
    """Drop the rate at regular times (He et al., 2015): multiplier = gamma^floor(t / length).

    Args:
        length: between two drops, a length. ResNet: 30ep of about 100.
        gamma: factor of each drop, in (0, 1]. ResNet: 0.1.
    Errors: ValueError.
    """

    length: str = "30%"
    gamma: float = 0.1

    def __post_init__(self) -> None:
        parse_length(self.length)
        require("in (0, 1]", gamma=self.gamma)

    def __call__(self, now: Clock) -> float:
        return self.gamma ** (now.step // now.steps(self.length))


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Anneal along half a cosine (Loshchilov & Hutter, 2017).

    multiplier = floor + (1 - floor) (1 + cos(pi t / T)) / 2

    Args:
        floor: multiplier at the end of the run, in [0, 1). Paper: 0.
    Errors: ValueError. Source: arXiv:1608.03983, eq. (5). Differs from the paper: no restarts.
    """

    floor: float = 0.0

    def __post_init__(self) -> None:
        require("in [0, 1)", floor=self.floor)

    def __call__(self, now: Clock) -> float:
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * now.progress)) / 2


@dataclass(kw_only=True)
class Plateau:
    """Drop the rate when the validation loss has stopped falling; the same rule as torch's ReduceLROnPlateau.

    A loss counts as better when it is below best (1 - threshold). After more than `patience` scorings without a better
    one: multiplier = max(floor, multiplier * factor), and the next `cooldown` scorings do not count.

    Args:
        factor: of each drop, in (0, 1). torch: 0.1.
        patience: scorings without improvement before a drop, >= 0. torch: 10.
        threshold: relative improvement that counts, in [0, 1). torch: 1e-4.
        cooldown: scorings after a drop that do not count, >= 0. torch: 0.
        floor: smallest multiplier, in [0, 1). torch: 0.
    Errors: ValueError.
    """

    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    cooldown: int = 0
    floor: float = 0.0

    def __post_init__(self) -> None:
        require("in (0, 1)", factor=self.factor)
        require("in [0, 1)", threshold=self.threshold, floor=self.floor)
        require(">= 0", patience=self.patience, cooldown=self.cooldown)
        self._multiplier, self._best, self._bad, self._resting = 1.0, math.inf, 0, 0

    def __call__(self, now: Clock) -> float:
        return self._multiplier

    def observe(self, loss: float) -> None:
        """Take the validation loss of one scoring."""
        if loss < self._best * (1 - self.threshold):
            self._best, self._bad = loss, 0
        else:
            self._bad += 1
        if self._resting > 0:
            self._resting, self._bad = self._resting - 1, 0
        if self._bad > self.patience:
            self._multiplier = max(self.floor, self._multiplier * self.factor)
            self._resting, self._bad = self.cooldown, 0

    def state_dict(self) -> dict[str, float]:
        return {"multiplier": self._multiplier, "best": self._best, "bad": self._bad, "resting": self._resting}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self._multiplier, self._best, self._bad, self._resting = (state[key] for key in ("multiplier", "best", "bad", "resting"))


@dataclass(frozen=True, kw_only=True)
class NoWarmup:
    """The schedule as it is."""

    def __call__(self, sched: Sched) -> Sched:
        return sched


@dataclass(frozen=True, kw_only=True)
class LinearWarmup:
    """Raise the rate in a straight line (Goyal et al., 2017): multiplier = sched(t) (start + (1 - start) min(1, (t + 1) / W)).

    The first update already moves (its ramp is 1 / W above start), and update W is the first at the full schedule.
    The schedule keeps its own time, so that drops fall where they would without a warm-up.

    Args:
        length: W, a length. cs231n: 5000st.
        start: multiplier the rise starts from, in [0, 1). Paper: 1 / workers.
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
