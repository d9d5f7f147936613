"""What the user sees, and the same in run.log."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import rich.console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from trainer.clock import Clock

LOG_WIDTH = 120


class Console:
    """The terminal and, where a run has a directory, its run.log.

    On a terminal a progress bar stands below the lines; elsewhere there are only the lines, one a scoring.
    """

    def __init__(self, log: Path | None = None) -> None:
        self.terminal = rich.console.Console(highlight=False, width=None if sys.stdout.isatty() else LOG_WIDTH)
        self._log = rich.console.Console(file=log.open("a"), width=LOG_WIDTH, highlight=False) if log else None

    def say(self, what: object = "") -> None:
        """Print a line or a table; square brackets in text are text."""
        for out in (self.terminal, self._log):
            if out is not None:
                out.print(what, markup=False, soft_wrap=isinstance(what, str))

    def record(self, text: str) -> None:
        """Write to run.log alone what the terminal is told elsewhere."""
        if self._log is not None:
            self._log.print(text, markup=False, soft_wrap=True)
            self.flush()

    def flush(self) -> None:
        if self._log is not None:
            self._log.file.flush()

    def decisions(self, rows: Iterable[tuple[str, str, str, bool]], facts: Iterable[tuple[str, str]]) -> None:
        """The table at the start: (group, option, settings, differs from the defaults) and facts about the run."""
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        for group, option, settings, differs in rows:
            mark, style = ("*", "bold") if differs else (" ", None)
            table.add_row(mark, group, option, settings, style=style)
        for name, value in facts:
            table.add_row("", name, value, "", style="dim")
        self.say(table)
        self.say("(* differs from the defaults)")

    def scored(self, now: Clock, epochs: int, train: dict[str, float], val: dict[str, float]) -> None:
        """One line for a scoring of the validation split."""
        epoch = now.step / now.steps_per_epoch
        shown = f"{epoch:.0f}" if epoch == int(epoch) else f"{epoch:.2f}"
        self.say(f"epoch {shown:>{len(str(epochs))}}/{epochs}  train {figures(train)}  val {figures(val)}  lr {now.lr:.3g}")

    @contextmanager
    def progress(self, total: int, epochs: int) -> Iterator["Bar"]:
        columns = (
            TextColumn("{task.fields[epoch]}"),
            BarColumn(bar_width=20),
            TimeRemainingColumn(),
            TextColumn("{task.fields[point]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
        )
        with Progress(*columns, console=self.terminal, refresh_per_second=4, transient=True, disable=not self.terminal.is_terminal) as progress:
            yield Bar(progress, progress.add_task("", total=total, epoch="", point=""), epochs)


class Bar:
    """The progress bar of a run; does nothing where there is no terminal."""

    def __init__(self, progress: Progress, task: int, epochs: int) -> None:
        self._progress = progress
        self._task = task
        self._epochs = epochs
        self._shown = 0.0

    def advance(self, now: Clock, point: dict[str, float] | None = None) -> None:
        """Move to `now`, four times a second at most unless there is a new point (loss, score, throughput) to show."""
        if self._progress.disable or (point is None and time.monotonic() - self._shown < 0.25):
            return
        self._shown = time.monotonic()
        fields = {"epoch": f"epoch {min(now.epoch + 1, self._epochs)}/{self._epochs}"}
        if point is not None:
            scores = {name: value for name, value in point.items() if name != "throughput"}
            fields["point"] = f"{figures(scores)}  lr {now.lr:.3g}  {point['throughput']:,.0f}/s"
        self._progress.update(self._task, completed=now.step, **fields)


def figures(scores: dict[str, float]) -> str:
    """`loss 0.1234  accuracy 0.9800`."""
    return "  ".join(f"{name} {value:.4f}" if abs(value) < 1e4 else f"{name} {value:.3e}" for name, value in scores.items())
