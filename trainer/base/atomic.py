"""Files that are there whole or not at all, and files that grow by whole records, whatever becomes of process, machine and disk."""

import os
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path

GATHERED = 8192  # bytes that wait for one write


def atomic_write(path: Path, payload: bytes | memoryview) -> None:
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


class AppendOnlyFile:
    """A file that grows by whole records.

    Records wait in memory until 8 KiB are there or `flush` is called. Where the disk takes only a part, the file is cut back
    to its last whole record, and the rest waits for the next `flush`: nothing is lost if there is room again before the end.
    What is written then are the same bytes as before, so that a reader who met a half record meanwhile can go on behind it.

    Args:
        path: of the file, in a folder that is made where its parent exists; what the file holds already stays.
        tell: takes the error of every flush that fails. None raises it.
    Errors: OSError where nobody is told.
    """

    def __init__(self, path: Path, tell: Callable[[OSError], None] | None = None) -> None:
        self.step = 0  # the update that the records of now belong to; 0 for none
        self.whole = True  # all that was to be written is, by the last try
        self._path = path
        self._tell = tell
        self._file: FileIO | None = None
        self._length = 0
        self._waiting: list[tuple[int, bytes]] = []
        self._gathered = 0
        with suppress(OSError):  # met again by the first flush
            self._open()

    @property
    def since(self) -> int | None:
        """The first update of which a record waits; None where there is none."""
        return next((step for step, _ in self._waiting if step), None)

    def write(self, record: bytes) -> None:
        self._waiting.append((self.step, record))
        self._gathered += len(record)
        if self._gathered >= GATHERED and self.whole:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            self._try(self._write_out)

    def close(self) -> None:
        try:
            self.flush()
        finally:
            if self._file is not None:
                self._try(self._file.close)

    def _try(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError as error:
            self.whole = False
            if self._tell is None:
                raise
            self._tell(error)

    def _open(self) -> None:
        self._path.parent.mkdir(exist_ok=True)
        self._file = self._path.open("ab", buffering=0)
        self._length = os.fstat(self._file.fileno()).st_size

    def _write_out(self) -> None:
        if self._file is None:
            self._open()
        payload, written = memoryview(b"".join([record for _, record in self._waiting])), 0
        try:
            while written < len(payload):
                written += self._file.write(payload[written:])
        except OSError:
            self._cut_back(written)
            raise
        self._length += written
        self._waiting.clear()
        self._gathered, self.whole = 0, True

    def _cut_back(self, written: int) -> None:
        """Keep those records of the ones that wait that are in the file whole, and take the half one behind them out of it."""
        number = kept = 0
        while kept + len(self._waiting[number][1]) <= written:
            kept += len(self._waiting[number][1])
            number += 1
        del self._waiting[:number]
        if written > kept:
            try:
                self._file.truncate(self._length + kept)
            except OSError:  # then the half record is completed by the next flush
                step, record = self._waiting[0]
                self._waiting[0] = step, record[written - kept :]
                kept = written
        self._length += kept
