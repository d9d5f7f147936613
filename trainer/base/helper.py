"""A process beside the program's, in which the libraries of reports and pictures load while a run trains.

Only the program `train` has one: it ends with the program, and elsewhere the libraries are there for the next run.
"""

import os
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from trainer.base.cores import cores

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor
    from queue import SimpleQueue
    from subprocess import Popen

Result = TypeVar("Result")
PROGRAM = "import sys; sys.path[:] = {path!r}; from trainer.base.helper import serve; serve()"


class Helper:
    """The process beside this one, where there is one."""

    def __init__(self) -> None:
        self._is_permitted = False
        self._process: Popen | None = None
        self._waiting: ThreadPoolExecutor  # a thread that sends a call and waits for its result, one after the other

    @contextmanager
    def permitted(self) -> Iterator[None]:
        """Let the block start the process; it ends with the block, whatever it is doing."""
        self._is_permitted = True
        try:
            yield
        finally:
            self._is_permitted = False
            if self._process:
                self._process.kill()
                self._process = None

    def start(self, prepare: Callable[[], None]) -> None:
        """Start the process where it may be of use: that of the program, with a core of its own.

        Args:
            prepare: imports what it will need; a function of a module without torch.
        """
        if not self._is_permitted or self._process or cores() == 1:
            return
        from concurrent.futures import ThreadPoolExecutor
        from subprocess import DEVNULL, PIPE, Popen

        # Not by multiprocessing, whose processes get the terminal's signals and write their tracebacks there. Linux
        # also gives each session its own share of busy cores: the training keeps its own.
        command = [sys.executable, "-c", PROGRAM.format(path=sys.path)]
        try:
            self._process = Popen(command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, start_new_session=True)
        except OSError:  # no more processes, or no memory for one
            return
        self._waiting = ThreadPoolExecutor(1)
        self.call(prepare)

    def call(self, function: Callable[..., Result], *arguments: object) -> Callable[[], Result]:
        """Begin to call a function in the process, and return what waits for the result and returns it.

        Without the process, or if it has died, that calls the function itself. Errors: those of the function.
        """
        if not self._process:
            return lambda: function(*arguments)
        future = self._waiting.submit(exchange, self._process, (function, arguments))

        def result() -> Result:
            try:
                found, error = future.result()
            except (EOFError, OSError, pickle.UnpicklingError):  # of a process that has died
                return function(*arguments)
            if error:
                raise error
            return found

        return result


helper = Helper()


def exchange(process: "Popen", call: tuple) -> tuple[object, Exception | None]:
    """Send a call and return its result and its error. Errors: those of the streams where the process has died."""
    process.stdin.write(pickle.dumps(call))
    process.stdin.flush()
    return pickle.load(process.stdout)


def serve() -> None:
    """Call what comes through standard input, and send back results and errors, until the other process has ended."""
    from queue import SimpleQueue
    from threading import Thread

    calls, answers = SimpleQueue(), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    Thread(target=receive, args=(calls,), daemon=True).start()
    while True:
        answer(answers, *calls.get())


def receive(calls: "SimpleQueue") -> None:
    """Put the calls that come into a queue; end this process with the other one, whatever it is doing."""
    while True:
        try:
            calls.put(pickle.load(sys.stdin.buffer))
        except EOFError:
            os._exit(0)


def answer(answers: BinaryIO, function: Callable, arguments: tuple) -> None:
    """Call a function and send its result and its error."""
    try:
        found = function(*arguments), None
    except Exception as error:
        found = None, error
    pickle.dump(found, answers)
    answers.flush()
