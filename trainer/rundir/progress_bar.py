"""Progress bar of a run on a terminal: its place, the time that is left, and the newest training averages."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from trainer.base.clock import Clock
from trainer.base.text import columns, epochs, figure

SECONDS_BETWEEN_FIGURES = 0.25
SECONDS_OF_EVALUATION = 0.5  # before the bar says so
NARROW = 60  # columns: the figures alone take that many


class Pace:
    """Estimate of the time that the rest of a run takes, from the steps and the evaluations it has done.

    The first step is left out: it compiles, and allocates memory. Of the time since then the newest counts most: a
    second weighs in proportion to the square of the seconds before it.

    Args:
        clock: of the run.
        step: at which this process begins.
        eval_steps: steps between two evaluations.
    """

    def __init__(self, clock: Clock, step: int, eval_steps: int) -> None:
        self.clock, self.eval_steps = clock, eval_steps
        self.rate = 0.0  # steps a second
        self._step, self._first = step, step + 1
        self._trained = 0.0  # seconds
        self._evaluated = self._per_evaluation = 0.0

    def add_steps(self, step: int, seconds: float) -> None:
        """Take the number of steps done, and the seconds of training since the last call."""
        steps, self._step = step - self._step, step
        if step <= self._first or seconds <= 0:
            return
        self._trained += seconds
        newest = min(1.0, 3 * seconds / self._trained)
        self.rate += newest * (steps / seconds - self.rate)

    def add_evaluation(self, seconds: float) -> None:
        """Take the seconds of an evaluation; the newest count most, as with steps."""
        self._evaluated += 1
        self._per_evaluation += min(1.0, 2 / (self._evaluated + 1)) * (seconds - self._per_evaluation)

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the last evaluation has ended; None while there is nothing to go by."""
        if not self.rate:
            return None
        end, step = self.clock.total_steps, self._step
        evaluations = math.ceil(end / self.eval_steps) - step // self.eval_steps if step < end else 0
        return (end - step) / self.rate + evaluations * self._per_evaluation


class Bar:
    """A line that rich redraws; without a terminal it costs a comparison a step.

    Args:
        pace: of the run.
        shown: False without a terminal.
        averages: returns the newest training averages; called four times a second at most.
        samples: in a step.
    """

    def __init__(self, pace: Pace, shown: bool, averages: Callable[[], Mapping[str, float]], samples: float) -> None:
        self.pace, self.shown = pace, shown
        self._averages, self._samples = averages, samples
        self._now = pace.clock
        self._figures: Mapping[str, float] = {}
        self._asked = self._estimated = time.monotonic()
        self._left: float | None = None
        self._evaluating_since: float | None = None

    def advance(self, now: Clock) -> None:
        """Move to the time after a step."""
        if not self.shown:
            return
        seconds = time.monotonic()
        first = self.pace.rate == 0.0
        if not first and seconds - self._asked < SECONDS_BETWEEN_FIGURES:
            return
        self.pace.add_steps(now.step, seconds - self._asked)
        self._now, self._figures = now, self._averages() or self._figures
        self._asked = time.monotonic()
        self._estimate()

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Count the time of the block as that of an evaluation, and say so where it takes long."""
        if not self.shown:
            yield
            return
        begun = self._evaluating_since = time.monotonic()
        try:
            yield
        finally:
            self._evaluating_since = None
            self.pace.add_evaluation(time.monotonic() - begun)
            self._asked += time.monotonic() - begun  # no training
            self._estimate()

    def _estimate(self) -> None:
        self._left, self._estimated = self.pace.seconds_left, time.monotonic()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        total = self._now.total_epochs
        current = min(self._now.epoch + 1, math.ceil(total))
        head = f"epoch {current}/{epochs(total)}"
        left = f"{countdown(self._left, time.monotonic() - self._estimated)} left"
        bar = 0 if width < NARROW else min(width // 8, 20)
        room = width - len(head) - len(left) - (bar + 1 if bar else 0) - 2
        line = Table.grid(padding=(0, 1, 0, 0))
        cells = [Text(head, no_wrap=True)]
        if bar:
            cells.append(ProgressBar(total=max(self._now.total_steps, 1), completed=self._now.step, width=bar))
        cells += [Text(left, style="cyan", no_wrap=True), Text(self._text(room), no_wrap=True)]
        line.add_row(*cells)
        yield line

    def _text(self, room: int) -> str:
        """Return as many figures as there is room for, none cut short."""
        since = self._evaluating_since
        if since is not None and time.monotonic() - since > SECONDS_OF_EVALUATION:
            fields = ["evaluating"]
        else:
            fields = [f"{name} {figure(value)}" for name, value in self._figures.items()]
            if fields:
                speed = [f"{self.pace.rate * self._samples:,.0f}/s"] if self.pace.rate else []
                fields += [f"lr {self._now.lr:.3g}", *speed]
        while fields and columns("  ".join(fields)) > room:
            fields.pop()
        return "  ".join(fields)


def countdown(seconds: float | None, since: float) -> str:
    """Return an estimate as `0:01:05`, made `since` seconds ago; `-:--:--` for none."""
    if seconds is None:
        return "-:--:--"
    minutes, rest = divmod(max(round(seconds - since), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
