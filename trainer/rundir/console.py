"""What the user sees, and the same in run.log."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import rich.console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from trainer.base.atomic import AppendOnlyFile
from trainer.base.clock import Clock
from trainer.base.text import printable

LOG_WIDTH = 120


class Log:
    """run.log, as rich writes to it. A disk that is full ends nothing: `warn` is told once, and every flush tries again."""

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        self._path = path
        self._warn = warn
        self._told = False
        self._lines = AppendOnlyFile(path, self._failed)

    @property
    def whole(self) -> bool:
        return self._lines.whole

    def write(self, text: str) -> None:
        self._lines.write(text.encode())

    def flush(self) -> None:
        self._lines.flush()

    def _failed(self, error: OSError) -> None:
        if not self._told:
            self._told = True
            self._warn(
                f"warning: {printable(self._path)}: incomplete from here on ({error.strerror}); training goes on"
            )


class Console:
    """The terminal and, where a run has a directory, its run.log.

    On a terminal a progress bar stands below the lines; elsewhere there are only the lines, one a scoring. What one of the
    two cannot be told, because a disk is full, the other is, with a warning.

    Args:
        log: run.log; None for none.
        silent: leave the terminal alone: something else speaks there.
    """

    def __init__(self, log: Path | None = None, silent: bool = False) -> None:
        self.terminal = rich.console.Console(
            highlight=False, width=None if sys.stdout.isatty() else LOG_WIDTH, quiet=silent
        )
        self._file = Log(log, self._tell_terminal) if log else None
        self._log = rich.console.Console(file=self._file, width=LOG_WIDTH, highlight=False) if log else None
        self._told = False

    @property
    def incomplete(self) -> list[str]:
        """run.log, where the disk does not hold all of it."""
        return ["run.log"] if self._file is not None and not self._file.whole else []

    def say(self, what: object = "") -> None:
        """Print a line or a table; square brackets in text are text, and characters that steer a terminal are shown as ?."""
        what = printable(what) if isinstance(what, str) else what
        self._tell_terminal(what)
        if self._log is not None:
            self._log.print(what, markup=False, soft_wrap=isinstance(what, str))

    def record(self, text: str) -> None:
        """Write to run.log alone what the terminal is told elsewhere."""
        if self._log is not None:
            self._log.print(text, markup=False, soft_wrap=True)

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def _tell_terminal(self, what: object) -> None:
        if self.terminal.quiet:
            return  # rich would lay it out before it finds that
        try:
            self.terminal.print(what, markup=False, soft_wrap=isinstance(what, str))
        except OSError as error:  # the output may be a file, on the same disk
            if self._file is None:
                raise
            if not self._told:
                self._told = True
                self._file.write(
                    f"warning: the output is incomplete from here on ({error.strerror}); training goes on\n"
                )

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
        self.say(
            f"epoch {shown:>{len(str(epochs))}}/{epochs}  train {figures(train)}  val {figures(val)}  lr {now.lr:.3g}"
        )

    @contextmanager
    def progress(self, total: int, epochs: int) -> Iterator["Bar"]:
        columns = (
            TextColumn("{task.fields[epoch]}"),
            BarColumn(bar_width=20),
            TimeRemainingColumn(),
            TextColumn("{task.fields[point]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
        )
        with Progress(
            *columns, console=self.terminal, refresh_per_second=4, transient=True, disable=not self.terminal.is_terminal
        ) as progress:
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


def figures(scores: dict[str, float | None]) -> str:
    """`loss 0.1234  accuracy 0.9800`; None stands for what was no number."""
    return "  ".join(f"{name} {figure(value)}" for name, value in scores.items())


def figure(value: float | None) -> str:
    return "nan" if value is None else f"{value:.4f}" if abs(value) < 1e4 else f"{value:.3e}"
