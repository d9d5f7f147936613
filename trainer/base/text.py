"""Text for messages: printable, wrapped for a terminal, and with the nearest known names of a mistyped one."""

import difflib
import math
import re
import shlex
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

# Control characters, changes of direction, halves of surrogate pairs.
HIDDEN = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
FORMULA = ("=", "+", "-", "@")  # begin one in a spreadsheet
PLAIN = 1e12  # a number below it is written without an exponent
SURE = 0.8  # similarity from which the best word is the one that was meant

LEAST_ROOM = 20  # columns beside an indentation
WORD = r"""(?:'[^']*'|"[^"]*"|[^\s'"])+"""  # of a shell
COMMAND = rf"\btrain(?: (?=-|\S*=){WORD})+|\btensorboard --logdir {WORD}|\bpip install {WORD}"
# Characters that mark something in Markdown, where they do: an underscore does not within a word.
MARKED = r"[\\|`*<\[]|(?<!\w)_|_(?!\w)|&(?=#?\w+;)|~(?=~)|^[#>+-](?=\s|#)"


def printable(text: object) -> str:
    """Replace control characters by `?`; line breaks stay."""
    return re.sub(HIDDEN, "?", str(text))


def in_one_line(text: object) -> str:
    """Return a text without control characters and line breaks."""
    return " ".join(printable(text).split())


def counted(noun: str, count: int) -> str:
    """Return `1 run`, `1,000 runs`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def from_here(path: str | Path) -> Path:
    """Return a path as it is typed from the current folder, where it lies below."""
    path = Path(path)
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


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


def rounded_up(fraction: float) -> str:
    """Return a fraction with one digit, rounded up, as advice names it: 0.139 gives 0.2, and 0.95 the largest, 0.9."""
    unit = 10.0 ** math.floor(math.log10(fraction))
    return f"{min(math.ceil(fraction / unit - 1e-9) * unit, 0.9):.1g}"


def as_command(*words: object) -> str:
    """Return words as a command to paste into a shell, with quotes where it needs them."""
    return printable(shlex.join(map(str, words)))


def wrap(text: str, width: int, hang: int | None = None) -> str:
    """Break lines of more than `width` columns: between fields that two spaces separate, else between words.

    A command to paste, and a word that is longer than a line, are left whole; a list is broken behind its commas.

    Args:
        hang: indentation of the lines that are added; by default two columns more than that of the line.
    """
    return "\n".join(part for line in text.split("\n") for part in wrap_line(line, width, hang))


def wrap_line(line: str, width: int, hang: int | None) -> list[str]:
    """Return a line as one or more of at most `width` columns, where its words allow it."""
    if columns(line) <= width:
        return [line]
    start = line[: len(line) - len(line.lstrip(" "))]
    hang = len(start) + 2 if hang is None or width - hang < LEAST_ROOM else hang
    lines, empty = [start], True
    for gap, piece in pieces(line.strip(" "), width - hang):
        if not empty and columns(lines[-1] + gap + piece) > width:
            lines.append(" " * hang + piece)
        else:
            lines[-1] += piece if empty else gap + piece
        empty = False
    return lines


def pieces(text: str, room: int) -> Iterator[tuple[str, str]]:
    """Yield what may not be broken in a line, each with the spaces before it: fields, or the words of long ones."""
    for gap, field in re.findall(r"( *)(\S+(?: \S+)*)", text):
        if columns(field) <= room:
            yield gap, field
            continue
        for word in re.findall(rf"{COMMAND}|\S+", field):
            parts = [word] if columns(word) <= room or " " in word else re.findall("[^,]+,*|,+", word)
            for part in parts:
                yield gap, part
                gap = ""
            gap = " "


def columns(text: str) -> int:
    """Return the columns that a terminal takes for a text."""
    if text.isascii():
        return len(text)
    wide = (unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + sum(wide) - sum(map(bool, map(unicodedata.combining, text)))


def escaped(text: str) -> str:
    """Return text that Markdown shows as it is, HTML and its entities included."""
    return re.sub(MARKED, r"\\\g<0>", text)


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table in Markdown."""
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(map(escaped, row))} |"


def as_csv_cell(value: object) -> object:
    """Return a value of a table; a text that a spreadsheet would compute, behind the quote by which it shows it."""
    if not isinstance(value, str) or value == "-" or not value.lstrip().startswith(FORMULA):
        return value
    try:
        float(value)
        return value
    except ValueError:
        return f"'{value}"


def epochs(number: float) -> str:
    """Return a number of epochs, with two decimals where it is not whole."""
    return f"{number:.0f}" if number == int(number) else f"{number:.2f}"


def significant(value: float, digits: int) -> str:
    """Return a number with so many significant digits; of a larger one all that stand before the point: 1128203."""
    return f"{value:.0f}" if 10**digits <= abs(value) < PLAIN else f"{value:.{digits}g}"


def figures(scores: Mapping[str, float | None]) -> str:
    """Return scores as `loss 0.1234  accuracy 0.9800`."""
    return "  ".join(f"{name} {figure(value)}" for name, value in scores.items())


def figure(value: float | None) -> str:
    """Return a score with four decimals; `nan` for None, a non-finite one."""
    return "nan" if value is None else f"{value:.4f}" if abs(value) < 1e4 else f"{value:.3e}"
