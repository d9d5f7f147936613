"""What a sweep says while it runs: a live table on a terminal, a line for each job that ends elsewhere; read from the jobs' directories."""

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.live import Live
from rich.table import Table
from rich.text import Text

from trainer.base.text import printable
from trainer.compare.table import counted, short
from trainer.rundir import directory as rundir
from trainer.rundir import resume
from trainer.rundir.console import Console, figures
from trainer.sweep.jobs import Job
from trainer.sweep.plot_worker import Pictures

EVERY = 0.5  # seconds between looks
SHOWN = 12  # rows of jobs that wait or have ended well; those that run or failed are all shown
FAILED = ("failed", "diverged", "interrupted")


class View:
    """While entered, the jobs are looked at twice a second, from a thread of its own.

    Args:
        folder: the sweep's.
        count: of its jobs, in the end.
        prepared: those that are known, those that ended before among them; more may be added to `jobs`.
    """

    def __init__(self, folder: Path, count: int, prepared: Sequence[Job] = ()) -> None:
        self.folder, self.count = folder, count
        self.jobs = list(prepared)
        self.before = [job for job in prepared if job.ended]
        self.console = Console()
        self.told = {job.directory: written(job) for job in self.before}
        self._last: dict[Path, tuple[str, str, str]] = {}
        self._live: Live | None = None
        self._begun, self._start = time.time(), time.monotonic()
        self._ends: list[float] = []
        self._over = threading.Event()
        self._stack = ExitStack()
        self._pictures = Pictures()

    def __enter__(self) -> "View":
        already = f", {len(self.before)} of them ended before" if self.before else ""
        self.console.say(f"{counted('job', self.count)}{already}, in {short(self.folder)}")
        if self.console.terminal.is_terminal and len(self.before) < self.count:
            self._live = self._stack.enter_context(
                Live(self.table(), console=self.console.terminal, auto_refresh=False, transient=True)
            )
        self._stack.enter_context(self._pictures)
        for job in self.before:
            if not (job.directory / "curves.png").exists():  # the sweep was killed before it was drawn
                self._pictures.draw(job.directory)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()
        self.look()
        self._stack.close()

    def _watch(self) -> None:
        while not self._over.wait(EVERY):
            self.look()

    def look(self) -> None:
        """Tell of every job that has ended since the last look, a second attempt among them, and draw the table anew."""
        for job in [*self.jobs]:
            stamp = written(job)
            if stamp == self.told.get(job.directory):
                continue
            self._last.pop(job.directory, None)
            told = resume.summary(job.directory)
            if told.get("status") is None:
                self.told.pop(job.directory, None)  # it is tried again
                continue
            if told["status"] in FAILED and "error" not in told and not self._over.is_set():
                continue  # why is still being looked for
            if job.directory not in self.told:
                self._ends.append(time.monotonic())
            self.told[job.directory] = stamp
            self.console.say(self.line(job, told))
            self._pictures.draw(job.directory)
        if self._live:
            self._live.update(self.table(), refresh=True)

    def again(self, job: Job) -> None:
        """Tell of settings that a search proposes once more: they have one run."""
        self.console.say(f"{label(job)}: proposed again; it counts with the score that it has")

    def line(self, job: Job, told: dict) -> str:
        """`[3/18] optimizer=adam seed=1: finished, best accuracy 0.9889, 4.2 s; 50 s left`, or why it failed and where to read more."""
        head = f"[{len(self.told)}/{self.count}] {label(job)}: {printable(told['status'])}"
        if told["status"] in FAILED:
            return f"{head}: {printable(told.get('error', ''))} ({short(job.directory / 'run.log')})"
        scoring = told.get("best") or {}
        best = {name: value for name, value in scoring.items() if name in ("loss", "accuracy", "r2")}
        left = self.left()
        when = f" (epoch {scoring['epoch']:g})" if isinstance(scoring.get("epoch"), int | float) else ""
        return f"{head}, best {figures(best)}{when}, {told.get('seconds') or 0:.1f} s{f'; {clock(left)} left' if left else ''}"

    def left(self) -> float:
        """Seconds until the sweep ends, if the others end as often as those of this process did, its start included; 0 where two have not yet ended."""
        waiting, ends = self.count - len(self.told), self._ends
        return waiting * (ends[-1] - self._start) / len(ends) if len(ends) > 1 else 0.0

    def table(self) -> Table:
        """Jobs that run or failed, then as many others as there is room for."""
        left = self.left()
        title = f"{len(self.told)} of {counted('job', self.count)} ended" + (f", {clock(left)} left" if left else "")
        shown = Table(
            "",
            "job",
            "status",
            "epoch",
            "best",
            box=None,
            pad_edge=False,
            padding=(0, 2, 0, 0),
            title=title,
            title_justify="left",
        )
        rows = [(number, job, *self.seen(job)) for number, job in enumerate([*self.jobs], start=1)]
        urgent = [row for row in rows if row[2] in ("running", *FAILED)]
        others = [row for row in rows if row not in urgent]
        ended, waiting = ([row for row in others if (row[2] != "waits") is wanted] for wanted in (True, False))
        chosen = sorted([*urgent, *ended[-SHOWN // 2 :], *waiting[: SHOWN // 2]])
        for number, job, status, epoch, best in chosen:
            shown.add_row(
                str(number),
                Text(label(job)),
                status,
                epoch,
                best,
                style="red" if status in FAILED else "bold" if status == "running" else None,
            )
        if len(chosen) < len(rows):
            shown.add_row("", f"and {len(rows) - len(chosen)} more", "", "", "")
        return shown

    def seen(self, job: Job) -> tuple[str, str, str]:
        """The state of a job; of one that has been told of, as it was then."""
        if job.directory not in self.told:
            return self.state(job)
        if job.directory not in self._last:
            self._last[job.directory] = self.state(job)
        return self._last[job.directory]

    def state(self, job: Job) -> tuple[str, str, str]:
        """Status, epoch and best figure of a job."""
        told, rows = resume.summary(job.directory), [*rundir.rows(job.directory, "val")]
        status = told.get("status")
        if not isinstance(status, str):
            log = job.directory / "run.log"
            status = "running" if log.exists() and log.stat().st_mtime >= self._begun - 1 else "waits"
        found = (
            (name, [row[name] for row in rows if isinstance(row.get(name), int | float)])
            for name in ("accuracy", "r2", "loss")
        )
        best = next(
            (f"{name} {min(values) if name == 'loss' else max(values):.4f}" for name, values in found if values), ""
        )
        return status, f"{rows[-1]['epoch']:g}" if rows and isinstance(rows[-1].get("epoch"), int | float) else "", best


def written(job: Job) -> int | None:
    """When its summary was; None where there is none."""
    try:
        return (job.directory / "summary.json").stat().st_mtime_ns
    except OSError:
        return None


def label(job: Job) -> str:
    """What the sweep calls a job: its directory's name in words."""
    return printable(job.directory.name)


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
