"""Text for messages: without control characters, and with the nearest known names of a mistyped one."""

import difflib
import re
import shlex
from collections.abc import Iterable, Sequence

# Control characters, changes of direction, halves of surrogate pairs.
HIDDEN = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
SURE = 0.8  # similarity from which the best word is the one that was meant


def printable(text: object) -> str:
    """Replace control characters by `?`; line breaks stay."""
    return re.sub(HIDDEN, "?", str(text))


def for_shell(text: str) -> str:
    """Return an argument as it is typed in a shell: in quotes where it needs them; lists, `reg=[l2]`, need none."""
    if re.fullmatch(r"[\w@%+=:,./\[\]~-]*", text):
        return text
    return f'"{text}"' if "'" in text and not re.search(r'["$`\\!]', text) else shlex.quote(text)


def nearest(word: str, words: Iterable[str], most: int = 3, cutoff: float = 0.6) -> list[str]:
    """Return the words most similar to `word`, best first, ignoring letter case.

    Args:
        cutoff: how similar they must be, from 0 (anything) to 1; those that contain `word` always are.
    """
    word, by_lower = word.lower(), {known.lower(): known for known in words}
    found = difflib.get_close_matches(word, by_lower, n=most, cutoff=cutoff)
    if found and similarity(word, found[0]) > SURE:
        return [by_lower[found[0]]]
    found += [known for known in by_lower if len(word) > 2 and word in known and known not in found]
    return [by_lower[known] for known in found[:most]]


def similarity(one: str, other: str) -> float:
    """Return how similar two words are, from 0 to 1."""
    return difflib.SequenceMatcher(None, one, other).ratio()


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
