"""`train` on a pseudo-terminal of so many columns: what it writes there, and when."""

import fcntl
import os
import pty
import re
import struct
import termios
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import processes


@dataclass
class Recording:
    """Bytes of a terminal with the seconds since the start, and the exit code."""

    code: int | None = None
    chunks: list[tuple[float, bytes]] = field(default_factory=list)

    @property
    def text(self) -> str:
        return b"".join(data for _, data in self.chunks).decode()

    @property
    def lines(self) -> list[str]:
        """The lines that stay, each as it was written: what was erased is gone. No line begins in the middle of one."""
        kept, row = [""], 0
        for sign, code, text in re.findall(r"(\r|\n)|(\x1b\[[?0-9;]*[A-Za-z])|([^\r\n\x1b]+)", self.text):
            if sign == "\n":
                row += 1
                kept += [""] * (row == len(kept))
            elif code.endswith("A"):
                row -= int(code[2:-1] or 1)
            elif code.endswith("K"):
                kept[row] = ""
            else:
                kept[row] += text
        return [line.rstrip() for line in kept]


class Terminal:
    """A pseudo-terminal whose output is recorded until it is closed."""

    def __init__(self, columns: int) -> None:
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.path = os.ttyname(self.slave)
        self.recording = Recording()
        self._begun = time.monotonic()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.master, 65536)
            except OSError:  # every descriptor of the slave is closed
                return
            self.recording.chunks.append((time.monotonic() - self._begun, data))

    def close(self) -> Recording:
        os.close(self.slave)
        self._thread.join(10)
        os.close(self.master)
        return self.recording


def train_on_terminal(folder: Path, columns: int, *words: str) -> Recording:
    """Run `train` to its end with both streams on a terminal."""
    terminal = Terminal(columns)
    process = processes.begin(folder, *words, output=terminal.path, errors=terminal.path)
    process.join(120)
    recording = terminal.close()
    recording.code = process.exitcode
    return recording
