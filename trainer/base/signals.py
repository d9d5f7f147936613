"""Ending a run when the system or the user asks."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from trainer.base.errors import Interrupted, SignalReceived


@contextmanager
def raise_on_sigterm() -> Iterator[None]:
    """While entered, SIGTERM raises Interrupted, so that the program ends as it does after SIGINT, with code 143."""

    def end(number: int, frame: object) -> None:
        raise SignalReceived(number)

    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, end) if main else None
    try:
        yield
    except SignalReceived as asked:
        raise Interrupted("ended by a signal", asked.number) from None
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)


class Signals:
    """While entered, SIGINT and SIGTERM are noted in `number` instead of ending the process; a second SIGINT ends it at once."""

    def __init__(self) -> None:
        self.number = 0
        self._at_once = False
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
    def at_once(self, *, when: bool = True) -> Iterator[None]:
        """While entered, a signal raises Interrupted: for what may take long and may be lost."""
        self._at_once = when
        try:
            yield
        except SignalReceived as asked:
            raise Interrupted(
                "interrupted; what was not in a checkpoint is done again when the run goes on", asked.number
            ) from None
        finally:
            self._at_once = False

    def _note(self, number: int, frame: object) -> None:
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number
        if self._at_once:
            raise SignalReceived(number)
