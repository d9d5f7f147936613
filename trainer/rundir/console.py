"""Console of a run: the terminal and run.log, with the same text."""

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import rich.console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from trainer.base.clock import Clock
from trainer.base.text import printable
from trainer.rundir.append_only import AppendOnlyFile

LOG_WIDTH = 120
SECONDS_BETWEEN_DRAWS = 0.25


class Log:
    """run.log as a file that rich writes to. A full disk gives one warning; every flush tries again."""

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        self._path = path
        self._warn = warn
        self._warned = False
        self._lines = AppendOnlyFile(path, self._failed)

    @property
    def complete(self) -> bool:
        """True if the last flush has written everything."""
        return self._lines.complete

    def write(self, text: str) -> None:
        """Append text."""
        self._lines.write(text.encode())

    def flush(self) -> None:
        """Write the buffered text."""
        self._lines.flush()

    def _failed(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            reason = f"incomplete from here on ({error.strerror})"
            self._warn(f"warning: {printable(self._path)}: {reason}; training continues")


class Console:
    """The terminal and, where a run has a directory, its run.log.

    A terminal shows a progress bar below the lines; other outputs get the lines alone, one per evaluation. If one of
    the two cannot be written, the other holds a warning.

    Args:
        log: path of run.log; None for no log.
        silent: print nothing on the terminal.
    """

    def __init__(self, log: Path | None = None, silent: bool = False) -> None:
        width = None if sys.stdout.isatty() else LOG_WIDTH
        self.terminal = rich.console.Console(highlight=False, width=width, quiet=silent)
        self._file = Log(log, self._print_on_terminal) if log else None
        self._log = rich.console.Console(file=self._file, width=LOG_WIDTH, highlight=False) if log else None
        self._warned = False

    @property
    def incomplete(self) -> list[str]:
        """`run.log` if the disk does not hold all of it."""
        return ["run.log"] if self._file is not None and not self._file.complete else []

    def print(self, what: object = "") -> None:
        """Print a line or a table, without markup; control characters become `?`."""
        what = printable(what) if isinstance(what, str) else what
        self._print_on_terminal(what)
        if self._log is not None:
            self._log.print(what, markup=False, soft_wrap=isinstance(what, str))

    def log_only(self, text: str) -> None:
        """Write a line to run.log and not to the terminal."""
        if self._log is not None:
            self._log.print(text, markup=False, soft_wrap=True)

    def flush(self) -> None:
        """Write the text buffered for run.log."""
        if self._file is not None:
            self._file.flush()

    def _print_on_terminal(self, what: object) -> None:
        if self.terminal.quiet:
            return  # rich would lay it out first
        try:
            self.terminal.print(what, markup=False, soft_wrap=isinstance(what, str))
        except OSError as error:  # the output may be a file, on the same disk
            if self._file is None:
                raise
            if not self._warned:
                self._warned = True
                reason = f"the output is incomplete from here on ({error.strerror})"
                self._file.write(f"warning: {reason}; training continues\n")

    def print_settings(self, rows: Iterable[tuple[str, str, str, bool]], facts: Iterable[tuple[str, str]]) -> None:
        """Print the table at the start of a run.

        Args:
            rows: group, option, settings, and True if any of them differs from the defaults.
            facts: name and value of what is not a setting: samples, parameters, device.
        """
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        for group, option, settings, differs in rows:
            mark, style = ("*", "bold") if differs else (" ", None)
            table.add_row(mark, group, option, settings, style=style)
        for name, value in facts:
            table.add_row("", name, value, "", style="dim")
        self.print(table)
        self.print("(* differs from the defaults)")

    def print_evaluation(self, now: Clock, scores: Mapping[str, Mapping[str, float]]) -> None:
        """Print the scores of an evaluation, by split, in one line."""
        total = epochs(now.total_epochs)
        place = f"epoch {epochs(now.step / now.steps_per_epoch):>{len(total)}}/{total}"
        shown = "  ".join(f"{split} {figures(values)}" for split, values in scores.items())
        self.print(f"{place}  {shown}  lr {now.lr:.3g}")

    @contextmanager
    def progress(self, clock: Clock) -> Iterator["Bar"]:
        """Show a progress bar over the steps of a run, on a terminal."""
        columns = (
            TextColumn("{task.fields[epoch]}"),
            BarColumn(bar_width=20),
            TimeRemainingColumn(),
            TextColumn("{task.fields[point]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
        )
        hidden = not self.terminal.is_terminal
        options = {"refresh_per_second": 4, "transient": True, "disable": hidden}
        with Progress(*columns, console=self.terminal, **options) as progress:
            yield Bar(progress, progress.add_task("", total=clock.total_steps, epoch="", point=""))


class Bar:
    """Progress bar of a run; does nothing without a terminal."""

    def __init__(self, progress: Progress, task: int) -> None:
        self._progress = progress
        self._task = task
        self._drawn = 0.0

    def advance(self, now: Clock, point: Mapping[str, float] | None = None) -> None:
        """Move to `now`, at most four times a second unless there is a new log point (loss, score, throughput)."""
        recent = time.monotonic() - self._drawn < SECONDS_BETWEEN_DRAWS
        if self._progress.disable or (point is None and recent):
            return
        self._drawn = time.monotonic()
        current = min(now.epoch + 1, math.ceil(now.total_epochs))
        fields = {"epoch": f"epoch {current}/{epochs(now.total_epochs)}"}
        if point is not None:
            scores = {name: value for name, value in point.items() if name != "throughput"}
            fields["point"] = f"{figures(scores)}  lr {now.lr:.3g}  {point['throughput']:,.0f}/s"
        self._progress.update(self._task, completed=now.step, **fields)


def epochs(number: float) -> str:
    """Return a number of epochs, with two decimals where it is not whole."""
    return f"{number:.0f}" if number == int(number) else f"{number:.2f}"


def figures(scores: Mapping[str, float | None]) -> str:
    """Return scores as `loss 0.1234  accuracy 0.9800`."""
    return "  ".join(f"{name} {figure(value)}" for name, value in scores.items())


def figure(value: float | None) -> str:
    """Return a score with four decimals; `nan` for None, a non-finite one."""
    return "nan" if value is None else f"{value:.4f}" if abs(value) < 1e4 else f"{value:.3e}"
