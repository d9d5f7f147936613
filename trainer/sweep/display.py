"""Display of a sweep, read from its jobs' directories: a live table on a terminal, elsewhere a line for each job."""

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from rich.live import Live
from rich.table import Table
from rich.text import Text

from trainer.base.errors import DataError
from trainer.base.metrics import METRICS
from trainer.base.text import counted, epochs, figures, printable
from trainer.comparison.table import relative
from trainer.config.rule import is_number
from trainer.rundir import reader
from trainer.rundir.console import Console
from trainer.rundir.pictures import missing_pictures
from trainer.rundir.status import Status
from trainer.sweep.jobs import Job
from trainer.sweep.plot_worker import PlotWorker

EVERY = 0.5  # seconds between two refreshes
SHOWN = 12  # rows of jobs that wait or have finished; those that run or failed are all shown
FAILED = (Status.FAILED, Status.DIVERGED, Status.INTERRUPTED)
WAITING = "waiting"


class SweepDisplay:
    """While entered, refreshes twice a second from a thread of its own.

    Args:
        folder: the sweep's.
        count: of its jobs, in the end.
        plots: draw the jobs that have ended.
        prepared: the jobs that are known, those that ended before among them; more may be added to `jobs`.
    """

    def __init__(self, folder: Path, count: int, plots: PlotWorker, prepared: Sequence[Job] = ()) -> None:
        self.folder, self.count, self._plots = folder, count, plots
        self.jobs = list(prepared)
        self.ended_before = [job for job in prepared if job.ended]
        self.console = Console()
        self.reported = {job.directory: time_of_summary(job) for job in self.ended_before}
        self._ended: dict[Path, tuple[str, str, str]] = {}
        self._live: Live | None = None
        self._begun, self._start = time.time(), time.monotonic()
        self._ends = 0
        self._over = threading.Event()
        self._stack = ExitStack()

    def __enter__(self) -> "SweepDisplay":
        already = f", {len(self.ended_before)} of them ended before" if self.ended_before else ""
        self.console.print(f"{counted('job', self.count)}{already}, in {relative(self.folder)}")
        if self.console.terminal.is_terminal and len(self.ended_before) < self.count:
            live = Live(self.table(), console=self.console.terminal, auto_refresh=False, transient=True)
            self._live = self._stack.enter_context(live)
        if len(self.ended_before) < self.count:
            self._plots.begin()
        for job in self.ended_before:
            if missing_pictures(job.directory):  # the sweep was killed before it was drawn
                self._plots.draw(job.directory)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        with self._stack:  # the terminal is as before, also where a signal comes now
            self._over.set()
            self._thread.join()
            self.refresh()

    def _watch(self) -> None:
        while not self._over.wait(EVERY):
            self.refresh()

    def refresh(self) -> None:
        """Report every job that has ended since the last refresh, or ended again, and redraw the table."""
        for job in [*self.jobs]:
            stamp = time_of_summary(job)
            if stamp == self.reported.get(job.directory):
                continue
            self._ended.pop(job.directory, None)
            summary = reader.read_summary(job.directory)
            if summary.get("status") is None:
                self.reported.pop(job.directory, None)  # it is tried again
                continue
            if summary["status"] in FAILED and "error" not in summary and not self._over.is_set():
                continue  # the job has still to note its error
            if job.directory not in self.reported:
                self._ends += 1
            self.reported[job.directory] = stamp
            self.console.print(self.report(job, summary))
            self._plots.draw(job.directory)
        if self._live:
            self._live.update(self.table(), refresh=True)

    def report_repeat(self, job: Job) -> None:
        """Report settings that a search proposes again: they have one run."""
        self.console.print(f"{label(job)}: proposed again; its score counts again")

    def report(self, job: Job, summary: dict) -> str:
        """Return `[3/18] adam: finished, best accuracy 0.9889, 4.2 s; 50 s left`, or its error and log."""
        head, status = f"[{len(self.reported)}/{self.count}] {label(job)}", printable(summary["status"])
        if summary["status"] in FAILED:
            error = printable(summary.get("error", "")) or status
            reason = error if error.startswith(status) else f"{status}: {error}"
            return f"{head}: {reason} ({relative(job.directory / 'run.log')})"
        best = summary.get("best") or {}
        scores = {name: value for name, value in best.items() if name in METRICS}
        epoch = f" (epoch {epochs(best['epoch'])})" if is_number(best.get("epoch")) else ""
        left = f"; {duration(seconds)} left" if (seconds := self.seconds_left()) else ""
        scored = f", best {figures(scores)}{epoch}" if scores else ""
        problems = "".join(f"; {printable(problem)}" for problem in reader.problems_of(summary)[:1])
        return f"{head}: {status}{scored}, {summary.get('seconds') or 0:.1f} s{problems}{left}"

    def seconds_left(self) -> float:
        """Return the seconds until the sweep ends, at the rate of its jobs since its start; 0 until two have ended.

        Jobs that train at once end at once: of each that runs the part counts that it has done.
        """
        if self._ends < 2:
            return 0.0
        parts = sum(self.part_of(job) for job in [*self.jobs] if job.directory not in self.reported)
        left, done = self.count - len(self.reported) - parts, self._ends + parts
        return left * (time.monotonic() - self._start) / done

    def part_of(self, job: Job) -> float:
        """Return the part of its training that a job that runs has done, by its last evaluation; 0 where none tells."""
        rows = [*reader.read_rows(job.directory, "val")] if self.has_begun(job) else []
        with suppress(DataError, ValueError, TypeError, KeyError, IndexError, ZeroDivisionError):
            length = str(reader.read_config(job.directory)["epochs"])
            done = rows[-1]["step" if length.endswith("st") else "epoch"]
            return min(1.0, max(0.0, done / float(length.removesuffix("st"))))
        return 0.0

    def table(self) -> Table:
        """Return the jobs that run or failed, then as many others as there is room for."""
        left = f", {duration(seconds)} left" if (seconds := self.seconds_left()) else ""
        shown = Table("", "job", "status", "epoch", "best", box=None, pad_edge=False, padding=(0, 2, 0, 0))
        shown.title, shown.title_justify = f"{len(self.reported)} of {counted('job', self.count)} ended{left}", "left"
        rows = [(number, job, *self.state(job)) for number, job in enumerate([*self.jobs], start=1)]
        urgent = [row for row in rows if row[2] in (Status.RUNNING, *FAILED)]
        others = [row for row in rows if row not in urgent]
        ended, waiting = ([row for row in others if (row[2] != WAITING) is wanted] for wanted in (True, False))
        chosen = sorted([*urgent, *ended[-SHOWN // 2 :], *waiting[: SHOWN // 2]])
        for number, job, status, epoch, best in chosen:
            style = "red" if status in FAILED else "bold" if status == Status.RUNNING else None
            shown.add_row(str(number), Text(label(job)), status, epoch, best, style=style)
        if len(chosen) < len(rows):
            shown.add_row("", f"and {len(rows) - len(chosen)} more", "", "", "")
        return shown

    def state(self, job: Job) -> tuple[str, str, str]:
        """Return status, epoch and best score of a job; of one that was reported, as they were then."""
        if job.directory not in self.reported:
            return self._read_state(job)
        if job.directory not in self._ended:
            self._ended[job.directory] = self._read_state(job)
        return self._ended[job.directory]

    def has_begun(self, job: Job) -> bool:
        """Return whether a job has run since this sweep began."""
        log = job.directory / "run.log"
        return log.exists() and log.stat().st_mtime >= self._begun - 1

    def _read_state(self, job: Job) -> tuple[str, str, str]:
        rows, status = [*reader.read_rows(job.directory, "val")], reader.read_summary(job.directory).get("status")
        if not isinstance(status, str):
            status = Status.RUNNING if self.has_begun(job) else WAITING
        epoch = epochs(rows[-1]["epoch"]) if rows and is_number(rows[-1].get("epoch")) else ""
        for name, metric in METRICS.items():
            if values := [row[name] for row in rows if isinstance(row.get(name), int | float)]:
                return status, epoch, f"{name} {min(values, key=metric.cost):.4f}"
        return status, epoch, ""


def time_of_summary(job: Job) -> int | None:
    """Return when a job's summary was written; None where there is none."""
    try:
        return (job.directory / "summary.json").stat().st_mtime_ns
    except OSError:
        return None


def label(job: Job) -> str:
    """Return what the sweep calls a job: the name of its directory."""
    return printable(job.directory.name)


def duration(seconds: float) -> str:
    """Return `2 h 1 min`, `2 min 5 s` or `59 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
