"""Learning-rate decay: schedules that never rise.

A schedule is `(now: Clock) -> multiplier`, a pure function of the time; the loop writes lr = base_lr * multiplier. At
step 0 and without a warm-up the multiplier is exactly 1. Time is counted in optimizer steps, so that gradient
accumulation does not change the curve. Linear, Polynomial and Cosine end with the run: they come to their floor at
t = T, as in the papers and in torch, and the last step is t = T - 1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.base.checks import require
from trainer.base.clock import Clock, parse_length


def above(floor: float, fraction: float) -> float:
    """Return the point at this fraction of the way from floor up to 1."""
    return floor + (1 - floor) * fraction


def half_cosine(progress: float) -> float:
    """Return (1 + cos(pi progress)) / 2: 1 at progress 0, 0 at progress 1."""
    return (1 + math.cos(math.pi * progress)) / 2


@dataclass(frozen=True, kw_only=True)
class Constant:
    """Constant learning rate: multiplier = 1."""

    def __call__(self, now: Clock) -> float:
        return 1.0


@dataclass(frozen=True, kw_only=True)
class Inverse:
    """Inverse-time decay (Robbins & Monro, 1951): multiplier = 1 / (1 + rate t), t in epochs.

    The sum of all learning rates diverges and the sum of their squares converges, as Robbins and Monro ask.

    Args:
        rate: decay per epoch, >= 0; the learning rate is halved after 1 / rate epochs.
    Errors: ValueError.
    """

    rate: float = 0.1

    def __post_init__(self) -> None:
        require(">= 0", rate=self.rate)

    def __call__(self, now: Clock) -> float:
        return 1 / (1 + self.rate * now.epochs)


@dataclass(frozen=True, kw_only=True)
class Exponential:
    """Exponential decay, by the same factor in every epoch: multiplier = e^(-rate t), t in epochs.

    It falls between epochs as well, not in steps. The sum of all learning rates converges: far from the minimum it
    stops short.

    Args:
        rate: decay per epoch, >= 0; a factor of gamma an epoch is rate = -log(gamma), so 0.05 is 0.95 an epoch.
    Errors: ValueError.
    """

    rate: float = 0.05

    def __post_init__(self) -> None:
        require(">= 0", rate=self.rate)

    def __call__(self, now: Clock) -> float:
        return math.exp(-self.rate * now.epochs)


@dataclass(frozen=True, kw_only=True)
class Power:
    """Power-law decay in the time since the start: multiplier = (1 + t)^-exponent, t in epochs.

    With an exponent in (0.5, 1] the sum of all learning rates diverges and the sum of their squares converges (Robbins
    & Monro, 1951).

    Args:
        exponent: a in 1 / n^a, >= 0.
    Errors: ValueError. Called polynomial decay in places; here that name means (1 - t / T)^p, which ends with the run.
    """

    exponent: float = 0.75

    def __post_init__(self) -> None:
        require(">= 0", exponent=self.exponent)

    def __call__(self, now: Clock) -> float:
        return (1 + now.epochs) ** -self.exponent


@dataclass(frozen=True, kw_only=True)
class InverseSqrt:
    """Inverse square-root decay (Vaswani et al., 2017): multiplier = sqrt(L / max(L, t)), t = 1, 2, ...

    With a linear warm-up of the same length it is the paper's curve, min(t / L, sqrt(L / t)) of the peak. With a length
    of 1st it is 1 / sqrt(t) from the first step on. The sum of the rates' squares diverges, if slowly.

    Args:
        length: L, steps at the full rate, a length. Paper: 4000 of 100,000 steps.
    Errors: ValueError. Source: arXiv:1706.03762, eq. (3). Differs from the paper: the peak is the optimizer's lr, not
    (d_model L)^-0.5; and the warm-up is an option of its own.
    """

    length: str = "5%"

    def __post_init__(self) -> None:
        parse_length(self.length)

    def __call__(self, now: Clock) -> float:
        held = now.steps(self.length)
        return math.sqrt(held / max(held, now.step + 1))


@dataclass(frozen=True, kw_only=True)
class Step:
    """Step decay at regular intervals (He et al., 2015): multiplier = gamma^floor(t / length).

    Args:
        length: interval between two drops, a length. ResNet: 30ep of about 100.
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
class MultiStep:
    """Step decay at given milestones (He et al., 2015): multiplier = gamma^(number of milestones reached).

    Args:
        milestones: times of the drops, each a length from the start, in any order. ResNet on CIFAR-10: 32,000 and
            48,000 of 64,000 steps.
        gamma: factor of each drop, in (0, 1]. ResNet: 0.1.
    Errors: ValueError. Source: arXiv:1512.03385, section 4.2. Differs from the paper: no.
    """

    milestones: Sequence[str] = ("50%", "75%")
    gamma: float = 0.1

    def __post_init__(self) -> None:
        for milestone in self.milestones:
            parse_length(milestone)
        require("in (0, 1]", gamma=self.gamma)

    def __call__(self, now: Clock) -> float:
        return self.gamma ** sum([now.step >= now.steps(milestone) for milestone in self.milestones])


@dataclass(frozen=True, kw_only=True)
class Linear:
    """Linear decay to the end of the run: multiplier = floor + (1 - floor) (1 - t / T).

    Args:
        floor: multiplier at t = T, a step behind the last, in [0, 1). cs231n: 0.
    Errors: ValueError.
    """

    floor: float = 0.0

    def __post_init__(self) -> None:
        require("in [0, 1)", floor=self.floor)

    def __call__(self, now: Clock) -> float:
        return above(self.floor, 1 - now.progress)


@dataclass(frozen=True, kw_only=True)
class Polynomial:
    """Polynomial decay to the end of the run: multiplier = floor + (1 - floor) (1 - t / T)^power.

    Args:
        power: p, >= 0; 1 is linear decay. DeepLab's "poly" policy: 0.9.
        floor: multiplier at t = T, a step behind the last, in [0, 1). DeepLab: 0.
    Errors: ValueError. Source: Chen et al., 2016, arXiv:1606.00915, section 4.1. Differs from the paper: no.
    """

    power: float = 0.9
    floor: float = 0.0

    def __post_init__(self) -> None:
        require(">= 0", power=self.power)
        require("in [0, 1)", floor=self.floor)

    def __call__(self, now: Clock) -> float:
        return above(self.floor, (1 - now.progress) ** self.power)


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Cosine annealing to the end of the run (Loshchilov & Hutter, 2017).

    multiplier = floor + (1 - floor) (1 + cos(pi t / T)) / 2

    Args:
        floor: multiplier at t = T, a step behind the last, in [0, 1). Paper: 0.
    Errors: ValueError. Source: arXiv:1608.03983, eq. (5). Differs from the paper: no restarts (see cosine_restarts).
    """

    floor: float = 0.0

    def __post_init__(self) -> None:
        require("in [0, 1)", floor=self.floor)

    def __call__(self, now: Clock) -> float:
        return above(self.floor, half_cosine(now.progress))
