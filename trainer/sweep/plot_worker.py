"""Pictures of a sweep's jobs, drawn by other processes, so that no job waits the fifth of a second that one takes."""

import multiprocessing
import os
import signal
import sys
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing.context import BaseContext
from pathlib import Path

from trainer.base import signals
from trainer.base.cores import cores
from trainer.base.text import printable
from trainer.rundir.pictures import draw_pictures

MOST = 4  # processes, where many jobs end at once, as those that train at once do


class PlotWorker:
    """While entered, draws figures in processes of its own; on exit all of them have been drawn."""

    def __enter__(self) -> "PlotWorker":
        self._pool: ProcessPoolExecutor | None = None
        self._figures: list[tuple[Path, Future]] = []
        return self

    def begin(self) -> None:
        """Start a process, and let it import what it draws with while the first jobs run; returns at once."""
        context = make_context()
        self._pool = ProcessPoolExecutor(min(MOST, cores()), mp_context=context, initializer=end_with_sweep)
        with signals.held():  # also from those that the process will begin: a Ctrl-C is for the sweep
            if context.get_start_method() == "forkserver":
                from multiprocessing import forkserver  # not on Windows

                forkserver.ensure_running()  # asking it for a process would wait for its imports
            else:
                self._pool.submit(int)

    def draw(self, directory: Path) -> None:
        """Draw the pictures of a run that has ended, where it has recorded any points; returns at once."""
        if not (directory / "metrics.jsonl").exists():
            return
        if self._pool is None:
            self.begin()
        # Of a broken pool the figures before this one say so; the next sweep here draws those that are missing.
        with suppress(BrokenProcessPool):
            self._figures.append((directory, self._pool.submit(draw_pictures, directory.absolute())))

    def __exit__(self, *exception: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()
        for directory, figure in self._figures:
            if error := figure.exception():
                reason = printable(getattr(error, "strerror", None) or error)
                line = f"warning: {printable(directory)}: its pictures could not be drawn ({reason})"
                print(line, file=sys.stderr, flush=True)


def make_context() -> BaseContext:
    """Return what starts a process: a fork of this one would copy the threads of torch."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")  # it has the imports ready for the next sweep of this process
    context.set_forkserver_preload([__name__, "matplotlib.backends.backend_agg"])
    return context


def end_with_sweep() -> None:
    """Leave the terminal's session, whose Ctrl-C is for the sweep; and end with the sweep even when that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "setsid"):
        os.setsid()  # Linux also gives each session its own share of busy cores: the jobs keep theirs
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        parent.join()
        os._exit(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
