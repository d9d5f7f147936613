"""Files that are there whole or not at all, whenever a process or a machine dies."""

import os
from pathlib import Path


def write(path: Path, payload: bytes | memoryview) -> None:
    """Put a file in its place whole: a temporary one of its own beside it, to the disk, renamed, the folder to the disk.

    Errors: OSError, with the old file left as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")  # tempfile's would be closed to whom the umask lets in
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
