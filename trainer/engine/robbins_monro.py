"""Conditions of Robbins and Monro (1951) on a schedule: the sum of all rates diverges, that of their squares does not.

Decided by the tail of the schedule in a run without an end: its multiplier falls like t^-a, and the sum of t^-a
diverges where a <= 1, that of its squares where a <= 1/2. The exponent a is fitted, not derived, so that it is found
for any schedule, also for one of your own. A schedule that ends with the run has a = 0: its mean multiplier is the same
in a run of any length, so that both sums grow with the length. A warm-up, which is over after some steps, changes
neither sum. Factors of log t are not seen: 1 / (t log t) counts as a = 1.02, whose sum converges.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from trainer.base.clock import Clock
from trainer.base.protocols import ObservesLoss

TOTAL = 2**90  # steps of a run without an end
OCTAVES = range(24, 49)  # of the time, from 2^24 to 2^49 steps
POINTS = 47  # of each octave; a prime number, so that no cycle meets it
TOLERANCE = 1e-3  # of the exponent: 1 / (1 + c t) is 1 / (c t) up to 1e-5 at these times


class RateSums(NamedTuple):
    """Behaviour of the sums of a schedule's rates over a run without an end."""

    diverges: bool
    squares_converge: bool

    @property
    def keeps_the_rule(self) -> bool:
        """True if both conditions hold, under which SGD converges."""
        return self.diverges and self.squares_converge


def rate_sums(sched: Callable[[Clock], float], steps_per_epoch: int = 1) -> RateSums | None:
    """Return what becomes of the sums of a schedule's rates; None where they depend on the validation loss."""
    if isinstance(sched, ObservesLoss):
        return None
    exponent = tail_exponent(sched, steps_per_epoch)
    return RateSums(diverges=exponent <= 1 + TOLERANCE, squares_converge=exponent > 0.5 + TOLERANCE)


def tail_exponent(sched: Callable[[Clock], float], steps_per_epoch: int = 1) -> float:
    """Return a, where the multiplier falls like t^-a on average; inf where it falls faster than any power.

    Least squares: minus the slope of the logarithm of the mean multiplier in each octave of the time.
    """
    clock = Clock(TOTAL, steps_per_epoch)
    means = []
    for octave in OCTAVES:
        times = (2**octave + (2**octave * (2 * point + 1)) // (2 * POINTS) for point in range(POINTS))
        means.append(sum(sched(clock.at(time)) for time in times) / POINTS)
    if min(means) < math.sqrt(math.ulp(0.0)):
        return math.inf
    centre = sum(OCTAVES) / len(OCTAVES)
    slopes = sum((octave - centre) * math.log2(mean) for octave, mean in zip(OCTAVES, means))
    return -slopes / sum((octave - centre) ** 2 for octave in OCTAVES)


def describe(sums: RateSums | None) -> str:
    """Return `sum of rates diverges: yes; of squares converges: no`."""
    if sums is None:
        return "sums of rates and of their squares: depend on the validation loss"
    yes, also = ("yes" if condition else "no" for condition in sums)
    return f"sum of rates diverges: {yes}; of squares converges: {also}"
