"""Rows of tables as samples, read one after another, whatever the length of the file. No pandas here."""

import bz2
import csv
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import numpy as np
import torch
from torch import Tensor

from trainer.base.errors import DataError
from trainer.base.paths import expanded
from trainer.base.plain_files import require_regular
from trainer.base.text import nearest, printable
from trainer.data.cells import MISSING, MISSING_NUMBERS, number
from trainer.data.columns import ISO_DATE
from trainer.data.inputs import InputColumn, TableInput
from trainer.data.table import SAMPLE, beginning, headings_of, made_different
from trainer.data.table_layout import (
    SEPARATORS,
    find_separator,
    has_decimal_comma,
    is_blank,
    looks_like_a_header,
    records,
    without_comments,
)
from trainer.data.text_file import COMPRESSED, decoded

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BROKEN = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, csv.Error)


def read_rows(file: str, kind: TableInput) -> Iterator[tuple[int, list[str] | str]]:
    """Yield the number of each row in a file, counted from 1 with the header, and its cells of the model's columns.

    A row of another length has the reason for that in place of cells. The decimal sign is a point in all cells.
    Errors: DataError for a file that is no such table, or lacks a column.
    """
    name = printable(file)
    try:
        with opened_text(file) as text:
            start = beginning(text.read(SAMPLE))
            if not start.strip():
                raise DataError(f"{name}: is empty")
            if "\0" in start:
                raise DataError(f"{name}: is not a table in a text file")
            text.seek(0)
            yield from rows_in(name, text, start, kind)
    except BROKEN as error:
        raise DataError(f"{name}: cannot be read as a table ({getattr(error, 'strerror', None) or error})") from None


@contextmanager
def opened_text(file: str) -> Iterator[io.TextIOWrapper]:
    """Open a text file, whatever its compression and encoding."""
    place = expanded(file)
    require_regular(place)
    with open(place, "rb") as raw:
        first = raw.read(8)
        library = next((made for mark, made in COMPRESSED.items() if first.startswith(mark)), None)
        raw.seek(0)
        opened = {gzip: gzip.open, bz2: bz2.open, lzma: lzma.open}[library](raw) if library else raw
        sample = opened.read(4 * SAMPLE)
        whole_lines = sample[: sample.rfind(b"\n") + 1] or sample  # a character may be cut at the end
        encoding = decoded(file, whole_lines, "auto")[1]
        opened.seek(0)
        encoding = "utf-8-sig" if encoding == "utf-8" else encoding
        yield io.TextIOWrapper(opened, encoding=encoding, errors="replace", newline=None)


def rows_in(name: str, text: io.TextIOWrapper, start: str, kind: TableInput) -> Iterator[tuple[int, list[str] | str]]:
    """Yield the rows of an open file, whose beginning is `start`. Errors: DataError."""
    separator = find_separator(start)
    rows = [row for row in records(start, separator) if not is_blank(row)]
    comments, rows = without_comments(rows)
    if not rows:
        raise DataError(f"{name}: has no rows")
    names = [column.name for column in kind.columns]
    has_header = kind.header and (
        bool({*names} & {cell.strip() for cell in rows[0]}) or looks_like_a_header(rows, names)
    )
    places = places_of(name, rows, has_header, kind)
    comma = has_decimal_comma(rows[has_header:], separator)
    width = len(headings_of(rows, has_header))
    lines = (line.strip() + "\n" for line in text) if separator == "space" else text
    reader = csv.reader(lines, delimiter=SEPARATORS[separator], skipinitialspace=True)
    skipped = 0
    for number_of_row, row in enumerate(reader, 1):
        if is_blank(row):
            continue
        if skipped < comments + has_header:
            skipped += 1
        elif len(row) > width and not is_blank(row[width:]) or max(places) >= len(row):
            yield number_of_row, f"has {len(row)} values for {width} columns"
        else:
            cells = [row[place].strip() for place in places]
            yield number_of_row, [cell.replace(".", "").replace(",", ".") for cell in cells] if comma else cells


def places_of(name: str, rows: Sequence[Sequence[str]], has_header: bool, kind: TableInput) -> list[int]:
    """Return the places of the model's columns in a file: by name, without names by number. Errors: DataError."""
    found = made_different(headings_of(rows, has_header))
    wanted = [column.name for column in kind.columns]
    if has_header:
        missing = [column for column in wanted if column not in found]
        if not missing:
            return [found.index(column) for column in wanted]
        lacks = (
            f"{name}: lacks the column{'s' * (len(missing) > 1)} {', '.join(missing[:5])}{', ...' * (len(missing) > 5)}"
        )
        near = nearest(missing[0], [column for column in found if column not in wanted])
        raise DataError(f"{lacks}; {f'{missing[0]} may be its {near[0]}' if near else f'it has {listed(found)}'}")
    count = len(found)
    if count == kind.count:
        return [column.place for column in kind.columns]
    if kind.target is not None and count == kind.count - 1:  # the file of inputs alone
        return [column.place - (column.place > kind.target) for column in kind.columns]
    if count == len(wanted):
        return [*range(count)]
    raise DataError(f"{name}: has no header and {count} columns; the training file had {kind.count}")


def listed(names: Sequence[str]) -> str:
    """Return the first names of columns, each shortened."""
    return ", ".join(printable(name[:40]) for name in names[:10]) + ", ..." * (len(names) > 10)


