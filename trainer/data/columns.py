"""Columns of a table as numbers or as categories, and the inputs that they make."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainer.base.text import printable
from trainer.data.cells import MISSING, MISSING_NUMBERS, number
from trainer.data.inputs import InputColumn

if TYPE_CHECKING:
    import pandas

MAX_CATEGORIES = 50  # different texts of a column that is used without being asked for
FEW = 10  # different texts that are categories however few rows there are
RARE = 0.1  # fraction of the cells up to which cells that are no numbers are mistakes
ISO_DATE = r"\d{4}[-/]\d{1,2}[-/]\d{1,2}(?:[ T]\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?"
OTHER_DATE = r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}(?: .*)?"
NAMES_OF_ROWS = r"(?:^|[^a-z0-9])(?:id|index|idx|uuid|guid|rownames|unnamed: ?0)$"


@dataclass(frozen=True)
class Column:
    """Input column.

    Args:
        name: of the column.
        values: (N,) numbers, NaN where missing; for categories their places in `labels`, -1 where missing.
        labels: names of the categories; None for numbers.
        dates: whether the numbers are days since 1970.
    """

    name: str
    values: np.ndarray
    labels: list[str] | None = None
    dates: bool = False

    @property
    def missing(self) -> np.ndarray:
        """Mask of the missing values (N,)."""
        return np.isnan(self.values) if self.labels is None else self.values < 0

    def rows(self, chosen: np.ndarray) -> "Column":
        """Return the column of some of the rows."""
        return Column(self.name, self.values[chosen], self.labels, self.dates)


class NotUsed(Exception):
    """Raised for a column that is no input, with the reason; `key` of `data` makes it one all the same."""

    def __init__(self, reason: str, key: str | None = None) -> None:
        super().__init__(reason)
        self.key = key


class NotNumbers(Exception):
    """Raised for a column that should hold numbers and has other cells; the message names the first of them."""

    def __init__(self, cells: Sequence[tuple[int, str]], count: int) -> None:
        listed = ", ".join(f"{printable(text)!r} in row {row}" for row, text in cells)
        more = f" and {count - len(cells):,} more" if count > len(cells) else ""
        super().__init__(f"{listed}{more} {'is not a number' if count == 1 else 'are not numbers'}")


def as_numbers(cells: "pandas.Series", decimal_comma: bool) -> np.ndarray:
    """Return the numbers of a column, NaN where one is missing or not finite. Errors: NotNumbers."""
    values, wrong = parsed_numbers(cells, decimal_comma)
    if wrong.any():
        raise NotNumbers([(row, str(cells.loc[row])) for row in cells.index[wrong][:3]], int(wrong.sum()))
    return values


def parsed_numbers(cells: "pandas.Series", decimal_comma: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of a column, NaN for other cells, and which of those are not missing but no numbers."""
    from pandas import factorize
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    if is_numeric_dtype(cells) and not is_bool_dtype(cells):
        values = cells.to_numpy(dtype=np.float64, na_value=np.nan)
        return np.where(np.isfinite(values), values, np.nan), np.zeros(len(values), dtype=bool)
    places, different = factorize(cells.astype(object))  # -1 where missing
    texts = [str(text).strip() for text in different]
    found = [number(text, decimal_comma) for text in texts]
    known = np.array([np.nan if value is None else value for value in found] + [np.nan])
    absent = [text in MISSING or text in MISSING_NUMBERS for text in texts]
    wrong = np.array([value is None and not gone for value, gone in zip(found, absent)] + [False])
    return known[places], wrong[places]


def as_labels(cells: "pandas.Series") -> tuple[np.ndarray, list[str]]:
    """Return the place of each cell in the sorted different texts of a column, -1 where missing; and the texts."""
    from pandas import factorize

    places, different = factorize(cells.astype(object))
    texts = [printable(f"{value:.15g}" if isinstance(value, float) else str(value).strip()) for value in different]
    known = sorted({text for text in texts if text not in MISSING}, key=by_number)
    place = {text: at for at, text in enumerate(known)}
    return np.array([place.get(text, -1) for text in texts] + [-1])[places], known


def by_number(text: str) -> tuple[bool, float, str]:
    """Return a key that sorts numbers by size, before texts."""
    value = number(text)
    return value is None, value or 0.0, text


