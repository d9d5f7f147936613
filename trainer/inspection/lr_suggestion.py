"""Learning rates that a range test suggests: four known rules, whether each holds, and one suggestion. No torch.

All are functions of the rates and losses of the test alone.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

from trainer.inspection.loss_by_rate import LossByRate, loss_by_rate, points_in

FEWEST = 50  # points
NOISE = 7.0  # standard deviations of the moving average: noise alone falls by more in one of several hundred tests
SMALLEST_FALL = 1e-3  # of the level: less may be rounding
HALF, DONE = 0.5, 0.95  # fractions of the fall
RISEN = 0.1  # fraction of the fall that the loss must rise by behind its minimum
STEADY = 0.5  # fraction of the points of a valley that must go down
INTERVAL = 1.2  # decades between the two slopes that the sliding rule compares: 15 of fastai's 100 points
ALIKE = 0.05  # difference of two slopes, in falls by decade, below which they are alike
STILL_FALLING = 0.1  # of the fall by decade, in the last decade: the largest rates still lower the loss


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Answer of a rule.

    Args:
        rate: that it gives; None where the curve has no such place.
        why_not: reason why it does not hold for this curve; empty where it does.
    """

    name: str
    rate: float | None = None
    why_not: str = ""

    @property
    def holds(self) -> bool:
        """True if the rule's condition is met."""
        return not self.why_not


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """Answer of a range test.

    Args:
        rate: two digits; None where there is no suggestion.
        reason: how it was found, or a sentence on why there is none.
        rules: the answers of the four rules; none where the curve gives them nothing to go by.
    """

    rate: float | None
    reason: str
    rules: tuple[Rule, ...] = ()


def suggest(rates: Sequence[float], losses: Sequence[float]) -> Suggestion:
    """Return the learning rate that a range test suggests, or why there is none.

    It is the middle, on the logarithmic axis, between the steepest descent and the minimum: between the fastest
    progress and its end. It does not lie beyond the place where 95 % of the fall is done: the minimum of a loss that
    falls to nothing and stays there may be anywhere.

    Args:
        rates: ascending, at equal distances on a logarithmic axis.
        losses: training loss after a step at each; the last one may not be finite.
    """
    curve = loss_by_rate(rates, losses)
    if why := no_descent(curve):
        return Suggestion(rate=None, reason=why)
    rules = tuple(rule(curve) for rule in (steepest, minimum, valley, slide))
    steep, lowest, done = rules[0], curve.rates[curve.lowest], curve.rates[curve.reached(DONE)]
    if still_falls(curve):
        reason = f"the loss still falls at the last rate, {shown(curve.rates[-1])}: the best rate lies beyond it"
        return Suggestion(rate=None, reason=reason, rules=rules)
    if not steep.holds:
        return Suggestion(rate=None, reason=f"there is no steepest descent to go by: {steep.why_not}", rules=rules)
    if (rate := middle(steep.rate, lowest)) > done:
        reason = f"95 % of the loss's fall is done at {shown(done)}"
        return Suggestion(rate=two_digits(done), reason=reason, rules=rules)
    ends = f"the steepest descent, {shown(steep.rate)}, and the minimum, {shown(lowest)}"
    return Suggestion(rate=two_digits(rate), reason=f"the middle between {ends}", rules=rules)


def no_descent(curve: LossByRate) -> str | None:
    """Return why a curve has no descent that rules could go by; None where it has one."""
    count = len(curve.losses)
    if count < FEWEST and (curve.blown_up or (count and curve.smoothed[-1] > curve.level)):
        where = f"at {shown(curve.rates[-1])}, " if count else ""
        return f"the loss diverges {where}after {count} of {FEWEST} points that are needed: the first rate is too large"
    if count < FEWEST:
        return f"{count} points are too few; {FEWEST} are needed"
    least = max(NOISE * curve.noise, SMALLEST_FALL * abs(curve.level))
    if curve.falls_at_once or (curve.fall >= least and curve.reached(HALF) == len(curve.first)):
        at = f"the loss falls at once, from {shown(curve.rates[0])} on"
        return f"{at}: the best rate lies below, or the rate matters little to this optimizer"
    if curve.fall < least:
        return f"the loss never falls by more than {least:.2g}, of noise, from its level of {curve.level:.3g}"
    return None


