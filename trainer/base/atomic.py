"""Atomic file replacement."""

import io
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.base.plain_files import open_plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def atomic_write(path: Path, payload: bytes | memoryview) -> None:
    """Write a file completely or not at all: to a temporary file beside it, flushed to the disk and renamed.

    Errors: OSError, with the old file left as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")  # tempfile's permissions would ignore the umask
    temporary.unlink(missing_ok=True)  # of a dead process with this number
    try:
        with open(open_plain(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
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


def discard_partial(folder: Path, names: str) -> None:
    """Delete the temporary files in a folder of processes that died while they wrote; nobody else may be writing there.

    Args:
        names: regular expression of the files that are written there.
    """
    left = re.compile(rf"\.({names})\.\d+", re.ASCII)
    for path in folder.glob(".*"):
        if left.fullmatch(path.name):
            with suppress(OSError):
                path.unlink()


def write_figure(figure: "Figure", path: Path, dpi: int = 110, **options: object) -> None:
    """Write a figure as PNG, atomically.

    Args:
        options: those of `savefig`.
    Errors: OSError.
    """
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=dpi, **options)
    atomic_write(path, png.getbuffer())
