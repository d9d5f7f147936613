"""Learning-rate schedules that know the run's end: functions of the share of it that is done, down to a floor.

At step 0 and without a warm-up the multiplier is exactly 1, but for the one cycle, which begins below its peak.
"""

import math
from dataclasses import dataclass

from trainer.base.checks import require
from trainer.base.clock import Clock, parse_length


def above(floor: float, share: float) -> float:
    """`share` of the way from floor up to 1."""
    return floor + (1 - floor) * share


def half_cosine(progress: float) -> float:
    """From 1 at progress 0 to 0 at progress 1."""
    return (1 + math.cos(math.pi * progress)) / 2


@dataclass(frozen=True, kw_only=True)
class Linear:
    """Anneal along a straight line: multiplier = floor + (1 - floor) (1 - t / T).

    Args:
        floor: multiplier at the end of the run, in [0, 1). cs231n: 0.
    Errors: ValueError.
    """

    floor: float = 0.0

    def __post_init__(self) -> None:
        require("in [0, 1)", floor=self.floor)

    def __call__(self, now: Clock) -> float:
        return above(self.floor, 1 - now.progress)


@dataclass(frozen=True, kw_only=True)
class Polynomial:
    """Anneal as a power of what is left of the run: multiplier = floor + (1 - floor) (1 - t / T)^power.

    Args:
        power: p, > 0; 1 is a straight line. DeepLab's "poly" policy: 0.9.
        floor: multiplier at the end of the run, in [0, 1). DeepLab: 0.
    Errors: ValueError. Source: Chen et al., 2016, arXiv:1606.00915, section 4.1. Differs from the paper: no.
    """

    power: float = 0.9
    floor: float = 0.0

    def __post_init__(self) -> None:
        require("> 0", power=self.power)
        require("in [0, 1)", floor=self.floor)

    def __call__(self, now: Clock) -> float:
        return above(self.floor, (1 - now.progress) ** self.power)


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Anneal along half a cosine (Loshchilov & Hutter, 2017).

    multiplier = floor + (1 - floor) (1 + cos(pi t / T)) / 2

    Args:
        floor: multiplier at the end of the run, in [0, 1). Paper: 0.
    Errors: ValueError. Source: arXiv:1608.03983, eq. (5). Differs from the paper: no restarts (see cosine_restarts).
    """

    floor: float = 0.0

    def __post_init__(self) -> None:
        require("in [0, 1)", floor=self.floor)

    def __call__(self, now: Clock) -> float:
        return above(self.floor, half_cosine(now.progress))


@dataclass(frozen=True, kw_only=True)
class CosineRestarts:
    """Half cosines one after the other, each from the full rate: SGDR (Loshchilov & Hutter, 2017).

    multiplier = floor + (1 - floor) (1 + cos(pi T_cur / T_i)) / 2, with T_cur the updates since the last restart,
    T_i = T_0 T_mult^i. It comes down at the end of the run where whole cycles fill it: with T_0 = 10ep and T_mult = 2, runs of 10, 30,
    70 and 150 epochs.

    Args:
        length: T_0, of the first cycle, a length. Paper: 10ep (of 1, 10, 50, 100 and 200 tried).
        growth: T_mult, of each cycle over the one before, >= 1. Paper: 2 (of 1 and 2 tried).
        floor: multiplier at the end of each cycle, in [0, 1). Paper: 0.
    Errors: ValueError. Source: arXiv:1608.03983, eq. (5). Differs from the paper: no.
    """

    length: str = "10ep"
    growth: float = 2.0
    floor: float = 0.0

    def __post_init__(self) -> None:
        parse_length(self.length)
        require(">= 1", growth=self.growth)
        require("in [0, 1)", floor=self.floor)

    def __call__(self, now: Clock) -> float:
        since, cycle = now.step, now.steps(self.length)
        if self.growth == 1:
            since %= cycle
        while since >= cycle:
            since, cycle = since - cycle, cycle * self.growth
        return above(self.floor, half_cosine(since / cycle))


@dataclass(frozen=True, kw_only=True)
class OneCycle:
    """Up to the peak, down again, and far below for the rest of the run, in three straight lines (Smith, 2018).

    The multiplier goes through (0, 1 / div), (L, 1), (2 L, 1 / div) and (T, 1 / (div final_div)): the optimizer's lr is the peak.
    It starts at 1 / div, alone among the schedules, and so needs no warm-up. A run shorter than 2 L ends on the way down.

    Args:
        length: L, of the rise, and of the fall, a length. The cycle must be shorter than the run; 45% leaves it a tenth.
        div: peak over first rate, >= 1. torch: 25.
        final_div: first over last rate, >= 1; "several orders of magnitude" in the paper. torch: 1e4.
    Errors: ValueError. Source: arXiv:1803.09820, section 4.1. Differs from the paper: the momentum stays as it is.
    """

    length: str = "45%"
    div: float = 25.0
    final_div: float = 1e4

    def __post_init__(self) -> None:
        parse_length(self.length)
        require(">= 1", div=self.div, final_div=self.final_div)

    def __call__(self, now: Clock) -> float:
        rise, low = now.steps(self.length), 1 / self.div
        if now.step <= 2 * rise:
            return above(low, 1 - abs(now.step - rise) / rise)
        rest = (now.step - 2 * rise) / (now.total_steps - 2 * rise)
        return low * above(1 / self.final_div, 1 - rest)
