"""The program `train`, from its start to its exit. It imports little, so that a signal finds it prepared."""

import atexit
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


def program(command: Callable[[], None] | None = None) -> None:
    """Run the command, the entry of the console script; or another one, without arguments."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # while modules are imported, and at exit: Python would show where
    from trainer.base.streams import open_closed_streams, open_standard_output
    from trainer.cli.main import main

    open_closed_streams()
    open_standard_output()
    with fast_exit():
        from trainer.base.helper import helper

        with helper.permitted():
            (command or main)()


@contextmanager
def fast_exit() -> Iterator[None]:
    """After atexit handlers have run and threads have ended, leave with os._exit: to take torch apart costs 1 s.

    To be entered before anything else registers with atexit: handlers run in reverse order.
    """
    code: list[int] = []
    atexit.register(leave, code)
    try:
        yield
        code.append(0)
    except SystemExit as end:
        if isinstance(end.code, int | None):
            code.append(end.code or 0)
        raise


def leave(code: list[int]) -> None:
    """Exit at once with the code, if there is one."""
    if code:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # nobody reads
                stream.flush()
        os._exit(code[0])
