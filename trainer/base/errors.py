"""Errors a user can cause, each with its exit code."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from trainer.base.streams import terminal_width, write_nowhere
from trainer.base.text import printable, wrap


class UserError(Exception):
    """An error explained in one or two lines; the command exits with `code` and prints no traceback."""

    code = 1


class ConfigError(UserError):
    """A mistake in the configuration or on the command line."""

    code = 2


class DataError(UserError):
    """A file of data or of a run that is missing, damaged or of another kind."""

    code = 3


class MachineError(UserError):
    """A limit of the machine: its device, memory, disk or permissions."""

    code = 4


class Diverged(UserError):
    """A loss that is not finite."""

    code = 5


class CheckFailed(UserError):
    """A check of a run, or a step of a recipe, that has failed. Code 1 would be that of a traceback as well."""

    code = 6


class SignalReceived(KeyboardInterrupt):
    """Raised by a signal handler. A KeyboardInterrupt, so that `except Exception` in libraries cannot swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Interrupted(UserError):
    """Ended by a signal; `code` is 128 + its number."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.code = 128 + signal_number


def print_error(error: UserError) -> None:
    """Print an error on standard error; with its traceback where HYDRA_FULL_ERROR=1 asks for it."""
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        traceback.print_exception(error)
    text, width = f"train: {printable(error)}", terminal_width(sys.stderr)
    try:
        print(wrap(text, width) if width else text, file=sys.stderr, flush=True)
    except OSError:  # nobody reads
        write_nowhere(sys.stderr)


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Print a UserError and exit with its code; Hydra would show a traceback."""
    try:
        yield
    except UserError as error:
        print_error(error)
        raise SystemExit(error.code) from None
