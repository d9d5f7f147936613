"""The line of a terminal that is redrawn while something takes long. The innermost one hides those around it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Redrawn(Protocol):
    """A `Live` or `Progress` of rich."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


lines: list[Redrawn] = []


@contextmanager
def drawn(line: Redrawn) -> Iterator[None]:
    """Draw a line in the block, in place of the one around it."""
    for outer in lines[-1:]:
        outer.stop()
    lines.append(line)
    line.start()
    try:
        yield
    finally:
        line.stop()
        lines.pop()
        for outer in lines[-1:]:
            outer.start()