def text_of(value: object) -> str:
    """Return a cell as a file has it; empty where it is missing."""
    if value is None or value != value:
        return ""
    return f"{value:.17g}" if isinstance(value, float) else str(value)


def encoded_rows(rows: Sequence[list[str] | str], kind: TableInput) -> list[Tensor | str]:
    """Return a sample (D,) for each row of cells, or why it has none: a value is missing or wrong."""
    problems = [row if isinstance(row, str) else "" for row in rows]
    good = [place for place, problem in enumerate(problems) if not problem]
    values = np.zeros((len(rows), *kind.shape))
    start = 0
    for at, column in enumerate(kind.columns):
        cells = [rows[place][at] for place in good]
        made, wrong = encoders[column.kind](cells, column)
        values[good, start : start + column.width] = made
        for place, problem in wrong.items():
            problems[good[place]] = problems[good[place]] or f"{column.name}: {problem}"
        start += column.width
    with np.errstate(over="ignore"):
        tensors = torch.from_numpy(values.astype(np.float32))
    for place in (~tensors.isfinite().all(1)).nonzero().flatten().tolist():
        problems[place] = problems[place] or "has numbers beyond 3e38, which float32 cannot hold"
    return [problem or sample for problem, sample in zip(problems, tensors)]


def encoded_numbers(cells: Sequence[str], column: InputColumn) -> tuple[np.ndarray, dict[int, str]]:
    """Return the inputs (N, 1) of a column of numbers, and what is wrong with some cells."""
    try:
        values = np.array(cells, dtype=np.str_).astype(np.float64)  # fast; it takes some texts that are no numbers
        if np.isfinite(values).all() and not any("_" in cell for cell in cells):
            return values[:, None], {}
    except ValueError:
        pass
    return filled(cells, [number(cell) for cell in cells], column, MISSING | MISSING_NUMBERS, "is not a number")


def encoded_dates(cells: Sequence[str], column: InputColumn) -> tuple[np.ndarray, dict[int, str]]:
    """Return the inputs (N, 1) of a column of dates, days since 1970, and what is wrong with some cells."""
    return filled(cells, [days_of(cell) for cell in cells], column, MISSING, "is no date as 2024-01-31")


def filled(
    cells: Sequence[str], values: Sequence[float | None], column: InputColumn, signs: frozenset, otherwise: str
) -> tuple[np.ndarray, dict[int, str]]:
    """Return values (N, 1), with the column's fill for those that are missing, and what is wrong with others."""
    wrong = {}
    made = np.zeros((len(cells), 1))
    for place, (cell, value) in enumerate(zip(cells, values)):
        if value is not None:
            made[place] = value
        elif cell in signs and column.fill is not None:
            made[place] = column.fill
        else:
            wrong[place] = "is missing" if cell in signs else f"{printable(cell)!r} {otherwise}"
    return made, wrong


def encoded_categories(cells: Sequence[str], column: InputColumn) -> tuple[np.ndarray, dict[int, str]]:
    """Return the inputs (N, k) of a column of categories: all zeros for one that the training split did not have."""
    known = {name: place for place, name in enumerate(column.categories)}
    made, wrong = np.zeros((len(cells), column.width)), {}
    for row, cell in enumerate(cells):
        if cell in MISSING:
            if column.missing:
                made[row, -1] = 1
            else:
                wrong[row] = "is missing"
        elif (place := place_of(cell, known)) is not None:
            made[row, place] = 1
    return made, wrong


def unknown_categories(rows: Sequence[list[str] | str], kind: TableInput) -> list[str]:
    """Return for each row of cells the first category in it that the training did not have; empty where there is none.

    The model takes the row all the same, as one of no category.
    """
    notes = [""] * len(rows)
    for at, column in reversed([*enumerate(kind.columns)]):
        if column.kind != "category":
            continue
        known = {name: place for place, name in enumerate(column.categories)}
        for place, row in enumerate(rows):
            cell = "" if isinstance(row, str) else row[at]
            if cell not in MISSING and place_of(cell, known) is None:
                notes[place] = f"{column.name}: the training split does not have {printable(cell)!r}"
    return notes


def place_of(cell: str, known: dict[str, int]) -> int | None:
    """Return the place of a category, also where the training file was read as numbers or as true and false."""
    if cell in known:
        return known[cell]
    value = number(cell)
    return known.get(f"{value:.15g}" if value is not None else cell.capitalize())


def days_of(cell: str) -> float | None:
    """Return a date as days since 1970; None where it is no 2024-01-31."""
    if not re.fullmatch(ISO_DATE, cell):
        return None
    day, clock, zone = re.fullmatch(r"([\d/-]+?)(?:[ T]([\d:.]+))?(Z|[+-]\d{2}:?\d{2})?", cell).groups()
    year, month, date = map(int, re.split("[-/]", day))
    hours, minutes, seconds = (*map(float, (clock or "0:0:0").split(":")), 0.0)[:3]
    try:
        moment = datetime(year, month, date, tzinfo=UTC)
    except ValueError:
        return None
    offset = 0.0
    if zone and zone != "Z":
        digits = zone[1:].replace(":", "")
        offset = (int(digits[:2]) * 60 + int(digits[2:])) * (1 if zone[0] == "+" else -1)
    moment += timedelta(hours=hours, minutes=minutes - offset, seconds=seconds)
    return (moment - EPOCH).total_seconds() / 86400


encoders = {"number": encoded_numbers, "date": encoded_dates, "category": encoded_categories}
