"""Atomic file replacement."""

import io
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.base.plain_files import open_plain
from trainer.base.text import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text


def atomic_write(path: Path, payload: bytes | memoryview) -> None:
    """Write a file completely or not at all: to a temporary file beside it, flushed to the disk and renamed.

    Errors: OSError, with the old file left as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")  # tempfile's permissions would ignore the umask
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


def discard_partial(folder: Path) -> None:
    """Delete the files in a folder of processes that died in `atomic_write`; nobody else may be writing there."""
    for path in folder.glob(".*.partial"):
        if re.fullmatch(r"\..+\.[0-9]+\.partial", path.name):
            with suppress(OSError):
                path.unlink()


def write_figure(figure: "Figure", path: Path, dpi: int = 110, **options: object) -> None:
    """Write a figure as PNG, atomically. Errors: OSError.

    Args:
        options: those of `savefig`.
    """
    atomic_write(path, png_of(figure, dpi, **options))


def png_of(figure: "Figure", dpi: int = 110, **options: object) -> bytes:
    """Return a figure as PNG. Its texts may hold names of the user's: no dollar sign begins mathematics.

    A letter that the font does not have is drawn as a box, without a warning.
    """
    for text in texts_of(figure):
        text.set_parse_math(False)
        text.set_text(printable(text.get_text()))
    png = io.BytesIO()
    # Pillow's usual level takes a third of the time that a small figure needs in all.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)
        figure.savefig(png, format="png", dpi=dpi, pil_kwargs={"compress_level": 1}, **options)
    return png.getvalue()


def texts_of(figure: "Figure") -> "Iterator[Text]":
    """Yield the titles, labels, remarks and legends of a figure; ticks of a logarithmic axis are mathematics."""
    yield from figure.texts
    for axes in figure.axes:
        yield from (axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts)
        yield from axes.get_legend().get_texts() if axes.get_legend() else ()
