"""Standard streams that may be a terminal, a pipe that nobody reads any more, or closed. No torch here."""

import errno
import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

failures: list[OSError] = []  # of writes to standard output that ended nothing
GONE = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO)  # the reader, or the terminal


class OutputError(OSError):
    """Standard output cannot be written. Not a BrokenPipeError, which rich answers by ending the program."""


class StandardOutput(io.FileIO):
    """Standard output, whose errors can be told from those of any other file."""

    def write(self, content: bytes) -> int:
        """Write bytes. Errors: OutputError."""
        try:
            return super().write(content)
        except OSError as error:
            raise OutputError(error.errno, error.strerror) from None


def open_standard_output() -> None:
    """Let `sys.stdout` raise an OutputError where it cannot be written."""
    before = getattr(sys.stdout, "buffer", None)
    if type(getattr(before, "raw", before)) is io.FileIO:  # without a buffer (python -u) it is the file itself
        file = StandardOutput(sys.stdout.fileno(), "w", closefd=False)
        how = {name: getattr(sys.stdout, name) for name in ("encoding", "errors", "line_buffering", "write_through")}
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(file) if hasattr(before, "raw") else file, **how)


class Output:
    """Standard output that raises nothing: a run does not depend on anybody reading.

    Once its reader is gone it writes to the null device.

    Args:
        on_error: called with the error of every write that fails.
    """

    def __init__(self, on_error: Callable[[OSError], None]) -> None:
        self._on_error = on_error

    @property
    def stream(self) -> TextIO:
        """The stream behind what rich puts in its place while it draws."""
        return getattr(sys.stdout, "rich_proxied_file", sys.stdout)

    @property
    def encoding(self) -> str:
        return getattr(self.stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return self.stream.isatty()

    def fileno(self) -> int:
        """Return its descriptor. Errors: OSError where it has none."""
        return self.stream.fileno()

    def write(self, text: str) -> None:
        """Write text, or pass the error on."""
        self._try(lambda: self.stream.write(text))

    def flush(self) -> None:
        """Write the buffered text, or pass the error on."""
        self._try(lambda: self.stream.flush())

    def _try(self, work: Callable[[], object]) -> None:
        try:
            work()
        except OSError as error:
            if error.errno in GONE:
                write_nowhere(self.stream)
            self._on_error(error)


def write_nowhere(stream: TextIO) -> None:
    """Point a stream at the null device, where its buffered text goes as well."""
    with suppress(OSError, ValueError):  # one without a descriptor
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def open_closed_streams() -> None:
    """Open the standard streams that the program was started without (`>&-`): a file would take their descriptors."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            with suppress(OSError):
                os.fstat(number)
                continue
            mode = "w" if number else "r"
            descriptor = os.open(os.devnull, os.O_RDWR)  # the lowest that is free
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", closefd=False))


def terminal_width(stream: TextIO) -> int | None:
    """Return the columns of a terminal; None for a stream that is none."""
    try:
        if not stream.isatty():
            return None
        typed = os.environ.get("COLUMNS", "")
        return int(typed) if typed.isdigit() and int(typed) else os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return None


def draws_on(stream: TextIO) -> bool:
    """Return whether a stream is a terminal that can erase a line."""
    return stream.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")
