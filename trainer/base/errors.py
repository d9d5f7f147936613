"""What can go wrong at a user's hand, each with its exit code, and the checks that techniques share."""

import difflib
import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

HIDDEN = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"  # control, direction, half a character


class UserError(Exception):
    """One or two lines for the console; the command line exits with `code` and no traceback."""

    code = 1


class ConfigError(UserError):
    code = 2


class DataError(UserError):
    code = 3


class MachineError(UserError):
    """The device, the disk or a permission stands in the way."""

    code = 4


class Diverged(UserError):
    code = 5


class SignalReceived(KeyboardInterrupt):
    """A signal on its way to whoever puts it into words: no Exception, which libraries catch wherever they try something out."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Interrupted(UserError):
    """Ended by a signal; `code` is 128 + its number."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.code = 128 + signal_number


def printable(text: object) -> str:
    """Text without the control characters that could move the cursor, recolour the screen or hide what stands there; lines stay lines."""
    return re.sub(HIDDEN, "?", str(text))


def report(error: UserError) -> None:
    """One or two lines on standard error; the traceback only where HYDRA_FULL_ERROR=1 asks for it."""
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        traceback.print_exception(error)
    print(f"train: {printable(error)}", file=sys.stderr, flush=True)


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """While entered, a user's error is told and ends the program with its code. Hydra, which would show a traceback, lets that pass."""
    try:
        yield
    except UserError as error:
        report(error)
        raise SystemExit(error.code) from None


def nearest(word: str, words: Iterable[str], most: int = 3) -> list[str]:
    """The words that look most like `word`, best first; whether letters are capital does not matter."""
    by_lower = {known.lower(): known for known in words}
    found = difflib.get_close_matches(word.lower(), by_lower, n=most, cutoff=0.6)
    found += [known for known in by_lower if word.lower() in known and known not in found]
    return [by_lower[known] for known in found[:most]]


def closest(word: str, words: Sequence[str]) -> str:
    """`nearest: adam`, or all words where none is near; for messages."""
    near = nearest(word, words)
    return f"nearest: {', '.join(near)}" if near else f"all: {', '.join(words)}"


def require(rule: str, **fields: float | Sequence[float]) -> None:
    """Hold fields, or each number of one, to a rule written as in the YAML comments: `> 0`, `>= 1`, `in [0, 1)`.

    Errors: ValueError, "alpha must be > 0, got -1.0".
    """
    for name, value in fields.items():
        for number in value if isinstance(value, list | tuple) else (value,):
            if not satisfies(rule, number):
                raise ValueError(f"{name} must be {rule}, got {number}")


def require_one_of(*words: str, **fields: str) -> None:
    """Hold fields to a list of words. Errors: ValueError."""
    for name, value in fields.items():
        if value not in words:
            raise ValueError(f"{name} must be one of {', '.join(words)}, got {value}")


def require_images(images) -> None:
    """Hold a batch to the shape of images. Errors: ValueError."""
    if len(images.shape) != 4:
        raise ValueError(f"needs images (B, C, H, W), got a batch of shape {tuple(images.shape)}")


INTERVAL = re.compile(r"in ([\[(])(\S+), (\S+)([\])])")
BOUND = re.compile(r"(>=|<=|>|<) (-?[\d.]+(?:e-?\d+)?)")


def satisfies(rule: str, value: float) -> bool:
    """Whether a number keeps a rule; NaN keeps none."""
    if interval := INTERVAL.fullmatch(rule):
        left, low, high, right = interval.groups()
        above = value >= float(low) if left == "[" else value > float(low)
        below = value <= float(high) if right == "]" else value < float(high)
        return above and below
    sign, bound = BOUND.fullmatch(rule).groups()
    bound = float(bound)
    return {">": value > bound, ">=": value >= bound, "<": value < bound, "<=": value <= bound}[sign]
