"""Exit without teardown: taking torch's objects apart costs 1 s."""

import atexit
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def fast_exit() -> Iterator[None]:
    """After atexit handlers have run and threads have ended, leave with os._exit and skip teardown.

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
