"""Append-only files without partial records."""

import os
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path

from trainer.base.plain_files import open_plain

BUFFERED = 8192  # bytes for one write


def append(path: Path, text: str) -> None:
    """Append a text and a line break to a file, completely or not at all. Errors: OSError."""
    file = AppendOnlyFile(path)
    file.write(f"{text}\n".encode())
    file.close()


class AppendOnlyFile:
    """Append-only file; a short write is cut back to the last full record and retried at the next flush.

    Records wait in memory until 8 KiB are there or `flush` is called. Nothing is lost if the disk has space again
    before the file is closed. A retry writes the same bytes: a reader that has met a partial record can continue there.

    Args:
        path: of the file; its folder is made where the parent exists, and existing content stays.
        on_error: called with the error of every flush that fails; None raises it.
    Errors: OSError where there is no `on_error`.
    """

    def __init__(self, path: Path, on_error: Callable[[OSError], None] | None = None) -> None:
        self.step = 0  # of the run, for the records written now; 0 for none
        self.complete = True  # the last flush has written everything
        self._path = path
        self._on_error = on_error
        self._file: FileIO | None = None
        self._length = 0
        self._pending: list[tuple[int, bytes]] = []
        self._buffered = 0
        with suppress(OSError):  # the first flush tries again
            self._open()

    @property
    def pending_since(self) -> int | None:
        """The first step of which a record is not yet written; None where all are."""
        return next((step for step, _ in self._pending if step), None)

    def write(self, record: bytes) -> None:
        """Append a record; it is buffered until the next flush."""
        self._pending.append((self.step, record))
        self._buffered += len(record)
        if self._buffered >= BUFFERED and self.complete:
            self.flush()

    def flush(self) -> None:
        """Write the buffered records."""
        if self._pending:
            self._try(self._write_pending)

    def close(self) -> None:
        """Flush and close the file."""
        try:
            self.flush()
        finally:
            if self._file is not None:
                self._try(self._file.close)

    def _try(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError as error:
            self.complete = False
            if self._on_error is None:
                raise
            self._on_error(error)

    def _open(self) -> None:
        self._path.parent.mkdir(exist_ok=True)
        self._file = FileIO(open_plain(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab")
        self._length = os.fstat(self._file.fileno()).st_size

    def _write_pending(self) -> None:
        if self._file is None:
            self._open()
        payload, written = memoryview(b"".join([record for _, record in self._pending])), 0
        try:
            while written < len(payload):
                written += self._file.write(payload[written:])
        except OSError:
            self._cut_back(written)
            raise
        self._length += written
        self._pending.clear()
        self._buffered, self.complete = 0, True

    def _cut_back(self, written: int) -> None:
        """Drop the records that were written completely, and remove a partial one behind them from the file."""
        number = kept = 0
        while kept + len(self._pending[number][1]) <= written:
            kept += len(self._pending[number][1])
            number += 1
        del self._pending[:number]
        if written > kept:
            try:
                self._file.truncate(self._length + kept)
            except OSError:  # the next flush completes the partial record
                step, record = self._pending[0]
                self._pending[0] = step, record[written - kept :]
                kept = written
        self._length += kept
