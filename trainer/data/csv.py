"""Tables of one's own, in a text file."""

import codecs
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainer.base.checks import require_one_of
from trainer.base.errors import ConfigError, DataError
from trainer.base.paths import expanded
from trainer.base.text import significant
from trainer.data.column_names import as_typed, listed, place_of
from trainer.data.columns import (
    Column,
    NotNumbers,
    NotUsed,
    as_labels,
    as_numbers,
    described,
    encoded,
    input_column,
)
from trainer.data.inputs import InputColumn, Predicted, TableInput
from trainer.data.missing_values import complete_rows, with_values
from trainer.data.splits import Names, Split, SplitByFraction, Splits, standardize_targets
from trainer.data.table import Table, read_table
from trainer.data.table_layout import SEPARATORS
from trainer.data.target import TASKS, read_target

LISTED = 5  # names in a message


@dataclass(frozen=True, kw_only=True)
class Csv(SplitByFraction):
    """Table in a text file, of which one column is the target and the others are inputs.

    A column of numbers is an input; one of texts is one-hot over the categories of the training split. A date written
    as 2024-01-31 counts as days. Columns that only name their rows, as ids and free text do, are left out. Targets of a
    regression are standardised by the training split's mean and deviation.

    Args:
        path: of the file, also compressed (gz, bz2, xz).
        target: name of the target's column, or its number from 1, -1 for the last.
        task: classification, binary (two classes, one output), regression, or auto: texts, and at most 20 different
            whole numbers, each in 4 rows on average, are classes.
        missing: of values: stop the run, drop their rows, or impute them: by the mean of the training split, and by a
            category of its own.
        categories, numbers, ignore: columns, by name or number, that are used as categories or as numbers whatever they
            look like, or left out.
        header: yes, no, or auto.
        separator: comma, semicolon, tab, pipe, space, or auto.
        decimal: point, comma, or auto.
        encoding: name of one that Python knows, or auto.
        val_fraction, test_fraction, split_seed: as in SplitByFraction.
    Shapes: (inputs,). Errors: ValueError; ConfigError and DataError, which name the column and the row.
    """

    path: str
    target: str | int | None
    task: str = "auto"
    missing: str = "stop"
    categories: Sequence[str | int] = field(default_factory=list)
    numbers: Sequence[str | int] = field(default_factory=list)
    ignore: Sequence[str | int] = field(default_factory=list)
    header: str = "auto"
    separator: str = "auto"
    decimal: str = "auto"
    encoding: str = "auto"

    def __post_init__(self) -> None:
        self.require_fractions()
        require_one_of("auto", *TASKS, task=self.task)
        require_one_of("stop", "drop", "impute", missing=self.missing)
        require_one_of("auto", "yes", "no", header=self.header)
        require_one_of("auto", *SEPARATORS, separator=self.separator)
        require_one_of("auto", "point", "comma", decimal=self.decimal)
        if self.encoding != "auto":
            try:
                codecs.lookup(self.encoding)
            except LookupError:
                raise ValueError(f"encoding must be auto or the name of one, as latin-1, got {self.encoding}") from None

    def load(self) -> Splits:
        typed_names = (self.target, *self.categories, *self.numbers, *self.ignore)
        known = tuple(name for name in typed_names if name is not None)
        settings = (self.separator, self.header, self.decimal, self.encoding)
        table = read_unless_read(self.path, state_of_file(self.path), *settings, known)
        place = self._target_place(table)
        target = read_target(self.path, table, place, self.task)
        used, left_out = self._inputs(table, place)
        kept, filled = complete_rows(self.path, table, target, used, self.missing)
        target = read_target(self.path, table.rows(kept), place, self.task)
        used, emptied = with_values([column.rows(kept) for column in used])
        if not used:
            raise DataError(f"{self.path}: no column is left to predict from; {emptied}")
        parts = self.indices(torch.from_numpy(target.groups))
        if not (len(parts[0]) and len(parts[2])):
            raise DataError(f"{self.path}: {int(kept.sum())} rows are too few to hold some out for validation and test")
        fitted_on, impute = parts[0].numpy(), self.missing == "impute"
        columns = [described(column, table.names.index(column.name), fitted_on, impute) for column in used]
        inputs, unknown = inputs_of(self.path, used, columns)
        whole = target.tensor(self.path)
        numbers = table.frame.index[kept].tolist()  # of the rows in the file, as messages count them
        train, val, test = (Split(inputs[rows], whole[rows], Names("row", numbers, rows)) for rows in parts)
        data = Splits(
            train=train,
            val=val,
            test=test,
            task=target.task,
            classes=target.classes,
            inputs=TableInput(columns=tuple(columns), header=table.has_header, count=len(table.names), target=place),
            predicted=Predicted(name=target.name, names=() if target.classes else (target.name,)),
        )
        what = f"target {target.name}: {target.summary}"
        if target.task == "regression":
            data = standardize_targets(data)
            (mean,), (deviation,) = data.predicted.mean, data.predicted.deviation
            what += f"; standardised, (value - {significant(mean, 6)}) / {significant(deviation, 6)}"
        file = f"{Path(self.path).name}: {table.how}"
        notes = (file, what, summary_of(used, inputs.shape[1]), left_out, emptied, filled, unknown)
        return replace(data, notes=tuple(note for note in notes if note))

    def _target_place(self, table: Table) -> int:
        """Return the place of the target's column. Errors: ConfigError, with the columns there are."""
        if self.target is not None:
            return place_of(self.target, "data.target", self.path, table)
        if not table.has_header:
            columns = f"the number of one of the {len(table.names)} columns, or -1 for the last"
            raise ConfigError(f"data.target: {self.path} has no header; write data.target=N, {columns}")
        raise ConfigError(f"data.target: needs the column to predict; write data.target=NAME, of {listed(table.names)}")

    def _inputs(self, table: Table, target: int) -> tuple[list[Column], str]:
        """Return the columns that are inputs, and a note on those that are left out. Errors: ConfigError, DataError."""
        asked = {
            key: [place_of(name, f"data.{key}", self.path, table) for name in getattr(self, key)]
            for key in ("categories", "numbers", "ignore")
        }
        used, left_out, keys = [], {}, {}
        for place, name in enumerate(table.names):
            if place == target or place in asked["ignore"]:
                continue
            cells, comma = table.frame[place], table.decimal_comma
            try:
                if place in asked["categories"]:
                    used.append(Column(name, *as_labels(cells)))
                elif place in asked["numbers"]:
                    used.append(Column(name, as_numbers(cells, comma)))
                else:
                    used.append(input_column(name, cells, comma, bool(table.headings[place]) or not table.has_header))
            except NotUsed as reason:
                left_out[name] = str(reason)
                if reason.key:
                    keys.setdefault(reason.key, []).append(name)
            except NotNumbers as wrong:
                hint = "" if place in asked["numbers"] else f", or write {as_typed('data.categories', name)}"
                raise DataError(f"{self.path}: {name}: {wrong}; correct the file{hint}") from None
        reasons = "; ".join(f"{name} {reason}" for name, reason in left_out.items())
        wanted = " ".join(as_typed(f"data.{key}", *names) for key, names in keys.items())
        hint = f"; to use them all the same: {wanted}" if wanted else ""
        if not used:
            others = f"; left out: {reasons}{hint}" if reasons else ""
            raise DataError(f"{self.path}: no column is left to predict from{others}")
        return used, f"left out: {reasons}{hint}" if reasons else ""


