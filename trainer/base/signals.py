"""Signals: ending a run in order when the system or the user asks for it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from trainer.base.errors import Interrupted, SignalReceived


@contextmanager
def raise_on_sigterm() -> Iterator[None]:
    """Turn SIGTERM into Interrupted (exit code 143)."""

    def end(number: int, frame: object) -> None:
        raise SignalReceived(number)

    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, end) if main else None
    try:
        yield
    except SignalReceived as received:
        raise Interrupted("interrupted by a signal", received.number) from None
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)


class Signals:
    """Note SIGINT and SIGTERM in `number` instead of ending the process; a second SIGINT ends it at once."""

    def __init__(self) -> None:
        self.number = 0
        self._immediately = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handler
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def interrupt_immediately(self, *, when: bool = True) -> Iterator[None]:
        """Let signals interrupt the block immediately instead of after the current step. Errors: Interrupted."""
        self._immediately = when
        try:
            yield
        except SignalReceived as received:
            what = "interrupted; work since the last checkpoint is repeated when the run is resumed"
            raise Interrupted(what, received.number) from None
        finally:
            self._immediately = False

    def _note(self, number: int, frame: object) -> None:
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number
        if self._immediately:
            raise SignalReceived(number)
