"""Lock between processes of one machine."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; wait for another process that holds it, with a line to the user.

    A process that dies releases the lock. Errors: OSError where the file cannot be made.
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
