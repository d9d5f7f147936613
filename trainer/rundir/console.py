"""Console of a run: the terminal and run.log, with the same text."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import rich.console
from rich.console import RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from trainer.base.clock import Clock
from trainer.base.live_line import drawn
from trainer.base.streams import Output, draws_on, failures
from trainer.base.text import columns, epochs, figures, printable, wrap
from trainer.rundir.append_only import AppendOnlyFile
from trainer.rundir.progress_bar import Bar, Pace

LOG_WIDTH = 120
REFRESHES = 4  # of the bar, in a second; a status moves twice as often
SHORT = {"accuracy": "acc"}  # words of an evaluation where its line is too long for the terminal
LONGEST_OPTION = 24  # columns of the settings' table


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

    A terminal shows a progress bar below the lines, which it breaks between words; other outputs get the lines alone,
    one per evaluation. If one of the two cannot be written, the other holds a warning.

    Args:
        log: path of run.log; None for no log.
        silent: print nothing on the terminal.
    """

    def __init__(self, log: Path | None = None, silent: bool = False) -> None:
        output = Output(self._output_failed)
        width = None if output.isatty() else LOG_WIDTH
        self.terminal = rich.console.Console(file=output, highlight=False, width=width, quiet=silent)
        self._draws = draws_on(output) and not silent
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
        if isinstance(what, str):
            self.log_only(what)
        elif self._log is not None:
            self._log.print(what, markup=False)

    def log_only(self, text: str) -> None:
        """Write a line to run.log and not to the terminal."""
        if self._file is not None:
            self._file.write(f"{text}\n")
            self._file.flush()

    def flush(self) -> None:
        """Write the text buffered for run.log."""
        if self._file is not None:
            self._file.flush()

    def _print_on_terminal(self, what: object, style: str | None = None, hang: int | None = None) -> None:
        if self.terminal.quiet:
            return  # rich would lay it out first
        if isinstance(what, str) and not self.terminal.file.isatty():
            self.terminal.file.write(f"{what}\n")  # half a millisecond faster than rich
            self.terminal.file.flush()
            return
        if isinstance(what, str):
            what = wrap(what, self.terminal.width, hang)
        self.terminal.print(what, markup=False, soft_wrap=isinstance(what, str), style=style)

    def _output_failed(self, error: OSError) -> None:
        if self._file is None:
            failures.append(error)  # what is printed is lost, and nothing else
            return
        if not self._warned:  # the output may be a file, on the same disk
            self._warned = True
            reason = f"the output is incomplete from here on ({error.strerror})"
            self._file.write(f"warning: {reason}; training continues\n")

    def print_settings(self, rows: Iterable[tuple[str, str, str, bool]], facts: Iterable[tuple[str, str]]) -> None:
        """Print the table at the start of a run.

        Args:
            rows: group, option, settings, and True if any of them differs from the defaults.
            facts: name and value of what is not a setting: samples, parameters, device.
        """
        rows, facts = [*rows], [*facts]
        for line, style in table_of_settings(rows, facts, self.terminal.width):
            self._print_on_terminal(line, style)
        for line, _ in table_of_settings(rows, facts, LOG_WIDTH):
            self.log_only(line)
        self.print("(* differs from the defaults)")

    def print_evaluation(self, now: Clock, scores: Mapping[str, Mapping[str, float]]) -> None:
        """Print the scores of an evaluation, by split, in one line; on a narrow terminal in short words, or in more."""
        total = epochs(now.total_epochs)
        place = f"epoch {epochs(now.epochs):>{len(total)}}/{total}"
        fields = [*(f"{split} {figures(values)}" for split, values in scores.items()), f"lr {now.lr:.3g}"]
        line = f"{place}  {'  '.join(fields)}"
        self.log_only(line)
        if self.terminal.file.isatty() and columns(line) > self.terminal.width:
            short = f"{place} {' '.join(' '.join(SHORT.get(word, word) for word in field.split()) for field in fields)}"
            line = short if columns(short) <= self.terminal.width else line
        self._print_on_terminal(line, hang=len(place) + 2)

    @contextmanager
    def progress(self, pace: Pace, averages: Callable[[], Mapping[str, float]], samples: int) -> Iterator[Bar]:
        """Show a progress bar over the steps of a run, on a terminal.

        Args:
            averages: returns the newest training averages without waiting for a device.
            samples: in a step.
        """
        bar = Bar(pace, self._draws, averages, samples)
        with self._redrawn(bar, REFRESHES):
            yield bar

    @contextmanager
    def status(self, text: str) -> Iterator[None]:
        """Show on a terminal what the block does, until it has ended."""
        with self._redrawn(Spinner("dots", Text(text)), 2 * REFRESHES):
            yield

    def _redrawn(self, line: RenderableType, refreshes: int) -> AbstractContextManager[None]:
        """Redraw a line on a terminal so often a second, and erase it in the end."""
        if not self._draws:
            return nullcontext()
        return drawn(Live(line, console=self.terminal, refresh_per_second=refreshes, transient=True))


def table_of_settings(
    rows: Sequence[tuple[str, str, str, bool]], facts: Sequence[tuple[str, str]], width: int
) -> Iterator[tuple[str, str | None]]:
    """Yield lines and their styles: in columns where there is room for the settings, else one below the other."""
    first = max(len(name) for name in (*(group for group, *_ in rows), *(name for name, _ in facts)))
    second = min(max(len(option) for _, option, *_ in rows), LONGEST_OPTION)
    longest = max(len(field) for *_, settings, _ in rows for field in settings.split("  "))
    hang = first + second + 7
    aligned = width - hang >= min(longest, LONGEST_OPTION)
    for group, option, settings, differs in rows:
        mark, style = ("*", "bold") if differs else (" ", None)
        start = f"{mark}  {group:<{first}}  {option:<{second}}" if aligned else f"{mark}  {group} {option}".rstrip()
        for line in wrap(f"{start}  {settings}".rstrip(), width, hang if aligned else 5).split("\n"):
            yield line, style
    for name, value in facts:
        for line in wrap(f"   {name:<{first}}  {value}", width, first + 5).split("\n"):
            yield line, "dim"
