"""Tables in text files, read by pandas: cells, names of columns, and how the file is written."""

import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trainer.base.errors import ConfigError, DataError
from trainer.base.text import counted, printable
from trainer.data.cells import MISSING
from trainer.data.table_layout import (
    SEPARATORS,
    find_separator,
    has_decimal_comma,
    is_blank,
    is_unclosed,
    looks_like_a_header,
    records,
    without_comments,
)
from trainer.data.text_file import read_text

if TYPE_CHECKING:
    import numpy
    import pandas

UNCLOSED = 'a quote (") is opened and never closed'
SAMPLE = 2**17  # characters at the start of a text that are looked at


@dataclass(frozen=True)
class Table:
    """Cells of a file: columns of numbers, and of text where a cell is none.

    Args:
        frame: pandas' table; its columns are 0, 1, ..., its index the rows of the file, counted from 1.
        headings: of the columns in the file.
        names: headings that are made different, `column 3` where there is none.
        has_header: whether the names are the first row's.
        decimal_comma: whether 1,5 is one and a half.
        how: how the file was read, for the user.
    """

    frame: "pandas.DataFrame"
    headings: list[str]
    names: list[str]
    has_header: bool
    decimal_comma: bool
    how: str

    def rows(self, chosen: "numpy.ndarray") -> "Table":
        """Return the table of some of the rows."""
        return replace(self, frame=self.frame[chosen])


def read_table(
    path: str, separator: str, header: str, decimal: str, encoding: str, known: Sequence[str | int]
) -> Table:
    """Return the table in a file. Settings are `auto` or what they are called in conf/data/csv.yaml.

    Args:
        known: names and numbers of columns that were typed; a first row that holds such a name is the header.
    Errors: ConfigError without pandas; DataError, which names the file and the row.
    """
    require_pandas()
    text, encoding = read_text(path, encoding)
    sample = beginning(text)
    if separator == "auto":
        separator = find_separator(sample)
    rows = [row for row in records(sample, separator) if not is_blank(row)]
    comments, rows = without_comments(rows if sample == text else rows[:-1])
    if not rows:
        raise DataError(f"{path}: {UNCLOSED if is_unclosed(text) else 'is empty'}")
    has_header = looks_like_a_header(rows, known) if header == "auto" else header == "yes"
    decimal_comma = has_decimal_comma(rows[has_header:], separator) if decimal == "auto" else decimal == "comma"
    skipped = lines_before(text, separator, comments + has_header)
    body = text.split("\n", skipped)[skipped] if text.count("\n") >= skipped else ""
    if not body.strip():
        raise DataError(f"{path}: {UNCLOSED if is_unclosed(text) else 'has a header, but no rows below it'}")
    headings, width = headings_of(rows, has_header), max(map(len, rows))
    names = made_different(headings)
    require_columns(path, rows, len(names), separator)
    frame = parsed(path, body, separator, decimal_comma, range(width), skipped, len(names))
    if frame.iloc[:, len(names) :].notna().to_numpy().any():
        raise ragged(path, body, separator, len(names), skipped)
    return Table(
        frame=frame.iloc[:, : len(names)],
        headings=headings,
        names=names,
        has_header=has_header,
        decimal_comma=decimal_comma,
        how=f"{len(frame):,} rows of {len(names)} columns, separated by {separator}, "
        f"{'a header' if has_header else 'no header'}{', decimal comma' if decimal_comma else ''}"
        f"{'' if encoding == 'utf-8' else f', {encoding}'}",
    )


def beginning(text: str) -> str:
    """Return the lines in the first SAMPLE characters of a text, or all where it is shorter."""
    return text if len(text) <= SAMPLE else text[: text.rfind("\n", 0, SAMPLE) + 1 or SAMPLE]


def require_pandas() -> None:
    """Check that pandas is installed. Errors: ConfigError."""
    try:
        import pandas  # noqa: F401
    except ImportError:
        raise ConfigError("data=csv: needs pandas; pip install 'trainer[tables]'") from None


