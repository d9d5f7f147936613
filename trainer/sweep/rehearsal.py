"""sweep.dry_run=true: every job of a sweep is composed, built and tried for a few updates, and none is begun."""

import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.table import Table
from rich.text import Text

from trainer import build, launch, report
from trainer.checkpoint import Checkpoints
from trainer.console import Console
from trainer.curves import Curves
from trainer.errors import UserError, printable
from trainer.loop import fit
from trainer.run import Run
from trainer.sweep.view import clock

WARM, TIMED = 2, 3  # updates before the clock starts, and while it runs


def show(loader, config: DictConfig, found: Sequence[Sequence[str]]) -> None:
    """A table of the jobs, with the time that each would take. Errors: UserError where one cannot be built."""
    console, total, wrong = Console(), 0.0, []
    table = Table("", "job", "parameters", "updates", "time", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, words in enumerate(found, start=1):
        cfg = loader.load_sweep_config(config, list(words))
        HydraConfig.instance().set_config(cfg)
        shown = Text(printable(" ".join(word for word in words if not word.startswith("sweep."))))
        try:
            run = build.run(launch.without_hydra(cfg))
            seconds = estimate(run)
        except UserError as error:
            wrong.append(error)
            table.add_row(str(number), shown, "", "", Text(printable(error)), style="red")
            continue
        total += seconds
        table.add_row(str(number), shown, f"{report.parameters(run.model):,}", f"{run.clock.total_steps:,}", f"{seconds:.1f} s" if seconds < 10 else clock(seconds))
    console.say(table)
    console.say(f"{len(found)} jobs, about {clock(total)} one after the other; nothing was begun")
    if wrong:
        error = UserError(f"{len(wrong)} of {len(found)} jobs cannot be begun, the first: {wrong[0]}")
        error.code = wrong[0].code
        raise error


def estimate(run: Run) -> float:
    """Seconds that the run will take, from a few of its updates and a scoring."""
    with TemporaryDirectory() as folder:
        curves, checkpoints, silent = Curves(Path(folder), run.data.task), Checkpoints(Path(folder), run.monitor), Console(silent=True)
        steps = run.clock.total_steps
        fit(run, curves, checkpoints, silent, until=min(WARM, steps))
        start = time.perf_counter()
        fit(run, curves, checkpoints, silent, until=min(WARM + TIMED, steps))
        update = (time.perf_counter() - start) / max(1, min(TIMED, steps - WARM))
        start = time.perf_counter()
        if len(run.val):
            run.score(run.model, run.val)
        scoring = time.perf_counter() - start
        curves.close()
    return update * steps + scoring * (steps / run.eval_steps + len(run.test) / max(1, len(run.val)))
