"""Plan of a recipe: how many settings are trained for how long, within its budget. No torch here."""

import itertools
import math
from dataclasses import dataclass, replace
from typing import NamedTuple

from trainer.base.clock import Clock
from trainer.base.errors import ConfigError
from trainer.base.text import as_typed, counted

FACTOR = 3  # of successive halving: a third of the settings is trained three times as long
COARSE_SHARE = 0.5  # of the budget that the last runs leave
FEWEST, ENOUGH, MOST = 4, 9, 27  # settings of the coarse search; enough to afford a whole run to compare with
PARTS = 20  # of a whole run: a coarse run is one of them
SHORTEST = 100  # steps of a coarse run, where that is less
REFINED = 4  # settings of a round of refinement
MOST_ROUNDS = 8
MOST_RUNS = 100  # beyond the smallest plan: no plan is larger
REFINED_EPOCHS = 20  # length of a refined run, at most; half of the whole run where that is shorter


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Numbers of settings, and lengths in what `epochs` counts: epochs, or steps.

    Args:
        counts_steps: the run's `epochs` counts steps.
        epoch: length of an epoch.
        total: length of a whole run.
        coarse: settings that the coarse search draws.
        short: length of their first runs.
        rounds: of refinement, at most.
        refined: length of their runs.
        seeds: whole runs of the best setting at the end.
        compares: a whole run of the run's own setting, to compare with.
    """

    counts_steps: bool
    epoch: int
    total: int
    coarse: int
    short: int
    rounds: int
    refined: int
    seeds: int
    compares: bool = False

    @property
    def kept(self) -> int:
        """Settings of the coarse search that are trained longer."""
        return math.ceil(self.coarse / FACTOR)

    @property
    def longer(self) -> int:
        """Length of the runs of the settings that are kept."""
        return min(FACTOR * self.short, self.total)

    @property
    def drawn(self) -> int:
        """Settings of a round of refinement."""
        return REFINED

    @property
    def coarse_cost(self) -> int:
        """Length of all runs of the coarse search together."""
        return self.coarse * self.short + self.kept * self.longer

    @property
    def round_cost(self) -> int:
        """Length of all runs of a round of refinement together."""
        return self.drawn * self.refined

    @property
    def cost(self) -> int:
        """Length of all runs together, at most."""
        return self.coarse_cost + self.rounds * self.round_cost + (self.seeds + self.compares) * self.total

    @property
    def jobs(self) -> int:
        """Number of all runs, at most."""
        return self.coarse + self.kept + self.rounds * self.drawn + self.seeds + self.compares

    def epochs(self, length: int) -> str:
        """Return the override that gives a run this length."""
        return f"epochs={length}{'st' if self.counts_steps else ''}"

    def words(self, length: int) -> str:
        """Return a length in words: `1 epoch`, `300 steps`."""
        return counted("step" if self.counts_steps else "epoch", length)


def smallest_plan(clock: Clock, counts_steps: bool, seeds: int) -> Plan:
    """Return the plan with the fewest runs; in steps where a run is so short that its parts are no whole epochs.

    Args:
        clock: of the run.
        counts_steps: its `epochs` counts steps.
        seeds: whole runs at the end.
    """
    counts_steps = counts_steps or clock.total_steps < PARTS * clock.steps_per_epoch
    unit = 1 if counts_steps else clock.steps_per_epoch
    total, epoch = clock.total_steps // unit, clock.steps_per_epoch // unit
    return Plan(
        counts_steps=counts_steps,
        epoch=epoch,
        total=total,
        coarse=FEWEST,
        short=max(1, min(math.ceil(SHORTEST / unit), total // PARTS)),
        rounds=1,
        refined=max(1, min(total // 2, REFINED_EPOCHS * epoch)),
        seeds=seeds,
    )


def plan_for(smallest: Plan, budget: float) -> Plan:
    """Return the largest plan within a budget, in whole runs. Errors: ConfigError where the smallest one is larger."""
    if smallest.cost > budget * smallest.total:
        least = math.ceil(10 * smallest.cost / smallest.total) / 10
        what = f"too small for a search and {counted('whole run', smallest.seeds)} of {smallest.words(smallest.total)}"
        raise ConfigError(f"task.budget={as_typed(budget)}: {what}; write task.budget={least:g} or more")
    for compares in (True, False):
        left = (budget - smallest.seeds - compares) * smallest.total
        affordable = min(left * COARSE_SHARE, left - smallest.round_cost)
        larger = (replace(smallest, coarse=count, compares=compares) for count in range(FEWEST, MOST + 1))
        *_, plan = (plan for plan in larger if plan.coarse == FEWEST or plan.coarse_cost <= affordable)
        if plan.coarse >= ENOUGH and affordable > 0:
            break
    return replace(plan, rounds=min(int((left - plan.coarse_cost) // plan.round_cost), MOST_ROUNDS))


class Pace(NamedTuple):
    """Seconds that every run takes beside its training, and those of the training of a whole run."""

    beside: float
    training: float

    def seconds(self, plan: Plan) -> float:
        """Return how long all runs of a plan take, one after the other."""
        return plan.jobs * self.beside + plan.cost / plan.total * self.training


def plan_in_time(smallest: Plan, minutes: float, pace: Pace) -> Plan:
    """Return the largest plan that takes no longer. Errors: ConfigError where the smallest one takes longer."""
    if (least := pace.seconds(smallest) / 60) > minutes:
        what = f"too short for a search and {counted('whole run', smallest.seeds)}"
        raise ConfigError(
            f"task.budget={as_typed(minutes)}min: {what}; write task.budget={math.ceil(least)}min or more"
        )
    first = smallest.cost / smallest.total
    larger = (plan_for(smallest, first + extra / 2) for extra in range(2 * MOST_RUNS))
    *_, plan = itertools.takewhile(lambda plan: pace.seconds(plan) <= 60 * minutes, larger)
    return plan
