"""Garbage collection at import: torch makes a million objects, and looking through them costs 0.7 s."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

ALLOCATIONS = 100_000  # between two collections, instead of 700


@contextmanager
def fewer_collections() -> Iterator[None]:
    """Collect garbage seldom, while importing or building; not for a loop, whose garbage may hold a device's memory."""
    before = gc.get_threshold()
    gc.set_threshold(ALLOCATIONS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


@cache
def freeze_imports() -> None:
    """Exclude what has been imported from later collections: once in a process, before a job has made anything."""
    gc.freeze()
