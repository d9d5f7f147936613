"""Text for messages: without control characters, and with the nearest known names of a mistyped one."""

import difflib
import re
from collections.abc import Iterable, Sequence

# Control characters, changes of direction, halves of surrogate pairs.
HIDDEN = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"


def printable(text: object) -> str:
    """Replace control characters by `?`; line breaks stay."""
    return re.sub(HIDDEN, "?", str(text))


def counted(noun: str, count: int) -> str:
    """Return `1 run`, `1,000 runs`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def nearest(word: str, words: Iterable[str], most: int = 3) -> list[str]:
    """Return the words most similar to `word`, best first, ignoring letter case."""
    by_lower = {known.lower(): known for known in words}
    found = difflib.get_close_matches(word.lower(), by_lower, n=most, cutoff=0.6)
    found += [known for known in by_lower if word.lower() in known and known not in found]
    return [by_lower[known] for known in found[:most]]


def did_you_mean(word: str, words: Sequence[str], prefix: str = "") -> str:
    """Return `did you mean optimizer=adam?`, or the list of all words where none is similar.

    Args:
        prefix: typed before each word, as `optimizer=`.
    """
    near = [f"{prefix}{known}" for known in nearest(word, words)]
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"choose one of {', '.join(words)}"


def as_typed(value: object) -> str:
    """Return a value as it is typed on the command line."""
    if isinstance(value, list):
        return "[" + ",".join(as_typed(item) for item in value) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        text = f"{value:g}"
        return f"{text}.0" if text.lstrip("-").isdigit() else text
    return str(value)