def state_of_file(path: str) -> tuple[int, int]:
    """Return the length and the time of change of a file, which another content changes; zeros where there is none."""
    try:
        status = expanded(path).stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=1)
def read_unless_read(path: str, state: tuple[int, int], *settings: object) -> Table:
    """Return the table in a file, which the jobs of a sweep in one process read once. Errors: as in read_table."""
    return read_table(path, *settings)


def inputs_of(path: str, used: Sequence[Column], columns: Sequence[InputColumn]) -> tuple[Tensor, str]:
    """Return all inputs (N, D) as floats, and a note on categories that the training split does not have."""
    parts, unknown = [], {}
    for column, inputs in zip(used, columns):
        values, rows = encoded(column, inputs)
        with np.errstate(over="ignore"):
            parts.append(values.astype(np.float32))
        if not np.isfinite(parts[-1]).all():
            raise DataError(f"{path}: {column.name}: has numbers beyond 3e38, which float32 cannot hold")
        if rows:
            unknown[column.name] = len(rows)
    listed = ", ".join(f"{name} in {count:,} rows" for name, count in unknown.items())
    note = f"categories that the training split does not have are 0 in all inputs: {listed}" if listed else ""
    return torch.from_numpy(np.concatenate(parts, axis=1)), note


def summary_of(used: Sequence[Column], count: int) -> str:
    """Return a note on the inputs: which are numbers, dates and categories."""
    groups = {
        "numbers": [column.name for column in used if column.labels is None and not column.dates],
        "dates as days": [column.name for column in used if column.dates],
        "categories": [f"{column.name} ({len(column.labels)})" for column in used if column.labels is not None],
    }
    parts = [
        f"{kind}: {', '.join(names[:LISTED])}{f' and {len(names) - LISTED} more' if len(names) > LISTED else ''}"
        for kind, names in groups.items()
        if names
    ]
    return f"{'; '.join(parts)}; {count:,} input{'s' * (count > 1)} in all"
