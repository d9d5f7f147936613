"""Text of a file, whatever its compression and encoding."""

import bz2
import codecs
import gzip
import io
import lzma
import zlib

from trainer.base.errors import DataError
from trainer.base.paths import expanded
from trainer.base.plain_files import require_regular
from trainer.base.similar_paths import similar_files

LARGEST = 2**33  # bytes of a file, compressed or not: what is read lies in memory several times
LARGEST_UNPACKED = 2**31  # bytes: a few compressed ones may stand for any number
COMPRESSED = {b"\x1f\x8b": gzip, b"BZh": bz2, b"\xfd7zXZ": lzma}  # by the first bytes
BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
OTHER_KINDS = {  # by the first bytes, in lower case
    b"pk\x03\x04": "a zip archive or an Excel workbook, not a text file; unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook, not a text file; save the sheet as CSV",
    b"par1": "a Parquet file, not a text file; save the table as CSV",
    b"<!doctype": "a web page, not a table; download the file itself",
    b"<html": "a web page, not a table; download the file itself",
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself; fetch it with git lfs pull",
}


def read_text(path: str, encoding: str = "auto") -> tuple[str, str]:
    """Return the text of a file with `\\n` at the ends of its lines, and its encoding.

    Errors: DataError, which names the file.
    """
    content = decompressed(path, read_bytes(path))
    start = content[:32].lstrip().lower()
    if kind := next((kind for first, kind in OTHER_KINDS.items() if start.startswith(first)), None):
        raise DataError(f"{path}: is {kind}")
    text, encoding = decoded(path, content, encoding)
    if "\0" in text[:4096]:
        raise DataError(f"{path}: is not a text file")
    return text.replace("\r\n", "\n").replace("\r", "\n"), encoding


def read_bytes(path: str) -> bytes:
    """Return the bytes of a file. Errors: DataError, with similar names where it does not exist."""
    place = expanded(path)
    try:
        require_regular(place, LARGEST)
        return place.read_bytes()
    except FileNotFoundError:
        raise DataError(f"data.path={path}: no such file{similar_files(place)}") from None
    except IsADirectoryError:
        raise DataError(f"data.path={path}: is a folder, not a file{similar_files(place)}") from None
    except OSError as error:
        raise DataError(f"data.path={path}: cannot be read ({error.strerror or error})") from None


def decompressed(path: str, content: bytes) -> bytes:
    """Return the content of a gz, bz2 or xz file, and that of any other as it is. Errors: DataError."""
    for first, library in COMPRESSED.items():
        if content.startswith(first):
            try:
                with library.open(io.BytesIO(content)) as file:
                    whole = file.read(LARGEST_UNPACKED + 1)
            except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
                raise DataError(f"{path}: is damaged ({error})") from None
            if len(whole) > LARGEST_UNPACKED:
                raise DataError(f"{path}: holds more than {LARGEST_UNPACKED:,} bytes once it is unpacked; unpack it")
            return whole
    return content


def decoded(path: str, content: bytes, encoding: str) -> tuple[str, str]:
    """Return the text and its encoding: for auto that of the byte-order mark, else UTF-8, else Windows-1252.

    Errors: DataError.
    """
    if encoding != "auto":
        try:
            return content.decode(encoding).removeprefix("\ufeff"), encoding
        except UnicodeError as error:
            raise DataError(f"{path}: is not in data.encoding={encoding} ({error}); try data.encoding=auto") from None
    marked = next((name for mark, name in BYTE_ORDER_MARKS.items() if content.startswith(mark)), None)
    zeros = [content[:4096][start::2].count(0) for start in (0, 1)]
    if marked is None and sum(zeros) > len(content[:4096]) // 8:
        marked = "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"  # half the bytes of Latin text are zeros
    for name in (marked,) if marked else ("utf-8", "cp1252"):
        try:
            return content.decode(name), name.removesuffix("-sig")
        except UnicodeError:
            continue
    return content.decode("latin-1"), "latin-1"  # which has a character for every byte
