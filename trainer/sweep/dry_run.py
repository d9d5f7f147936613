"""Dry run of a sweep, sweep.dry_run=true: every job is composed, built and tried for a few steps, and none is begun."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from omegaconf import DictConfig
from rich.table import Table
from rich.text import Text

from trainer.base.errors import UserError
from trainer.base.text import printable
from trainer.compare.table import counted
from trainer.config.hydra_context import invocation_of, without_hydra_node
from trainer.engine import summary
from trainer.engine.build import build_run
from trainer.engine.loop import fit
from trainer.engine.run import Run
from trainer.rundir.console import Console
from trainer.rundir.recorder import Recorder
from trainer.sweep.display import duration

WARM, TIMED = 2, 3  # steps before the clock starts, and while it runs


def show(loader, config: DictConfig, jobs: Sequence[Sequence[str]]) -> None:
    """Print a table of the jobs with the time that each would take. Errors: UserError where one cannot be built."""
    console, total, errors, diverging = Console(), 0.0, [], []
    table = Table("", "job", "parameters", "steps", "time", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, overrides in enumerate(jobs, start=1):
        cfg = loader.load_sweep_config(config, list(overrides))
        single, invocation = without_hydra_node(cfg), invocation_of(cfg.hydra)
        shown = Text(printable(" ".join(text for text in overrides if not text.startswith("sweep."))))
        try:
            if number == 1:
                estimate(build_run(single, invocation))  # imports and autotuning, once in a process, take seconds
            start = time.perf_counter()
            run = build_run(single, invocation)
            seconds, finite = estimate(run)
            seconds += time.perf_counter() - start  # to build it, and about as much for its files
        except UserError as error:
            errors.append(error)
            table.add_row(str(number), shown, "", "", Text(printable(error)), style="red")
            continue
        total += seconds
        if not finite:
            diverging.append(str(number))
        spent = f"{seconds:.1f} s" if seconds < 10 else duration(seconds)
        table.add_row(
            str(number),
            shown,
            f"{summary.count_parameters(run.model):,}",
            f"{run.clock.total_steps:,}",
            spent if finite else f"{spent}, diverges",
            style=None if finite else "red",
        )
    console.print(table)
    if diverging:
        after = f"after {WARM + TIMED} steps the loss is not finite (NaN or Inf)"
        console.print(f"warning: {after} in job {', '.join(diverging)}")
    console.print(f"{counted('job', len(jobs))}, about {duration(total)} one after the other; dry run, none was begun")
    if errors:
        error = UserError(f"{len(errors)} of {counted('job', len(jobs))} cannot be built, the first with: {errors[0]}")
        error.code = errors[0].code
        raise error


def estimate(run: Run) -> tuple[float, bool]:
    """Return the seconds that a run will take, from a few steps and an evaluation; and whether its loss is finite."""
    with TemporaryDirectory() as folder:
        recorder, silent = Recorder(Path(folder), run.data.task), Console(silent=True)
        steps = run.clock.total_steps
        fit(run, recorder, silent, until=min(WARM, steps))
        start = time.perf_counter()
        fit(run, recorder, silent, until=min(WARM + TIMED, steps))
        step_seconds = (time.perf_counter() - start) / max(1, min(TIMED, steps - WARM))
        split = next(split for split in (run.val, run.test, run.train) if len(split))
        start = time.perf_counter()
        loss = run.evaluate(run.model, split)["loss"]
        sample_seconds = (time.perf_counter() - start) / len(split)
        recorder.close()
    samples = steps / run.eval_steps * len(run.val) + len(run.test)  # of all evaluations
    return step_seconds * steps + sample_seconds * samples, math.isfinite(loss)
