"""Learning-rate schedules with no end in their formulas: functions of the time since the start.

A schedule is `(now: Clock) -> multiplier`, a pure function of the time; the loop writes lr = base_lr * multiplier. At step 0
and without a warm-up the multiplier is exactly 1. Time is counted in updates, so that accumulated gradients change nothing.
"""

import math
from dataclasses import dataclass

from trainer.base.checks import require
from trainer.base.clock import Clock, parse_length


def epochs(now: Clock) -> float:
    """Time since the start in passes over the training split, with their fractions."""
    return now.step / now.steps_per_epoch


@dataclass(frozen=True, kw_only=True)
class Constant:
    """multiplier = 1."""

    def __call__(self, now: Clock) -> float:
        return 1.0


@dataclass(frozen=True, kw_only=True)
class Inverse:
    """Decay as one over the time (Robbins & Monro, 1951): multiplier = 1 / (1 + rate t), t in epochs.

    The sum of all rates diverges and the sum of their squares converges, as Robbins and Monro ask.

    Args:
        rate: of the decay per epoch, > 0; the learning rate is halved after 1 / rate epochs.
    Errors: ValueError.
    """

    rate: float = 0.1

    def __post_init__(self) -> None:
        require("> 0", rate=self.rate)

    def __call__(self, now: Clock) -> float:
        return 1 / (1 + self.rate * epochs(now))


@dataclass(frozen=True, kw_only=True)
class Exponential:
    """Decay by the same share in every epoch: multiplier = e^(-rate t), t in epochs.

    Between epochs it falls as well, not in steps. The sum of all rates converges: far from the minimum it stops short.

    Args:
        rate: of the decay per epoch, > 0; a factor of gamma an epoch is rate = -log(gamma), so 0.05 is 0.95 an epoch.
    Errors: ValueError.
    """

    rate: float = 0.05

    def __post_init__(self) -> None:
        require("> 0", rate=self.rate)

    def __call__(self, now: Clock) -> float:
        return math.exp(-self.rate * epochs(now))


@dataclass(frozen=True, kw_only=True)
class Power:
    """Decay as a power of the time: multiplier = (1 + t)^-exponent, t in epochs.

    With an exponent in (0.5, 1] the sum of all rates diverges and the sum of their squares converges (Robbins & Monro, 1951).

    Args:
        exponent: a in 1 / n^a, > 0.
    Errors: ValueError. Called polynomial decay in places; that name stands here for (1 - t / T)^p, which ends with the run.
    """

    exponent: float = 0.75

    def __post_init__(self) -> None:
        require("> 0", exponent=self.exponent)

    def __call__(self, now: Clock) -> float:
        return (1 + epochs(now)) ** -self.exponent


@dataclass(frozen=True, kw_only=True)
class InverseSqrt:
    """Decay as one over the square root of the time (Vaswani et al., 2017): multiplier = sqrt(L / max(L, t)), t = 1, 2, ...

    With a linear warm-up of the same length it is the paper's curve, min(t / L, sqrt(L / t)) of the peak. With a length of
    1st it is 1 / sqrt(t) from the first update on. The sum of the rates' squares diverges, if slowly.

    Args:
        length: L, held at the full rate, a length. Paper: 4000 of 100,000 updates.
    Errors: ValueError. Source: arXiv:1706.03762, eq. (3).
    Differs from the paper: the peak is the optimizer's lr, not (d_model L)^-0.5; and the warm-up is a decision of its own.
    """

    length: str = "5%"

    def __post_init__(self) -> None:
        parse_length(self.length)

    def __call__(self, now: Clock) -> float:
        held = now.steps(self.length)
        return math.sqrt(held / max(held, now.step + 1))
