"""task=recipe: go through the recipe of the lectures."""

import time
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from trainer.base.checks import require
from trainer.base.clock import steps_of
from trainer.base.errors import CheckFailed, ConfigError
from trainer.base.text import counted
from trainer.config import auto_rate, schema
from trainer.config.hydra_context import Invocation
from trainer.config.rule import is_minutes
from trainer.data.splits import Splits
from trainer.engine.build import build_run
from trainer.engine.state import fingerprints
from trainer.recipe.decay import find_decay
from trainer.recipe.files import Files, read_pace, require_same_data, require_same_settings
from trainer.recipe.plan import Pace, Plan, plan_for, plan_in_time, smallest_plan
from trainer.recipe.procedure import Procedure
from trainer.recipe.trials import Train
from trainer.rundir import directory as rundir
from trainer.rundir import resume
from trainer.rundir.console import Console
from trainer.sweep.devices import shut_down_workers
from trainer.sweep.display import duration
from trainer.sweep.dry_run import estimate
from trainer.task.execution import job

BESIDE = 0.6  # seconds that a run takes for its evaluations at the end, its verdicts and its picture
SCHEDULES = {"own": (), "constant": ("sched=constant",)}  # overrides of the search


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Look at the initial loss, overfit a small sample, find the learning rate, search coarsely, refine, look, repeat.

    Learning rate and weight decay are drawn quasi-randomly; the search trains shortly, the best setting several times
    in full. Everything is in a directory of its own: story, pictures, all runs, and an experiment. resume=DIR resumes
    an interrupted recipe and keeps its finished runs.

    Args:
        budget: training that all runs together may take, in whole runs, > 0; or `30min`, by an estimate.
        seeds: whole runs of the best setting, >= 1.
        decay: key of the weight decay; `auto`, or `none`.
        sched: `own` for a search with the run's schedule; `constant` for one without decay, as in the lectures, which
            finds rates that are too low for a schedule that decays.
    Errors: ValueError. Source: CS231n, Training Neural Networks II; successive halving: arXiv:1502.07943.
    """

    budget: float | str = 8.0
    seeds: int = 3
    decay: str = "auto"
    sched: str = "own"

    def __post_init__(self) -> None:
        if not (isinstance(self.budget, str) and is_minutes(self.budget)):
            require("> 0", budget=self.budget)
        require(">= 1", seeds=self.seeds)
        if self.sched not in SCHEDULES:
            raise ValueError(f"sched must be one of {', '.join(SCHEDULES)}, got {self.sched}")

    def execute(self, cfg: DictConfig, invocation: Invocation) -> None:
        """Do the steps. Errors: CheckFailed where one fails; UserError, before anything is written."""
        console = Console()
        directory = Path(cfg.resume.run) if cfg.resume.run else None
        if directory:
            known = schema.rules(cfg, invocation.choices)
            require_same_settings(directory, resume.changes(directory, cfg, known), cfg.resume.allow)
        key = auto_rate.rate_key(cfg, invocation.describe("optimizer"))
        decay = find_decay(cfg, self.decay)
        with console.status("preparing the run"):
            run = build_run(cfg, invocation)
        if not len(run.val):
            raise ConfigError("task=recipe: compares runs by their validation split, which has no samples")
        if directory:
            require_same_data(directory, fingerprints(run))
        if not run.clock.total_steps:
            raise ConfigError("epochs=0: a recipe trains; write epochs=N, the length of a whole run")
        for note in run.data.notes:
            console.print(f"note: {note}")

        smallest = smallest_plan(run.clock, steps_of(cfg.epochs) is not None, self.seeds)
        pace = read_pace(directory) if directory else None
        if pace is None:
            with console.status("estimating the time"):
                pace = measure_pace(cfg, invocation, run.data)
        plan = self.plan(smallest, pace)
        if directory is None:
            directory = rundir.create_with_config(cfg, invocation)
        with rundir.lock(directory):
            most = f"at most {counted('run', plan.jobs)}, {plan.words(plan.cost)} of training in all"
            console.print(f"recipe of seven steps: {most}, about {duration(pace.seconds(plan))}")
            files = Files(directory=directory, plan=plan, invocation=invocation)
            train = Train(directory=directory, invocation=invocation, job=job, added=decay.added)
            procedure = Procedure(
                run=run,
                cfg=cfg,
                invocation=invocation,
                key=key,
                decay=decay,
                plan=plan,
                sched=SCHEDULES[self.sched],
                train=train,
                files=files,
                console=console,
            )
            files.write_pace(pace)
            files.write_data(fingerprints(run))
            try:
                procedure.execute()
            except CheckFailed:
                raise
            except BaseException:
                console.print(f"the recipe did not finish; to go on: {resume.command_to_resume(directory, invocation)}")
                raise
            finally:
                shut_down_workers()

    def plan(self, smallest: Plan, pace: Pace) -> Plan:
        """Return the plan within the budget. Errors: ConfigError."""
        if isinstance(self.budget, str):
            return plan_in_time(smallest, float(self.budget.removesuffix("min")), pace)
        return plan_for(smallest, self.budget)


def measure_pace(cfg: DictConfig, invocation: Invocation, data: Splits) -> Pace:
    """Return the pace of a run from a few of its steps. Errors: UserError."""
    begin = time.perf_counter()
    run = build_run(cfg, invocation, data)
    building = time.perf_counter() - begin
    seconds, _ = estimate(run)
    return Pace(beside=2 * building + BESIDE, training=seconds)
