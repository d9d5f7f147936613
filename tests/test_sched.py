"""Schedules against closed forms and torch's own."""

import math
import random

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau, StepLR

from trainer.clock import Clock
from trainer.sched import Constant, Cosine, LinearWarmup, NoWarmup, Plateau, Step

CLOCK = Clock(total_steps=40, steps_per_epoch=4)


def multipliers(sched):
    return [sched(CLOCK.at(step)) for step in range(CLOCK.total_steps)]


def torchs(make):
    """The rates that a schedule of torch's gives an optimizer of rate 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs, rates = make(optimizer), []
    for _ in range(CLOCK.total_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    return rates


@pytest.mark.parametrize("sched", [Constant(), Step(), Cosine(), Cosine(floor=0.3), Plateau()])
def test_every_schedule_starts_at_exactly_one(sched):
    assert sched(CLOCK.at(0)) == 1.0


def test_constant_stays_at_one():
    assert multipliers(Constant()) == [1.0] * 40


@pytest.mark.parametrize(("length", "steps"), [("3ep", 12), ("7st", 7), ("25%", 10)])
def test_step_multiplies_by_gamma_after_every_length(length, steps):
    ours = multipliers(Step(length=length, gamma=0.5))
    assert ours == [0.5 ** (t // steps) for t in range(40)]  # powers of two are exact
    assert ours == torchs(lambda optimizer: StepLR(optimizer, steps, gamma=0.5))


@pytest.mark.parametrize(
    ("step", "expected"), [(10, 0.2 + 0.8 * (2 + math.sqrt(2)) / 4), (20, 0.6), (30, 0.2 + 0.8 * (2 - math.sqrt(2)) / 4), (40, 0.2)]
)
def test_cosine_by_hand(step, expected):
    assert Cosine(floor=0.2)(CLOCK.at(step)) == pytest.approx(expected, rel=1e-14)  # a few roundings


@pytest.mark.parametrize("floor", [0.0, 0.25])
def test_cosine_is_torchs_annealing(floor):
    theirs = torchs(lambda optimizer: CosineAnnealingLR(optimizer, CLOCK.total_steps, eta_min=floor))
    assert multipliers(Cosine(floor=floor)) == pytest.approx(theirs, rel=1e-9)  # torch's recursion gathers the rounding of 40 steps


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"patience": 0},
        {"patience": 2, "factor": 0.5},
        {"patience": 1, "cooldown": 3},
        {"patience": 3, "threshold": 0.05},
        {"patience": 1, "threshold": 0.0, "cooldown": 1},
        {"patience": 0, "floor": 0.02, "factor": 0.3},
    ],
)
def test_plateau_is_torchs_rule(fields, seed):
    draw = random.Random(seed)
    losses = [3 / (1 + t) ** draw.choice([0.1, 0.3]) + draw.uniform(0, 0.2) for t in range(80)]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs_fields = {"min_lr" if name == "floor" else name: value for name, value in fields.items()}
    theirs = ReduceLROnPlateau(optimizer, eps=0.0, **theirs_fields)  # eps: torch leaves out drops below 1e-8
    ours = Plateau(**fields)
    for loss in losses:
        theirs.step(loss)
        ours.observe(loss)
        assert ours(CLOCK) == optimizer.param_groups[0]["lr"]
    assert ours(CLOCK) < 1


def test_plateau_by_hand_with_cooldown_and_floor():
    sched, seen = Plateau(factor=0.5, patience=1, cooldown=2, floor=0.2), []
    for loss in [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]:
        sched.observe(loss)
        seen.append(sched(CLOCK))
    # Second bad scoring: drop. Two rest. Two more bad: drop. 0.5 is better and rests, one more rests, then two bad: 0.125 is held at 0.2.
    assert seen == [1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.2, 0.2, 0.2, 0.2]


def test_plateau_counts_a_relative_improvement_of_more_than_the_threshold():
    for loss, expected in [(0.8, 0.1), (0.7999, 1.0)]:
        sched = Plateau(patience=0, threshold=0.2)
        sched.observe(1.0)
        sched.observe(loss)
        assert sched(CLOCK) == expected


def test_plateau_goes_on_from_its_state():
    losses = [1.0, 0.9, 0.9, 0.9, 0.8, 0.9, 0.9, 0.9, 0.9, 0.7, 0.9, 0.9, 0.9]
    for cut in range(len(losses)):
        whole, first, second = (Plateau(patience=1, cooldown=1) for _ in range(3))
        for loss in losses:
            whole.observe(loss)
        for loss in losses[:cut]:
            first.observe(loss)
        second.load_state_dict(first.state_dict())
        for loss in losses[cut:]:
            second.observe(loss)
        assert second.state_dict() == whole.state_dict()


def test_no_warm_up_gives_the_schedule_itself():
    sched = Cosine()
    assert NoWarmup()(sched) is sched


@pytest.mark.parametrize(("length", "steps"), [("8st", 8), ("2ep", 8), ("20%", 8), ("1st", 1)])
@pytest.mark.parametrize("start", [0.0, 0.2])
def test_linear_warm_up_is_a_straight_line_times_the_schedule(length, steps, start):
    warmed = multipliers(LinearWarmup(length=length, start=start)(Step(length="6st", gamma=0.5)))
    line = [start + (1 - start) * min(1.0, (t + 1) / steps) for t in range(40)]
    assert warmed == pytest.approx([height * 0.5 ** (t // 6) for t, height in enumerate(line)], rel=1e-14)  # order of the products


def test_linear_warm_up_moves_at_once_and_is_full_at_its_last_step():
    warmed = multipliers(LinearWarmup(length="4st", start=0.0)(Constant()))
    assert warmed == [0.25, 0.5, 0.75] + [1.0] * 37


def test_a_warmed_plateau_still_drops():
    plateau = Plateau(patience=0)
    warmed = LinearWarmup(length="4st")(plateau)
    plateau.observe(1.0)
    plateau.observe(1.0)
    assert (warmed(CLOCK.at(1)), warmed(CLOCK.at(9))) == (0.5 * 0.1, 0.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Step(length="30"), "a length must be"),
        (lambda: Step(gamma=0.0), r"gamma must be in \(0, 1\], got 0.0"),
        (lambda: Cosine(floor=1.0), r"floor must be in \[0, 1\), got 1.0"),
        (lambda: Plateau(factor=1.0), r"factor must be in \(0, 1\), got 1.0"),
        (lambda: Plateau(patience=-1), "patience must be >= 0, got -1"),
        (lambda: Plateau(cooldown=-1), "cooldown must be >= 0, got -1"),
        (lambda: Plateau(threshold=1.0), r"threshold must be in \[0, 1\), got 1.0"),
        (lambda: LinearWarmup(length="0ep"), "a length must be"),
        (lambda: LinearWarmup(start=1.0), r"start must be in \[0, 1\), got 1.0"),
    ],
)
def test_numbers_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
