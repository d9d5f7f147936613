"""sweep.dry_run=true: every job of a sweep is composed, built and tried for a few updates, and none is begun."""

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
from trainer.config.hydra_context import invocation_of, without_hydra_node
from trainer.engine import summary as report
from trainer.engine.build import build_run
from trainer.engine.loop import fit
from trainer.engine.run import Run
from trainer.rundir.checkpoint import Checkpoints
from trainer.rundir.console import Console
from trainer.rundir.recorder import Recorder
from trainer.sweep.display import clock

WARM, TIMED = 2, 3  # updates before the clock starts, and while it runs


def show(loader, config: DictConfig, found: Sequence[Sequence[str]]) -> None:
    """A table of the jobs, with the time that each would take. Errors: UserError where one cannot be built."""
    console, total, wrong, diverging = Console(), 0.0, [], []
    table = Table("", "job", "parameters", "updates", "time", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, words in enumerate(found, start=1):
        cfg = loader.load_sweep_config(config, list(words))
        single, invocation = without_hydra_node(cfg), invocation_of(cfg.hydra)
        shown = Text(printable(" ".join(word for word in words if not word.startswith("sweep."))))
        try:
            if number == 1:
                estimate(build_run(single, invocation))  # what is imported and found once in a process takes seconds
            start = time.perf_counter()
            run = build_run(single, invocation)
            seconds, sound = estimate(run)
            seconds += time.perf_counter() - start  # to build it, and about as much for its files
        except UserError as error:
            wrong.append(error)
            table.add_row(str(number), shown, "", "", Text(printable(error)), style="red")
            continue
        total += seconds
        if not sound:
            diverging.append(str(number))
        spent = f"{seconds:.1f} s" if seconds < 10 else clock(seconds)
        table.add_row(
            str(number),
            shown,
            f"{report.parameters(run.model):,}",
            f"{run.clock.total_steps:,}",
            spent if sound else f"{spent}, diverges",
            style=None if sound else "red",
        )
    console.say(table)
    if diverging:
        console.say(f"warning: after {WARM + TIMED} updates the loss is no number in job {', '.join(diverging)}")
    console.say(f"{len(found)} jobs, about {clock(total)} one after the other; nothing was begun")
    if wrong:
        error = UserError(f"{len(wrong)} of {len(found)} jobs cannot be begun, the first: {wrong[0]}")
        error.code = wrong[0].code
        raise error


def estimate(run: Run) -> tuple[float, bool]:
    """Seconds that the updates and scorings of the run will take, from a few of them; and whether its loss is a number after those."""
    with TemporaryDirectory() as folder:
        curves, checkpoints, silent = (
            Recorder(Path(folder), run.data.task),
            Checkpoints(Path(folder), run.monitor),
            Console(silent=True),
        )
        steps = run.clock.total_steps
        fit(run, curves, checkpoints, silent, until=min(WARM, steps))
        start = time.perf_counter()
        fit(run, curves, checkpoints, silent, until=min(WARM + TIMED, steps))
        update = (time.perf_counter() - start) / max(1, min(TIMED, steps - WARM))
        watched = run.val if len(run.val) else run.test
        start = time.perf_counter()
        loss = run.score(run.model, watched)["loss"]
        scoring = time.perf_counter() - start
        curves.close()
    scorings = steps / run.eval_steps * len(run.val) + len(run.test)
    return update * steps + scoring * scorings / len(watched), math.isfinite(loss)
