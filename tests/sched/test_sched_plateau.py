"""Plateau, the schedule with memory: against torch's ReduceLROnPlateau and by hand."""

import io
import random

import pytest
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from trainer.base.clock import Clock
from trainer.sched.plateau import Plateau
from trainer.warmup import LinearWarmup

CLOCK = Clock(total_steps=40, steps_per_epoch=4)


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
    # Second bad evaluation: drop. Two of cooldown. Two more bad: drop. 0.5 is better, in the cooldown, as is one more;
    # then two bad ones: 0.125 is held at 0.2.
    assert seen == [1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.2, 0.2, 0.2, 0.2]


def test_plateau_counts_a_relative_improvement_of_more_than_the_threshold():
    for loss, expected in [(0.8, 0.1), (0.7999, 1.0)]:
        sched = Plateau(patience=0, threshold=0.2)
        sched.observe(1.0)
        sched.observe(loss)
        assert sched(CLOCK) == expected


def test_plateau_resumes_from_its_state():
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


def test_the_state_of_plateau_survives_a_checkpoint_file():
    sched, other, file = Plateau(patience=1, cooldown=3), Plateau(patience=1, cooldown=3), io.BytesIO()
    for loss in [1.0, 2.0, 2.0, 2.0]:
        sched.observe(loss)
    torch.save(sched.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other(CLOCK) == 0.1 and other.state_dict() == sched.state_dict()


def test_plateau_does_not_depend_on_the_time():
    sched = Plateau()
    assert {sched(CLOCK.at(step)) for step in range(40)} == {1.0}


def test_plateau_counts_a_nan_loss_as_no_improvement():
    sched = Plateau(patience=1)
    for loss in [1.0, float("nan"), float("nan")]:
        sched.observe(loss)
    assert sched(CLOCK) == 0.1


def test_a_warmed_plateau_still_drops():
    plateau = Plateau(patience=0)
    warmed = LinearWarmup(length="4st")(plateau)
    plateau.observe(1.0)
    plateau.observe(1.0)
    assert (warmed(CLOCK.at(1)), warmed(CLOCK.at(9))) == (0.5 * 0.1, 0.1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"factor": 1.0}, r"factor must be in \(0, 1\), got 1.0"),
        ({"factor": 0.0}, r"factor must be in \(0, 1\), got 0.0"),
        ({"patience": -1}, "patience must be >= 0, got -1"),
        ({"cooldown": -1}, "cooldown must be >= 0, got -1"),
        ({"threshold": 1.0}, r"threshold must be in \[0, 1\), got 1.0"),
        ({"floor": 1.0}, r"floor must be in \[0, 1\), got 1.0"),
    ],
)
def test_a_field_out_of_its_range_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Plateau(**fields)
