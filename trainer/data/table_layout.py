"""Layout of a table in text, by its first rows: separator, comments, header and decimal sign. No pandas here."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from trainer.data.cells import GROUPED, is_missing, number

SEPARATORS = {"tab": "\t", "semicolon": ";", "pipe": "|", "comma": ",", "space": " "}  # the first that fits is taken
FITTING = 0.5  # of the rows have the commonest number of values, where a separator fits


def records(text: str, separator: str) -> Iterator[list[str]]:
    """Yield the rows of a text as lists of cells, stopping where one cannot be read."""
    lines = (line.strip() + "\n" for line in text.split("\n")) if separator == "space" else io.StringIO(text)
    try:
        yield from csv.reader(lines, delimiter=SEPARATORS[separator], skipinitialspace=True)
    except csv.Error:  # a cell beyond 128 KiB: a quote that is never closed
        return


def is_unclosed(text: str) -> bool:
    """Return whether a text has a quote without its partner."""
    return text.count('"') % 2 == 1


def is_blank(row: Sequence[str]) -> bool:
    """Return whether a row has no values."""
    return not any(map(str.strip, row))


def without_comments(rows: Sequence[list[str]]) -> tuple[int, list[list[str]]]:
    """Return how many rows at the start are comments, which begin with #; and the others.

    A row that begins with # and has a value for each column is the header, as NumPy writes it.
    """
    widths = Counter(len(row) for row in rows if not row[0].startswith("#"))
    usual = max(widths, key=widths.get, default=0)
    for place, (first, *others) in enumerate(rows):
        if not first.startswith("#"):
            return place, [*rows[place:]]
        names = others if first == "#" and len(others) == usual else [first.removeprefix("# "), *others]
        if len(names) == usual:
            return place, [names, *rows[place + 1 :]]
    return len(rows), []


def find_separator(sample: str) -> str:
    """Return the separator that gives all rows the same number of values, or else most of them; comma without any."""
    shares = {}
    for separator in SEPARATORS:
        rows = [row for row in records(sample, separator) if not is_blank(row)]
        widths = Counter(map(len, rows[1:] or rows))  # a header may lack the name of the first column
        (width, count), *_ = widths.most_common(1) or [(1, 1)]
        shares[separator] = count / widths.total() if width > 1 else 0.0
    in_text = shares.pop("space")  # single spaces are in texts as well
    if best := next((separator for separator, share in shares.items() if share == 1), None):
        return best
    best = max(shares, key=shares.get)
    if shares[best] >= FITTING:
        return best
    return "space" if in_text == 1 else "comma"


def looks_like_a_header(rows: Sequence[Sequence[str]], known: Sequence[str | int]) -> bool:
    """Return whether the first row holds names: a typed one, text above numbers, or texts that never come again."""
    first, *others = [[cell.strip() for cell in row] for row in rows]
    names = [str(name) for name in known if isinstance(name, str) or abs(name) > len(first)]  # others number a column
    columns = [[row[place] for row in others if place < len(row)] for place in range(len(first))]
    has_numbers = any(number(cell) is not None for cell in first)
    if any(cell in names and not (has_numbers and cell in cells) for cell, cells in zip(first, columns)):
        return True  # a name beside numbers that comes again below is a value
    texts = [not is_missing(cell) and number(cell) is None for cell in first]
    below = [[cell for cell in cells if not is_missing(cell)] for cells in columns]
    if any(text and cells and all(number(cell) is not None for cell in cells) for text, cells in zip(texts, below)):
        return True
    if has_numbers:
        return False
    return all(cell not in cells for cell, cells in zip(first, columns) if cell)


def has_decimal_comma(rows: Sequence[Sequence[str]], separator: str) -> bool:
    """Return whether more numbers have a comma in front of their last digits than a point.

    Between commas 1,234 in quotes is a whole number.
    """
    cells = [
        cell.strip() for row in rows for cell in row if separator != "comma" or not GROUPED.fullmatch(cell.strip())
    ]
    counts = [sum(bool(re.fullmatch(rf"[+-]?[\d.,]*{sign}\d+", cell)) for cell in cells) for sign in (",", r"\.")]
    return counts[0] > counts[1]
