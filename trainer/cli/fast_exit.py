"""What Python would spend on the million objects that importing torch makes: 0.7 s of looking for garbage, 1 s of taking them apart at the end."""

import atexit
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

ALLOCATIONS = 100_000  # between two looks for garbage, instead of 700


@contextmanager
def fewer_collections() -> Iterator[None]:
    """For imports and for what is built once; not for a loop, whose garbage may hold a device's memory."""
    before = gc.get_threshold()
    gc.set_threshold(ALLOCATIONS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


@cache
def freeze_imports() -> None:
    """Look for garbage only in what is made from now on: once in a process, before a job has made anything."""
    gc.freeze()


@contextmanager
def fast_exit() -> Iterator[None]:
    """Around all that a program does: where it ends with an exit code, the system takes the memory back as it is.

    To be entered before anything registers what is to be done at the end: all that is done first, and threads have ended.
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
    if code:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code[0])