def still_falls(curve: LossByRate) -> bool:
    """Return whether the largest rates still lower the loss."""
    window = curve.slopes[max(curve.slopes)]
    return not curve.blown_up and curve.lowest >= len(curve.losses) - 3 and -window > STILL_FALLING * curve.fall


def steepest(curve: LossByRate) -> Rule:
    """Return the rate at which the smoothed loss falls fastest by decade (fastai's `steep`)."""
    name, slopes = "steepest descent", curve.slopes
    inside = [point for point in slopes if len(curve.first) <= point <= curve.lowest]
    if not inside:
        return Rule(name=name, why_not="the loss is lowest right behind the first rates")
    best = min(inside, key=slopes.__getitem__)
    rule = Rule(name=name, rate=curve.rates[best])
    if best == inside[0]:
        return replace(rule, why_not="the loss falls fastest at the first rates")
    return rule


def minimum(curve: LossByRate) -> Rule:
    """Return a tenth of the rate with the lowest smoothed loss (fastai's `minimum`)."""
    rule = Rule(name="minimum / 10", rate=curve.rates[curve.lowest] / 10)
    if curve.rise < RISEN * curve.fall:
        return replace(rule, why_not=f"the loss does not rise again up to {shown(curve.rates[-1])}")
    return rule


def valley(curve: LossByRate) -> Rule:
    """Return the rate at two thirds of the longest valley (fastai's `valley`, by ESRI).

    The valley ends with the longest decreasing subsequence of the smoothed loss. It begins where the loss has left its
    level: before that noise decreases as often as not.
    """
    name, begin, lengths = "valley", curve.begun, longest_descents(curve.smoothed)
    end = max(range(len(lengths)), key=lengths.__getitem__)
    if end <= begin:
        return Rule(name=name, why_not="the longest descent ends before most of the fall")
    steps = longest_descents(curve.smoothed[begin : end + 1])
    rule = Rule(name=name, rate=curve.rates[begin] ** (1 / 3) * curve.rates[end] ** (2 / 3))
    if curve.rise < RISEN * curve.fall:
        return replace(rule, why_not=f"the loss does not rise again up to {shown(curve.rates[-1])}")
    if steps[-1] < STEADY * len(steps):
        return replace(rule, why_not="the loss goes up and down on its way")
    return rule


def slide(curve: LossByRate) -> Rule:
    """Return the rate at which an interval comes to rest that slides down from the divergence (fastai's `slide`).

    The slopes at the ends of the interval are alike there; its lower end counts, as the safe side.
    """
    rule, slopes = Rule(name="slide"), curve.slopes
    if not curve.blown_up and curve.smoothed[-1] <= curve.level:
        return replace(rule, why_not=f"the loss does not diverge up to {shown(curve.rates[-1])}")
    width, right = round(points_in(INTERVAL, curve.rates)), max(slopes)
    for left in range(right - width, min(slopes) - 1, -1):
        if abs(slopes[left + width] - slopes[left]) <= ALIKE * curve.fall:
            rule = replace(rule, rate=curve.rates[left])
            beside = left < curve.begun or left > curve.lowest
            return replace(rule, why_not="the interval comes to rest beside the descent") if beside else rule
    return replace(rule, why_not="the slopes are nowhere alike")


def longest_descents(values: Sequence[float]) -> list[int]:
    """Return the length of the longest decreasing subsequence that ends at each value."""
    negated: list[float] = []  # the smallest last value, negated, of an increasing subsequence of each length
    lengths = []
    for value in values:
        place = bisect_left(negated, -value)
        negated[place : place + 1] = [-value]
        lengths.append(place + 1)
    return lengths


def middle(one: float, other: float) -> float:
    """Return the middle of two rates on a logarithmic axis."""
    return math.sqrt(one * other)


def two_digits(rate: float) -> float:
    """Return a rate with two digits, as somebody types it."""
    return float(f"{rate:.1e}")


def shown(rate: float) -> str:
    """Return a rate for a sentence: 0.055, 100, 1e-06."""
    return f"{float(f'{rate:.2g}'):g}"
