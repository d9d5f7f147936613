"""Plan of a recipe: lengths and numbers by hand, and within every budget."""

import math

import pytest

from trainer.base.clock import Clock
from trainer.base.errors import ConfigError
from trainer.recipe.plan import Pace, plan_for, plan_in_time, smallest_plan

CLOCK = Clock(total_steps=360, steps_per_epoch=18)  # 20 epochs


def test_the_plan_of_the_defaults_by_hand():
    plan = plan_for(smallest_plan(CLOCK, False, 3), 8)
    assert (plan.total, plan.epoch, plan.short, plan.longer, plan.refined) == (20, 1, 1, 3, 10)
    # Of 160 epochs four whole runs take 80; half of the rest pays for 19 x 1 + 7 x 3, the other half for 4 x 10.
    assert (plan.coarse, plan.kept, plan.rounds, plan.seeds) == (19, 7, 1, 3)
    assert plan.compares and (plan.cost, plan.jobs) == (19 + 21 + 40 + 60 + 20, 19 + 7 + 4 + 3 + 1)


@pytest.mark.parametrize("budget", [4.7, 5, 6.5, 9, 20, 100])
@pytest.mark.parametrize(
    ("clock", "counts_steps"),
    [
        (CLOCK, False),
        (Clock(200, 2), False),
        (Clock(3, 3), False),
        (Clock(1, 1), False),
        (Clock(5000, 94), True),
        (Clock(47, 94), True),
        (Clock(90_000, 600), False),
    ],
)
def test_no_plan_costs_more_than_its_budget(clock, counts_steps, budget):
    smallest = smallest_plan(clock, counts_steps, 3)
    try:
        plan = plan_for(smallest, budget)
    except ConfigError:
        assert smallest.cost > budget * smallest.total
        return
    runs = [plan.short] * plan.coarse + [plan.longer] * plan.kept + [plan.refined] * plan.rounds * plan.drawn
    whole = plan.seeds + plan.compares
    assert plan.cost == sum(runs) + whole * plan.total <= budget * plan.total
    assert len(runs) + whole == plan.jobs
    assert 1 <= plan.short <= plan.longer <= plan.total and plan.refined <= plan.total
    assert 1 <= plan.rounds <= 8 and 4 <= plan.coarse <= 27
    epochs = plan.refined / plan.epoch
    if clock.total_epochs >= 20:
        assert 10 <= epochs <= 20 and plan.counts_steps == counts_steps  # step 5 of the lectures: 10 to 20 epochs
    else:
        assert plan.counts_steps and plan.refined == max(1, plan.total // 2)


def test_a_larger_budget_never_buys_less():
    smallest = smallest_plan(CLOCK, False, 3)
    plans = [plan_for(smallest, 5.5 + extra / 4) for extra in range(60)]
    assert all(one.cost <= other.cost for one, other in zip(plans, plans[1:]))
    assert plans[-1].rounds > plans[0].rounds


@pytest.mark.parametrize(("epochs", "least"), [(20, 5.5), (23, 5.4)])
def test_a_budget_that_is_too_small_is_answered_with_the_least_that_is_not(epochs, least):
    """Of 20 epochs 4 x 1 + 2 x 3 + 4 x 10 + 3 x 20 = 110; of 23 epochs 4 + 6 + 4 x 11 + 3 x 23 = 123, 5.35 runs."""
    smallest = smallest_plan(Clock(18 * epochs, 18), False, 3)
    with pytest.raises(
        ConfigError, match=rf"^task.budget=3: too small .+ of {epochs} epochs; write task.budget="
    ) as error:
        plan_for(smallest, 3)
    assert float(str(error.value).rpartition("=")[2].split()[0]) == least
    plan_for(smallest, least)


def test_half_of_what_the_whole_runs_leave_pays_for_the_coarse_search():
    plan = plan_for(smallest_plan(CLOCK, False, 3), 9)  # of 180 epochs four whole runs leave 100
    assert plan.coarse == 24  # 24 x 1 + 8 x 3 = 48, 25 x 1 + 9 x 3 = 52


@pytest.mark.parametrize("minutes", [2, 7.5, 60])
def test_a_plan_in_time_takes_no_longer_and_the_next_larger_one_does(minutes):
    smallest, pace = smallest_plan(CLOCK, False, 3), Pace(beside=0.5, training=9.0)
    plan = plan_in_time(smallest, minutes, pace)
    # By hand: half a second for each run, and 9 s for each 20 epochs of training.
    assert pace.seconds(plan) == pytest.approx(0.5 * plan.jobs + 9 * plan.cost / 20)
    assert pace.seconds(plan) <= 60 * minutes
    longer = plan_in_time(smallest, 2 * minutes, pace)
    assert longer.cost > plan.cost or plan.rounds == 8


def test_too_few_minutes_are_answered_with_enough():
    smallest, pace = smallest_plan(CLOCK, False, 3), Pace(beside=0.5, training=60.0)
    with pytest.raises(
        ConfigError, match=r"^task.budget=0.5min: too short .+; write task.budget=\d+min or more$"
    ) as error:
        plan_in_time(smallest, 0.5, pace)
    enough = int(str(error.value).rpartition("=")[2].split("min")[0])
    assert pace.seconds(plan_in_time(smallest, enough, pace)) <= 60 * enough
    assert math.ceil(pace.seconds(smallest) / 60) == enough
