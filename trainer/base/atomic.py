"""Atomic file replacement."""

import os
from pathlib import Path


def atomic_write(path: Path, payload: bytes | memoryview) -> None:
    """Write a file completely or not at all: to a temporary file beside it, flushed to the disk and renamed.

    Errors: OSError, with the old file left as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")  # tempfile's permissions would ignore the umask
    try:
        with temporary.open("wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
