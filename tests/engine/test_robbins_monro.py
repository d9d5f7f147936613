"""Sums of a schedule's rates: known exponents, every option, and schedules of one's own."""

import math

import pytest

from trainer.base.clock import Clock
from trainer.claims.claim import Option
from trainer.config import catalog
from trainer.engine.robbins_monro import RateSums, describe, rate_sums, tail_exponent
from trainer.sched.cyclic import CosineRestarts
from trainer.sched.decay import Constant, Exponential, Inverse, InverseSqrt, MultiStep, Power, Step

Steady = Constant | Power | Inverse | InverseSqrt | MultiStep | Exponential | Step


@pytest.mark.parametrize(
    ("sched", "exponent"),
    [
        (Constant(), 0),
        (Power(exponent=0.3), 0.3),
        (Power(exponent=0.51), 0.51),
        (Power(exponent=1.1), 1.1),
        (Inverse(rate=5.0), 1),
        (Inverse(rate=0.01), 1),
        (InverseSqrt(length="4000st"), 0.5),
        (MultiStep(milestones=["30ep", "60ep"]), 0),
        (CosineRestarts(length="10ep", growth=1.0), 0),
        (CosineRestarts(length="16st", growth=1.0), 0),
        (Exponential(), math.inf),
        (Step(length="30ep"), math.inf),
        (Step(length="30ep", gamma=1.0), 0),
        (lambda now: (1 + now.step) ** -0.6 * (1 + math.sin(now.step)), 0.6),
    ],
)
@pytest.mark.parametrize("steps_per_epoch", [1, 20, 1000])
def test_the_exponent_of_the_tail_is_found(sched, exponent, steps_per_epoch):
    # An oscillation leaves 1 / sqrt(47) of its size on each of 25 octaves.
    near = 5e-4 if isinstance(sched, Steady) else 0.02
    assert tail_exponent(sched, steps_per_epoch) == pytest.approx(exponent, abs=near)


YES_NO = RateSums(diverges=True, squares_converge=False)
EVERY = {
    "inverse": RateSums(True, True),
    "power": RateSums(True, True),
    "exponential": RateSums(False, True),
    "plateau": None,
}


@pytest.mark.parametrize("name", catalog.options("sched"))
def test_every_schedule_is_classified(name):
    assert rate_sums(Option("sched", name)()) == EVERY.get(name, YES_NO)


@pytest.mark.parametrize(
    "name", [name for name in catalog.options("sched") if EVERY.get(name, YES_NO) == YES_NO and name != "constant"]
)
def test_both_sums_of_a_schedule_without_the_rule_grow_with_the_length_of_the_run(name):
    """The exact sums of whole runs: ten times the steps have more than twice the sum of squares, at 1 / sqrt(t) too."""
    sched, sums = Option("sched", name)(), []
    for total in (1_000, 10_000):
        clock = Clock(total, 20)
        multipliers = [sched(clock.at(step)) for step in range(total)]
        sums.append((sum(multipliers), sum(value**2 for value in multipliers)))
    assert sums[1][0] > 2 * sums[0][0] and sums[1][1] > 2 * sums[0][1]


def test_the_line_of_a_schedule():
    assert describe(rate_sums(Power())) == "sum of rates diverges: yes; of squares converges: yes"
    assert describe(rate_sums(Constant())) == "sum of rates diverges: yes; of squares converges: no"
    assert "validation loss" in describe(rate_sums(Option("sched", "plateau")()))


def test_factors_of_a_logarithm_are_not_seen_as_the_module_says():
    assert not rate_sums(lambda now: 1 / ((now.step + 2) * math.log(now.step + 2))).diverges
