"""Atomic file replacement."""

import io
import os
import re
import warnings
from collections.abc import Iterator, Mapping
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
    atomic_write_all(path.parent, {path.name: payload})


def atomic_write_all(folder: Path, payloads: Mapping[str, bytes | memoryview]) -> None:
    """Write files of one folder in order, each as `atomic_write` does, with one flush of the folder for all.

    Errors: OSError, with the old files left as they were, but for those that a rename has replaced by then.
    """
    # The permissions of tempfile's would ignore the umask.
    temporary = {name: folder / f".{name}.{os.getpid()}.partial" for name in payloads}
    try:
        for name, payload in payloads.items():
            temporary[name].unlink(missing_ok=True)  # of a dead process with this number
            with open(open_plain(temporary[name], os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
                file.write(payload)
                file.flush()
                os.fsync(file.fileno())
        for name, partial in temporary.items():
            os.replace(partial, folder / name)
    except BaseException:
        for partial in temporary.values():
            partial.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


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
