"""Origin of a technique, for messages: its class, and the file and line of an error in it. No torch here."""

import functools
import inspect
import traceback
from contextlib import suppress

from trainer.base.text import from_here


def class_of(technique: object) -> type:
    """Return the class of a technique, of a partial call of one, or the class itself."""
    technique = technique.func if isinstance(technique, functools.partial) else technique
    return technique if isinstance(technique, type) else type(technique)


def origin(technique: object, error: BaseException | None = None) -> str:
    """Return `Net (mine/net.py)`; with an error that was raised in that file, `Net (mine/net.py:12)`."""
    kind, file = class_of(technique), None
    with suppress(TypeError, OSError):  # a class of an extension module, or of a console
        file = inspect.getsourcefile(kind)
    return f"{kind.__name__} ({place(file, error)})" if file else kind.__name__


def place(file: str, error: BaseException | None) -> str:
    """Return a file as it is typed from the current folder, with the line in which an error was raised."""
    frames = traceback.extract_tb(error.__traceback__) if error else []
    line = next((f":{frame.lineno}" for frame in reversed(frames) if frame.filename == file), "")
    return f"{from_here(file)}{line}"


def reason(error: BaseException) -> str:
    """Return `IndexError: tuple index out of range`, in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
