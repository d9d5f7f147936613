"""Origin of a technique, for messages: its class, and the file and line of an error in it. No torch here."""

import functools
import inspect
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from trainer.base.errors import ConfigError, UserError
from trainer.base.streams import OutputError
from trainer.base.text import from_here, printable


def class_of(technique: object) -> type:
    """Return the class of a technique, of a partial call of one, or the class itself."""
    technique = technique.func if isinstance(technique, functools.partial) else technique
    return technique if isinstance(technique, type) else type(technique)


def origin(technique: object, error: BaseException | None = None, method: str | None = None) -> str:
    """Return `Net (mine/net.py)`; with an error or a method, `Net (mine/net.py:12)`.

    Args:
        error: raised in it; where another file of its package raised it, that one is named, too.
        method: whose line is meant.
    """
    kind, file = class_of(technique), None
    with suppress(TypeError, OSError):  # a class of an extension module, or of a console
        file = inspect.getsourcefile(kind)
    if not file:
        return kind.__name__
    line = "" if method is None else line_of(kind, method, file)
    return f"{kind.__name__} ({place(file, error, kind.__module__) if error else f'{from_here(file)}{line}'})"


def place(file: str, error: BaseException, module: str) -> str:
    """Return the file of a class with the line in which an error was raised, and the deepest line of its package."""
    frames = traceback.extract_tb(error.__traceback__)
    line = next((f":{frame.lineno}" for frame in reversed(frames) if frame.filename == file), "")
    package = Path(file).parents[module.count(".") - 1] if "." in module else Path(file)
    deepest = deepest_in(frames, [package])
    inner = f", in {from_here(deepest.filename)}:{deepest.lineno}" if deepest and deepest.filename != file else ""
    return f"{from_here(file)}{line}{inner}"


def line_of(kind: type, method: str, file: str) -> str:
    """Return `:12`, where a method of a class begins, or the class where it does not define it in this file."""
    code = getattr(inspect.unwrap(getattr(kind, method, None) or kind), "__code__", None)
    if code is not None and code.co_filename == file:
        return f":{code.co_firstlineno}"
    try:
        return f":{inspect.getsourcelines(kind)[1]}"
    except (OSError, TypeError):
        return ""


def deepest_in(frames: Sequence[traceback.FrameSummary], places: Sequence[Path]) -> traceback.FrameSummary | None:
    """Return the innermost of the frames that are in some files or folders."""
    return next(
        (frame for frame in reversed(frames) if any(Path(frame.filename).is_relative_to(place) for place in places)),
        None,
    )


@contextmanager
def errors_of_packages(names: Sequence[str]) -> Iterator[None]:
    """Turn an error that code of the user's own packages raises in the block into a ConfigError with file and line."""
    try:
        yield
    except (UserError, OutputError):
        raise
    except Exception as error:
        modules = [sys.modules[name] for name in names if name in sys.modules]
        places = [Path(place) for module in modules for place in getattr(module, "__path__", None) or [module.__file__]]
        deepest = deepest_in(traceback.extract_tb(error.__traceback__), places)
        if deepest is None:
            raise
        from trainer.base.device import out_of_memory

        if out_of_memory(error):
            raise
        where = f"{from_here(deepest.filename)}:{deepest.lineno}"
        raise ConfigError(f"{where}: raises {printable(reason(error))}") from error


def reason(error: BaseException) -> str:
    """Return `IndexError: tuple index out of range`, in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
