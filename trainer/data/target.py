"""Column that is predicted: the kind of data, and its classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainer.base.errors import DataError
from trainer.data.columns import NotNumbers, as_labels, as_numbers, is_mistake, may_be_classes, parsed_numbers
from trainer.data.splits import one_hot
from trainer.data.table import Table

TASKS = ("classification", "binary", "regression")
MAX_LABELS = 20  # different whole numbers that are taken for classes
ROWS_A_LABEL = 4  # on average, at least
LISTED = 5  # classes in a note


@dataclass(frozen=True)
class Target:
    """Column to predict.

    Args:
        name: of the column.
        task: kind of data.
        values: (N,) numbers, NaN where missing; of classes their places, -1 where missing.
        classes: their names; none for a regression.
        reason: of the task, where it was not typed.
    """

    name: str
    task: str
    values: np.ndarray
    classes: tuple[str, ...] = ()
    reason: str = ""

    @property
    def missing(self) -> np.ndarray:
        """Mask of the missing values (N,)."""
        return self.values < 0 if self.classes else np.isnan(self.values)

    @property
    def groups(self) -> np.ndarray:
        """Labels of a stratified split (N,)."""
        return self.values if self.classes else np.zeros(len(self.values))

    @property
    def summary(self) -> str:
        """The task and why it is this one, and the classes with their numbers of rows."""
        kind = f"{self.task}, {self.reason}" if self.reason else self.task
        if not self.classes:
            return kind
        counts = [f"{name} {int((self.values == place).sum())}" for place, name in enumerate(self.classes)]
        more = ", ..." if len(counts) > LISTED else ""
        return f"{kind}; {len(counts)} classes: {', '.join(counts[:LISTED])}{more}"

    def tensor(self, path: str) -> Tensor:
        """Return the targets (N, K) as floats."""
        if self.task == "classification":
            return one_hot(torch.from_numpy(self.values), len(self.classes), path)
        return torch.from_numpy(self.values).float().unsqueeze(1)


def read_target(path: str, table: Table, place: int, task: str) -> Target:
    """Return the target with its task, as told or by its values. Errors: DataError."""
    name, cells = table.names[place], table.frame[place]
    where, typed = f"{path}: target {name}", task != "auto"
    values, wrong = parsed_numbers(cells, table.decimal_comma)
    present = values[~np.isnan(values)]
    found = np.unique(present)
    if task == "regression" or (not typed and is_mistake(present, wrong)):
        try:
            as_numbers(cells, table.decimal_comma)
        except NotNumbers as reason:
            classes = may_be_classes(len(as_labels(cells)[1]), len(cells))
            hint = ", or write data.task=classification" if classes else ""
            raise DataError(f"{where}: {reason}; correct the file{hint}") from None
    if wrong.any():
        places, classes, reason = *as_labels(cells), ""  # texts can be nothing else
    else:
        few = len(found) <= min(MAX_LABELS, max(2, len(present) // ROWS_A_LABEL)) and (found % 1 == 0).all()
        if task == "regression" or (not typed and not few and len(found) > 1):
            require_two(where, [f"{value:g}" for value in found[:2]])
            return Target(name, "regression", values, reason="" if typed else "as it has numbers")
        places = np.where(np.isnan(values), -1, np.searchsorted(found, values))
        classes = [f"{value:.15g}" for value in found]
        reason = f"as it has {len(found)} whole numbers (data.task=regression otherwise)"
    require_classes(where, classes, int((places >= 0).sum()), task)
    kind = task if typed else "binary" if len(classes) == 2 else "classification"
    return Target(name, kind, places, tuple(classes), "" if typed else reason)


def require_two(where: str, values: Sequence[str]) -> None:
    """Require two different values. Errors: DataError."""
    if len(values) < 2:
        raise DataError(f"{where} {f'is always {values[0]}' if values else 'is empty'}, so that nothing can be learnt")


def require_classes(where: str, classes: Sequence[str], rows: int, task: str) -> None:
    """Require two classes or more, as many as the task has, and several rows of most. Errors: DataError."""
    require_two(where, classes)
    if not may_be_classes(len(classes), rows):
        raise DataError(f"{where} has {len(classes):,} different values in {rows:,} rows, too many to be classes")
    if task == "binary" and len(classes) != 2:
        raise DataError(
            f"{where} has {len(classes)} classes, but data.task=binary takes 2; try data.task=classification"
        )
