"""Image files that are read: their formats, their endings, and how one is opened. No torch here."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from trainer.base.plain_files import require_regular

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF", "QOI", "ICO")  # Pillow's names
LARGEST = 2**30  # bytes of an image file; Pillow's limit of pixels has fewer, with 16 bits of each colour
ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".bmp", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".jp2", ".avif", ".qoi", ".ico", ".tga"),
)


@contextmanager
def opened(path: str) -> Iterator["Image"]:
    """Open an image file, whatever its name. Errors: whatever Pillow raises; OSError for a pipe or a device."""
    from PIL import Image

    require_regular(path, LARGEST)
    known = ("TGA",) if path.lower().endswith(".tga") else formats()  # TGA cannot be told by its content
    with Image.open(path, formats=known) as image:
        yield image


@cache
def formats() -> tuple[str, ...]:
    """Return FORMATS, as far as this Pillow has them: without a list it opens any, and Ghostscript for some.

    Silences Pillow's warnings, on odd metadata and large images, which name no file.
    """
    from PIL import Image

    warnings.filterwarnings("ignore", module=r"PIL\.")
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def is_image(path: str) -> bool:
    """Return whether a file is an image by its content."""
    try:
        with opened(path):
            return True
    except Exception:  # Pillow raises many kinds, by format
        return False
