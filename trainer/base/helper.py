"""A process beside the program's, in which the libraries of reports and pictures load while a run trains.

Only the program `train` has one. In a process of others, as a notebook, it would have to import their script again.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from trainer.base.cores import cores

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

Result = TypeVar("Result")


class Helper:
    """The process beside this one, where there is one."""

    def __init__(self) -> None:
        self._is_permitted = False
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._waiting: ThreadPoolExecutor  # a thread that sends a call and waits for its result, one after the other

    @contextmanager
    def permitted(self) -> Iterator[None]:
        """Let the block start the process; it ends with the block, whatever it is doing."""
        self._is_permitted = True
        try:
            yield
        finally:
            self._is_permitted, self._connection = False, None
            if self._process:
                self._process.kill()

    def start(self, prepare: Callable[[], None]) -> None:
        """Start the process where it may be of use: that of the program, with a core of its own.

        Args:
            prepare: imports what it will need; a function of a module without torch.
        """
        if not self._is_permitted or self._connection or cores() == 1:
            return
        import multiprocessing
        from concurrent.futures import ThreadPoolExecutor

        context = multiprocessing.get_context("spawn")
        own, other = context.Pipe()
        process = context.Process(target=serve, args=(other, prepare), daemon=True)
        try:
            process.start()
        except OSError:  # no more processes, or no memory for one
            return
        other.close()
        self._process, self._connection, self._waiting = process, own, ThreadPoolExecutor(1)

    def call(self, function: Callable[..., Result], *arguments: object) -> Callable[[], Result]:
        """Begin to call a function in the process, and return what waits for the result and returns it.

        Without the process, or if it has died, that calls the function itself. Errors: those of the function.
        """
        if not self._connection:
            return lambda: function(*arguments)
        future = self._waiting.submit(exchange, self._connection, (function, arguments))

        def result() -> Result:
            try:
                found, error = future.result()
            except (EOFError, OSError):
                return function(*arguments)
            if error:
                raise error
            return found

        return result


helper = Helper()


def exchange(connection: "Connection", call: tuple) -> tuple[object, Exception | None]:
    """Send a call and return its result and its error. Errors: EOFError, OSError where the other process has died."""
    connection.send(call)
    return connection.recv()


def serve(connection: "Connection", prepare: Callable[[], None]) -> None:
    """Call what comes through a connection, and send back results and errors, until the other process has ended."""
    with_program()
    prepare()
    while True:
        try:
            function, arguments = connection.recv()
        except EOFError:
            return
        try:
            answer = function(*arguments), None
        except Exception as error:
            answer = None, error
        connection.send(answer)


def with_program() -> None:
    """Leave the terminal's session, whose Ctrl-C is for the program, and end when that ends, even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "setsid"):
        os.setsid()  # Linux also gives each session its own share of busy cores: the training keeps its own
    import multiprocessing

    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        parent.join()
        os._exit(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
