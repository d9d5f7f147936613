"""The clock of a step, by hand."""

import pytest

from trainer.base.clock import Clock, parse_length

CLOCK = Clock(total_steps=200, steps_per_epoch=25)


@pytest.mark.parametrize(
    ("step", "epoch", "progress"), [(0, 0, 0.0), (24, 0, 0.12), (25, 1, 0.125), (50, 2, 0.25), (199, 7, 0.995)]
)
def test_epoch_and_progress_count_the_steps_done_before(step, epoch, progress):
    now = CLOCK.at(step)
    assert (now.epoch, now.progress) == (epoch, progress)


def test_at_changes_the_step_and_the_rate_alone():
    assert CLOCK.at(7, 0.5) == Clock(total_steps=200, steps_per_epoch=25, step=7, lr=0.5)


@pytest.mark.parametrize(
    ("length", "steps"),
    [("3ep", 75), ("0.5ep", 13), ("0.1ep", 3), ("30st", 30), ("5000st", 5000), ("0.4st", 1)]
    + [("5%", 10), ("100%", 200), ("1.2%", 2), ("1.25%", 3), ("0.001%", 1)],
)
def test_a_length_is_rounded_to_the_nearest_step_and_at_least_one(length, steps):
    assert CLOCK.at(99).steps(length) == steps


@pytest.mark.parametrize(("length", "parts"), [("30ep", (30.0, "ep")), ("2.5%", (2.5, "%")), ("7st", (7.0, "st"))])
def test_a_length_is_a_number_and_a_unit(length, parts):
    assert parse_length(length) == parts


@pytest.mark.parametrize("length", ["30", "ep", "-5ep", "0st", "0.0%", "5 ep", "1e3st", "5%%", "", 30, None])
def test_anything_else_is_refused_as_a_length(length):
    with pytest.raises(ValueError, match=f"as 30ep, 5000st or 5%, got {length}"):
        parse_length(length)
