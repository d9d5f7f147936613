"""A minimum that moves from step to step, as with data that drift: who follows it."""

import pytest
from stepping import trajectory

from trainer.base.clock import Clock
from trainer.claims.claim import Option

SPEED, RATE, COUNT = 0.25, 0.1, 200


def moving():
    """Return the gradient of (w - speed t)^2 / 2 at its t-th call, t = 0, 1, ..."""
    times = iter(range(COUNT))
    return lambda w: w - SPEED * next(times)


def behind(rates):
    """Return how far the weights are behind the minimum after all steps."""
    path = trajectory("sgd", moving(), start=[0.0], steps=COUNT, lrs=rates)
    return SPEED * COUNT - path[-1, 0]


def test_sgd_of_a_constant_rate_follows_a_minimum_that_moves():
    """The distance obeys d <- (1 - r) d + speed: it tends to speed / r. A mean of all minima is half of the way behind.

    With r_t = 1 / (t + 1) the weights are that mean, speed (n - 1) / 2 after n steps.
    """
    assert behind([RATE] * COUNT) == pytest.approx(SPEED / RATE * (1 - (1 - RATE) ** COUNT), rel=1e-9)
    sched = Option("sched", "power")(exponent=1.0)
    clock = Clock(total_steps=COUNT, steps_per_epoch=1)
    falling = [sched(clock.at(step)) for step in range(COUNT)]
    assert behind(falling) == pytest.approx(SPEED * (COUNT + 1) / 2, rel=1e-9)
