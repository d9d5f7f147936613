"""Signals: ending a run in order when the system or the user asks for it, or the terminal is closed."""

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from trainer.base import ranks
from trainer.base.errors import Interrupted, SignalReceived, print_error

_received: list[int] = []  # the signals that have come, until the program has answered them
_raised: list[int] = []  # those that were to end the program at once
CLEAN_LINE = b"\r\x1b[2K\x1b[?25h"
RETRY = 1.0  # seconds in which a second signal adds nothing: the first is on its way through the code that it ends
ENDING = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


@contextmanager
def handled(numbers: Iterable[int], handler: Callable | signal.Handlers) -> Iterator[None]:
    """Give signals a handler in the block; a SIGHUP that is ignored (nohup) stays ignored."""
    main = threading.current_thread() is threading.main_thread()  # elsewhere Python allows none
    before = {number: signal.signal(number, handler) for number in numbers if main and not is_hidden(number)}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def is_hidden(number: int) -> bool:
    """Return whether the program was started so that the end of the terminal does not concern it, as by nohup."""
    return number == getattr(signal, "SIGHUP", None) and signal.getsignal(number) in (signal.SIG_IGN, None)


@contextmanager
def raised() -> Iterator[None]:
    """Turn SIGINT, SIGTERM and SIGHUP into Interrupted (exit codes 130, 143 and 129), as soon as they come.

    Of an exception that Python drops it prints a traceback: not of one that `raise_received` raises again.
    """

    last = -math.inf

    def end(number: int, frame: object) -> None:
        nonlocal last
        _received.append(number)
        before, last = last, time.monotonic()
        if last - before >= RETRY:
            _raised.append(number)
            raise SignalReceived(number)

    hook = sys.unraisablehook
    sys.unraisablehook = lambda lost: None if isinstance(lost.exc_value, SignalReceived) else hook(lost)
    try:
        with handled(ENDING, end):
            yield
    except (Exception, SignalReceived) as error:
        cause = cause_of(error)
        if not isinstance(cause, SignalReceived):
            raise
        raise Interrupted(f"interrupted by {signal.Signals(cause.number).name}", cause.number) from None
    finally:
        sys.unraisablehook = hook
        _received.clear()
        _raised.clear()


def cause_of(error: BaseException) -> BaseException:
    """Return the signal behind an error, if there is one, else the error.

    Code that an exception interrupts anywhere may raise another in its place while it cleans up.
    """
    if _raised and not isinstance(error, KeyboardInterrupt | Interrupted):
        return SignalReceived(_raised[0])
    return error


def raise_received() -> None:
    """Raise what a signal has raised before, if the program still runs, or what `Signals` has noted at its end.

    Python drops an exception from a weak reference's callback and from a `__del__`, and a library may catch it.
    """
    if _received:
        raise SignalReceived(_received.pop(0))


def newest() -> int:
    """Return a signal that has come and is not answered yet, or 0."""
    return _received[0] if _received else 0


def ignored() -> AbstractContextManager[None]:
    """Ignore signals in the block, for the last lines of a run that one has ended."""
    return handled(ENDING, signal.SIG_IGN)


@contextmanager
def held() -> Iterator[None]:
    """Let a Ctrl-C come behind the block only, and never to a process that the block begins."""
    came: list[int] = []  # through another thread: the mask is that of this thread and of what it begins
    masks = hasattr(signal, "pthread_sigmask")  # not on Windows
    try:
        with handled([signal.SIGINT], lambda number, frame: came.append(number)):
            before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT]) if masks else None
            try:
                yield
            finally:
                if masks:
                    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    finally:
        if came:
            signal.raise_signal(came[0])


def deadly() -> AbstractContextManager[None]:
    """Let signals end the process at once in the block: an exception would abort torch's import."""
    return handled(ENDING, leave)


def leave(number: int, frame: object) -> None:
    """End the process at once, as one that has nothing to save: rank 0 with a line, and with the terminal's cursor."""
    if not ranks.place.rank:
        clean_line()
        print_error(Interrupted(f"interrupted by {signal.Signals(number).name}", number))
        clean_line()  # of what another thread has drawn meanwhile
    os._exit(128 + number)


def clean_line() -> None:
    """Remove what stands on the terminal's line, and show the cursor."""
    with suppress(OSError, ValueError):  # nobody reads
        if sys.stdout.isatty():
            os.write(sys.stdout.fileno(), CLEAN_LINE)


class Signals:
    """Note SIGINT, SIGTERM and SIGHUP in `number` instead of ending the process; a second SIGINT ends it at once.

    One that comes too late for the block is still there for `raise_received` and for the next `Signals`. Ranks that
    take steps together answer a signal at the same step, where they have told one another, and never at once.
    """

    def __init__(self) -> None:
        self._number = 0
        self._immediately = False
        self._handled = handled(ENDING, self._note)

    @property
    def number(self) -> int:
        """The signal that has come, or 0."""
        return ranks.place.signal if ranks.place.joined else self._number

    def __enter__(self) -> "Signals":
        self._handled.__enter__()
        self._number = newest()
        return self

    def __exit__(self, *exception: object) -> None:
        self._handled.__exit__(*exception)

    @contextmanager
    def interrupt_immediately(self, *, when: bool = True) -> Iterator[None]:
        """Let signals interrupt the block immediately instead of after the current step, also one that has come before.

        Errors: Interrupted.
        """
        self._immediately = when = when and not ranks.is_joined()
        try:
            if when and self.number:
                raise SignalReceived(self.number)
            yield
        except (Exception, SignalReceived) as error:  # another in its place, as of cause_of
            if not (isinstance(error, SignalReceived) or when and self.number):
                raise
            self.answered()
            what = "interrupted; what no checkpoint holds is repeated when the run is resumed"
            raise Interrupted(what, self.number) from None
        finally:
            self._immediately = False

    def answered(self) -> None:
        """Forget the signals: the run ends because of them."""
        _received.clear()

    def _note(self, number: int, frame: object) -> None:
        again, self._number = bool(self._number) and not ranks.is_joined(), number
        _received.append(number)
        if number == signal.SIGINT if again else self._immediately:
            raise SignalReceived(number)
