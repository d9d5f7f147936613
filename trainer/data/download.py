"""Fetching files: tried again, by one process at a time, and given up within seconds where there is no network."""

import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

PAUSES = (0.5, 2.0)  # seconds before each further attempt
SILENCE = 5.0  # seconds without an answer that count as none
PATIENCE = 20.0  # seconds after which a failure is final, however few attempts were made


def fetch(get: Callable[[], object]) -> object:
    """What `get` returns, in up to three attempts; what it raised last where all fail. It checks what it fetched, and keeps what is good."""
    before, started = socket.getdefaulttimeout(), time.monotonic()
    socket.setdefaulttimeout(SILENCE)
    try:
        for pause in PAUSES:
            try:
                return get()
            except PermissionError:
                raise
            except Exception:  # the reader's or the network's, of many kinds
                if time.monotonic() - started > PATIENCE:
                    raise
                time.sleep(pause)
        return get()
    finally:
        socket.setdefaulttimeout(before)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """While entered, no other process on this machine is inside for the same path; it waits for the one that is.

    A process that dies lets go of the lock. Errors: OSError where the file cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"waiting for another process that prepares {path.parent}", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
