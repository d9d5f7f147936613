"""Rows and columns of a table whose values are missing: which are used, and what to write where none may be missing."""

from collections.abc import Mapping, Sequence

import numpy as np

from trainer.base.errors import DataError
from trainer.data.column_names import as_typed
from trainer.data.columns import Column
from trainer.data.table import Table
from trainer.data.target import Target

LISTED = 5  # columns and rows in a message
FEWEST_ROWS = 5


def complete_rows(
    path: str, table: Table, target: Target, used: Sequence[Column], missing: str
) -> tuple[np.ndarray, str]:
    """Return which rows are used (N,), and a note on those with missing values.

    Errors: DataError, with the columns and the rows, where missing=stop.
    """
    gaps = {column.name: column.missing for column in used if column.missing.any()}
    gaps |= {target.name: target.missing} if target.missing.any() else {}
    incomplete = np.any([*gaps.values()], axis=0) if gaps else np.zeros(len(target.values), dtype=bool)
    if missing == "stop" and gaps:
        raise missing_values(path, table, target, gaps, incomplete)
    kept = ~(incomplete if missing == "drop" else target.missing)
    if kept.sum() < FEWEST_ROWS:
        left = f"{int(kept.sum())} of {len(kept):,} rows" if gaps else f"{len(kept)} rows"
        raise DataError(f"{path}: {left} are left, too few to train, validate and test")
    counts = ", ".join(f"{name} {int(rows.sum()):,}" for name, rows in gaps.items())
    if missing == "drop" and gaps:
        return kept, f"data.missing=drop: leaves out {int(incomplete.sum()):,} of {len(kept):,} rows ({counts} missing)"
    if gaps:
        gone = f", and rows without {target.name} are left out" if target.missing.any() else ""
        return kept, f"data.missing=impute: missing values are filled in{gone} ({counts} missing)"
    return kept, ""


def missing_values(
    path: str, table: Table, target: Target, gaps: Mapping[str, np.ndarray], incomplete: np.ndarray
) -> DataError:
    """Return the error for missing values: columns, rows, and what to write."""
    listed = []
    for name, rows in [*gaps.items()][:LISTED]:
        numbers = [str(row) for row in table.frame.index[rows][:LISTED]]
        more = f" and {int(rows.sum()) - LISTED:,} more" if rows.sum() > LISTED else ""
        listed.append(f"{name} in row{'s' * (len(numbers) > 1)} {', '.join(numbers)}{more}")
    listed += [f"{len(gaps) - LISTED} more columns"] if len(gaps) > LISTED else []
    hints = []
    if (~incomplete).sum() >= FEWEST_ROWS:
        hints.append(f"data.missing=drop to leave out {int(incomplete.sum()):,} of {len(incomplete):,} rows")
    if set(gaps) != {target.name}:
        hints.append("data.missing=impute to fill in means, and a category of its own")
    worst = max(gaps, key=lambda name: gaps[name].sum())
    if worst != target.name and gaps[worst].mean() > 0.5:
        hints.append(f"{as_typed('data.ignore', worst)} to leave out the column")
    return DataError(f"{path}: missing values: {'; '.join(listed)}\nwrite {', or '.join(hints)}")


def with_values(used: Sequence[Column]) -> tuple[list[Column], str]:
    """Return the columns that have a value in any row, and a note on the others."""
    empty = ", ".join(column.name for column in used if column.missing.all())
    note = f"left out: {empty}, without any value in the rows that are used" if empty else ""
    return [column for column in used if not column.missing.all()], note