def lines_before(text: str, separator: str, count: int) -> int:
    """Return the number of lines before the row that follows `count` rows, comments and the header."""
    if not count:
        return len(re.match(r"(?:[ \t]*\n)*", text)[0].splitlines())
    reader = csv.reader(io.StringIO(text), delimiter=SEPARATORS[separator], skipinitialspace=True)
    filled = (row for row in reader if not is_blank(row))
    next(itertools.islice(filled, count - 1, None))
    return reader.line_num  # a quoted name may have line breaks


def headings_of(rows: Sequence[Sequence[str]], has_header: bool) -> list[str]:
    """Return the names of the columns in the first row; empty ones where it holds no names."""
    if not has_header:
        return [""] * Counter(map(len, rows)).most_common(1)[0][0]
    first, *others = rows
    headings = [printable(" ".join(name.split())) for name in first]
    if others and all(len(row) == len(headings) + 1 and row[-1].strip() for row in others):
        headings.insert(0, "")  # names of rows, as R writes them
    while len(headings) > 1 and not headings[-1] and all(is_blank(row[len(headings) - 1 :]) for row in others):
        headings.pop()  # a separator at the ends of lines
    return headings


def require_columns(path: str, rows: Sequence[Sequence[str]], count: int, separator: str) -> None:
    """Require two columns at least, and no more values in most rows than the first row has. Errors: DataError."""
    wider = Counter(len(row) for row in rows[1:] if not is_blank(row[count:]))
    if wider.total() > len(rows[1:]) / 2:
        first = f"its first row has {counted('value', count)}, most others have {max(wider, key=wider.get)}"
        hint = "it must name every column, with nothing above it"
        raise DataError(f"{path}: {first} (separated by {separator}); {hint}")
    if count == 1:
        what = f"has one column, separated by {separator}, and must have a target and an input"
        raise DataError(f"{path}: {what}; for another separator write data.separator=NAME")


def made_different(headings: Sequence[str]) -> list[str]:
    """Return names for all columns: of two that are equal the second is `name (2)`, one without is `column 3`."""
    names: list[str] = []
    for place, heading in enumerate(headings, 1):
        name, copy = heading or f"column {place}", 2
        while name in names:
            name, copy = f"{heading} ({copy})", copy + 1
        names.append(name)
    return names


def parsed(
    path: str, body: str, separator: str, decimal_comma: bool, places: range, skipped: int, columns: int
) -> "pandas.DataFrame":
    """Return the rows below the header, without those that are empty. Errors: DataError."""
    import pandas

    try:
        frame = pandas.read_csv(
            io.StringIO(body),
            sep=r"\s+" if separator == "space" else SEPARATORS[separator],
            header=None,
            names=places,
            index_col=False,
            decimal="," if decimal_comma else ".",
            keep_default_na=False,
            na_values=sorted(MISSING),
            skip_blank_lines=False,  # the index counts them
            skipinitialspace=True,
            low_memory=False,  # one type for all cells of a column
        )
    except pandas.errors.ParserError as error:
        if "EOF inside string" in str(error):
            raise DataError(f"{path}: {UNCLOSED}") from None
        raise ragged(path, body, separator, columns, skipped) from None
    frame.index += skipped + 1
    return frame.dropna(how="all")


def ragged(path: str, body: str, separator: str, columns: int, skipped: int) -> DataError:
    """Return the error for rows with more values than there are columns."""
    numbered = enumerate(records(body, separator), skipped + 1)
    wider = [(place, len(row)) for place, row in numbered if not is_blank(row[columns:])]
    if not wider:
        return DataError(f"{path}: cannot be read as a table of {columns} columns, separated by {separator}")
    more = f", and {len(wider) - 1} more rows have too many" if len(wider) > 1 else ""
    (place, length), hint = wider[0], "put a value that holds the separator in quotes, or write data.separator=NAME"
    return DataError(
        f"{path}: row {place} has {length} values for {columns} columns (separated by {separator}){more}; {hint}"
    )