def as_days(cells: "pandas.Series") -> np.ndarray | None:
    """Return dates as days since 1970, NaN where missing; None where a cell is no 2024-01-31."""
    from pandas import factorize, to_datetime

    places, different = factorize(cells.astype(object))  # -1 where missing
    texts = ["" if (text := str(cell).strip()) in MISSING else text for cell in different]
    if not all(re.fullmatch(ISO_DATE, text) for text in texts if text):
        return None
    times = to_datetime([text or None for text in texts], utc=True, format="mixed", errors="coerce")
    days = (times - to_datetime(0, utc=True)).total_seconds().to_numpy(dtype=np.float64) / 86400
    there = np.array([bool(text) for text in texts])
    return np.append(days, np.nan)[places] if np.isfinite(days[there]).all() else None


def input_column(name: str, cells: "pandas.Series", decimal_comma: bool, has_name: bool = True) -> Column:
    """Return a column as numbers or as categories, by its cells.

    Args:
        has_name: whether the header has a name for it; a column without one often numbers the rows.
    Errors: NotUsed; NotNumbers where nearly all cells are numbers.
    """
    values, wrong = parsed_numbers(cells, decimal_comma)
    present = ~np.isnan(values)
    if not wrong.any():
        if not present.any():
            raise NotUsed("is empty")
        require_information(name if has_name else "index", values[present])
        return Column(name, values)
    if is_mistake(values[present], wrong):
        as_numbers(cells, decimal_comma)  # raises
    if (days := as_days(cells)) is not None:
        return Column(name, days, dates=True)
    labels, texts = as_labels(cells)
    count = int((labels >= 0).sum())
    if len(texts) == 1:
        raise NotUsed(f"is always {texts[0]}")
    if all(re.fullmatch(OTHER_DATE, text) for text in texts):
        raise NotUsed(f"has ambiguous dates, as {texts[0]} (2024-01-31 would be clear)", "categories")
    if len(texts) == count or len(texts) > MAX_CATEGORIES or not may_be_classes(len(texts), count):
        raise NotUsed(f"has {len(texts):,} different texts in {count:,} rows", "categories")
    return Column(name, labels, texts)


def may_be_classes(different: int, rows: int) -> bool:
    """Return whether so many different values may be classes: not one in almost every row."""
    return different <= max(FEW, rows / 2)


def is_mistake(present: np.ndarray, wrong: np.ndarray) -> bool:
    """Return whether cells that are no numbers are mistakes: few of them among many numbers."""
    return 0 < wrong.sum() <= min(len(present) / 2, max(1, RARE * len(wrong)))


def require_information(name: str, values: np.ndarray) -> None:
    """Refuse numbers that are all equal or, by their name and their differences, only number the rows.

    Errors: NotUsed.
    """
    different = len(np.unique(values))
    if different == 1:
        raise NotUsed(f"is always {values[0]:g}")
    spelled = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    if different == len(values) and (values % 1 == 0).all() and re.search(NAMES_OF_ROWS, spelled):
        raise NotUsed("numbers the rows", "numbers")


def described(column: Column, place: int, train: np.ndarray, impute: bool) -> InputColumn:
    """Return the inputs that a column makes, fitted to the training rows.

    Numbers are themselves, a missing one the mean of the training rows. Categories are one-hot over those of the
    training rows; a missing one is a category of its own where it is imputed and there are any in training.

    Args:
        place: of the column in the file.
        train: the training rows.
    """
    if column.labels is None:
        values, there = column.values, ~column.missing
        chosen = values[train][there[train]] if there[train].any() else values[there]
        kind, fill = "date" if column.dates else "number", float(chosen.mean()) if impute else None
        return InputColumn(name=column.name, kind=kind, fill=fill, place=place)
    places = column.values[train]
    names = tuple(column.labels[known] for known in np.unique(places[places >= 0]))
    missing = impute and bool((places < 0).any())
    return InputColumn(name=column.name, kind="category", categories=names, missing=missing, place=place)


def encoded(column: Column, inputs: InputColumn) -> tuple[np.ndarray, list[int]]:
    """Return the inputs (N, k) of a column, and the rows with a category that has none: all are zeros there."""
    if column.labels is None:
        return (column.values if inputs.fill is None else np.where(column.missing, inputs.fill, column.values))[
            :, None
        ], []
    place = {name: at for at, name in enumerate(inputs.categories)}
    absent = len(inputs.categories) if inputs.missing else -1
    at = np.array([*(place.get(name, -1) for name in column.labels), absent])[column.values]  # -1 is the last
    unknown = np.flatnonzero((at < 0) & (column.values >= 0))
    return (at[:, None] == np.arange(inputs.width)).astype(np.float64), unknown.tolist()
