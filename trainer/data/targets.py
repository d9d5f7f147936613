"""Targets of samples that are arrays: the kind of data and the classes, from the values themselves.

A whole number, or a text, is a class; a vector of 0 and a single 1 too. Other numbers are values of a regression.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainer.base.errors import DataError
from trainer.base.text import as_typed, printable
from trainer.data.columns import by_number, may_be_classes
from trainer.data.inputs import Predicted
from trainer.data.target import LISTED, MAX_LABELS, ROWS_A_LABEL, TASKS

ORDERED = "train, val, test"
HOT = 1e-4  # how far the sum of soft labels may be from 1


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Targets of all splits.

    Args:
        task: classification, binary or regression.
        values: (n, K) floats of each split: one-hot for classes, 0 and 1 for binary.
        classes: their names; none for a regression.
        reason: of the task, where it was not told.
    """

    task: str
    values: Mapping[str, Tensor]
    classes: tuple[str, ...] = ()
    reason: str = ""

    def groups(self, split: str) -> Tensor:
        """Return the class of each sample of a split (n,), for splits that keep the fractions of the classes."""
        values = self.values[split]
        if self.task == "classification":
            return values.argmax(1)
        return values[:, 0].long() if self.task == "binary" else torch.zeros(len(values), dtype=torch.long)

    def predicted(self, name: str) -> Predicted:
        """Return what is predicted, under a name."""
        if self.classes:
            return Predicted(name=name)
        count = self.values["train"].shape[1]
        return Predicted(name=name, names=tuple(f"{name}{at}" for at in range(1, count + 1)) if count > 1 else (name,))

    @property
    def summary(self) -> str:
        """The task, why it is this one, and the classes with their numbers of samples."""
        kind = f"{self.task}, {self.reason}" if self.reason else self.task
        if self.task == "regression":
            outputs = self.values["train"].shape[1]
            several = f"; {outputs} values of each sample" if outputs > 1 else ""
            return f"{kind}{several}; standardised by mean and deviation in training"
        groups = torch.cat([self.groups(split) for split in self.values])
        counts = groups.bincount(minlength=len(self.classes)).tolist()
        listed = [f"{name} {count:,}" for name, count in zip(self.classes, counts)]
        more = ", ..." if len(listed) > LISTED else ""
        return f"{kind}; {len(listed)} classes: {', '.join(listed[:LISTED])}{more}"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Rules by which values become targets.

    Args:
        where: begins each message: the file, or the data set as it is typed.
        task: one of TASKS, or auto.
        classes: names of the classes, where they are known.
        whole_numbers: few whole numbers among the floats are classes, and many different integers are none, as in a
            table; else the data type decides, as in torch, and two classes have two outputs.
    """

    where: str
    task: str = "auto"
    classes: Sequence[str] | None = None
    whole_numbers: bool = False


def targets_of(values: Mapping[str, np.ndarray], rules: Rules) -> Targets:
    """Return the targets of all splits, train first, from arrays (n,) or (n, K) of numbers, or (n,) of texts.

    Errors: DataError, which names the split and the sample.
    """
    found = {split: flat(array) for split, array in values.items()}
    for split, array in found.items():
        require_finite(array, split, rules)
        if array.ndim != found["train"].ndim or array.shape[1:] != found["train"].shape[1:]:
            shapes = f"targets of {split} have shape {array.shape[1:]}, those of train {found['train'].shape[1:]}"
            raise DataError(f"{rules.where}: {shapes}")
    if found["train"].ndim == 2:
        return of_vectors(found, rules)
    kinds = {array.dtype.kind for array in found.values()}
    if len(kinds & {"U", "S"}) != len(kinds) and kinds & {"U", "S"}:
        raise DataError(f"{rules.where}: the targets are texts in one split and numbers in another")
    if rules.task == "regression":
        if kinds & {"U", "S"}:
            first = printable(found["train"][0])
            raise DataError(f"{rules.where}: data.task=regression needs numbers, and the first target is {first!r}")
        return regression(found, rules)
    return of_texts(found, rules) if kinds & {"U", "S"} else of_numbers(found, rules)


def flat(array: np.ndarray) -> np.ndarray:
    """Return targets as (n,) or (n, K) of int64, float64 or text: bool becomes 0 and 1, bytes text, (n, 1) is (n,)."""
    array = array.reshape(len(array), -1) if array.ndim > 1 else array
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if array.dtype.kind == "S":
        return np.char.decode(array, "utf-8", "replace")
    return array if array.dtype.kind == "U" else array.astype(np.int64 if array.dtype.kind in "biu" else np.float64)


def require_finite(array: np.ndarray, split: str, rules: Rules) -> None:
    """Require numbers that are finite. Errors: DataError."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        first = int(np.argwhere(~np.isfinite(array))[0][0])
        value = array[first] if array.ndim == 1 else array[first][~np.isfinite(array[first])][0]
        raise DataError(f"{rules.where}: sample {first} of {split} has the target {value:g}, which is not finite")


def of_texts(found: Mapping[str, np.ndarray], rules: Rules) -> Targets:
    """Return the classes that texts name."""
    names = rules.classes
    if names is None:
        names = sorted({str(name) for name in np.unique(found["train"])}, key=by_number)
    places = {str(name): place for place, name in enumerate(names)}
    numbers = {}
    for split, array in found.items():
        different, inverse = np.unique(array, return_inverse=True)
        known = np.array([places.get(str(name), -1) for name in different], dtype=np.int64)
        numbers[split] = known[inverse]
        if len(unknown := np.flatnonzero(numbers[split] < 0)):
            first = int(unknown[0])
            has = "which is none of the classes" if rules.classes is not None else "which no training sample has"
            raise DataError(
                f"{rules.where}: sample {first} of {split} has the label {printable(str(array[first]))!r}, {has}"
            )
    return classification(numbers, tuple(printable(name) for name in names), rules, "")


def of_numbers(found: Mapping[str, np.ndarray], rules: Rules) -> Targets:
    """Return the classes, or the values of a regression, that numbers stand for."""
    every = np.concatenate([*found.values()])
    different = np.unique(every)
    whole, floats = bool((different % 1 == 0).all()), every.dtype.kind == "f"
    if rules.task == "auto":
        classes, reason = are_classes(different, len(every), floats, whole, rules)
        if not classes:
            return regression(found, rules, reason)
    elif not whole:
        value = different[different % 1 != 0][0]
        raise DataError(f"{rules.where}: data.task={rules.task} needs whole numbers, and a target is {value:g}")
    else:
        reason = ""
    integers = {split: array.astype(np.int64) for split, array in found.items()}
    if rules.classes is not None:
        return classification(integers, tuple(map(str, rules.classes)), rules, reason)
    known = np.unique(integers["train"])
    for split, array in integers.items():
        if len(unknown := np.flatnonzero(~np.isin(array, known))):
            first = int(unknown[0])
            what = f"sample {first} of {split} has the label {array[first]}, which no training sample has"
            raise DataError(f"{rules.where}: {what} (they have {shown(known)})")
    places = {split: np.searchsorted(known, array) for split, array in integers.items()}
    return classification(places, tuple(str(value) for value in known), rules, reason)


def are_classes(different: np.ndarray, count: int, floats: bool, whole: bool, rules: Rules) -> tuple[bool, str]:
    """Return whether numbers are classes, and why where that could be taken in two ways."""
    otherwise = "data.task=regression otherwise"
    if not rules.whole_numbers:
        zero_or_one = floats and set(different.tolist()) <= {0.0, 1.0}
        return (True, f"as all targets are 0.0 or 1.0 ({otherwise})") if zero_or_one else (not floats, "")
    few = len(different) <= min(MAX_LABELS, max(2, count // ROWS_A_LABEL))
    if whole and few:
        return True, f"as there are {len(different)} whole numbers ({otherwise})"
    from_zero = not floats and different[0] == 0 and different[-1] == len(different) - 1
    if from_zero and may_be_classes(len(different), count):
        return True, f"as they are whole numbers from 0 to {different[-1]} ({otherwise})"
    return False, "as they are numbers"


def of_vectors(found: Mapping[str, np.ndarray], rules: Rules) -> Targets:
    """Return the classes that one-hot rows stand for, or several outputs of a regression."""
    every = np.concatenate([*found.values()])
    zero_or_one = bool(np.isin(every, (0, 1)).all())
    sums = every.sum(1)
    single = bool((every >= 0).all() and (np.abs(sums - 1) < HOT).all())
    if rules.task == "regression" or (rules.task == "auto" and not zero_or_one):
        return regression(found, rules, "as there are several numbers" if rules.task == "auto" else "")
    if rules.task == "binary":
        what = f"data.task=binary takes one target of 0 or 1 for each sample, not {every.shape[1]}"
        raise DataError(f"{rules.where}: {what}; try data.task=classification")
    if not single:
        split, first = first_row(found, lambda rows: (np.abs(rows.sum(1) - 1) >= HOT) | (rows < 0).any(1))
        what = f"sample {first} of {split} has targets that add up to {found[split][first].sum():g}, not to 1"
        raise DataError(f"{rules.where}: {what}; data.task=regression predicts each of them as a number")
    names = rules.classes or [str(place) for place in range(every.shape[1])]
    if len(names) != every.shape[1]:
        raise DataError(f"{rules.where}: there are {len(names)} classes, but {every.shape[1]} targets for each sample")
    values = {split: torch.from_numpy(array).float() for split, array in found.items()}
    return Targets(task="classification", values=values, classes=tuple(map(str, names)))


def first_row(found: Mapping[str, np.ndarray], wrong) -> tuple[str, int]:
    """Return the split and the index of the first row that is wrong."""
    return next((split, int(rows[0])) for split, array in found.items() if len(rows := np.flatnonzero(wrong(array))))


def classification(numbers: Mapping[str, np.ndarray], names: tuple[str, ...], rules: Rules, reason: str) -> Targets:
    """Return targets of classes: one column of 0 and 1 for binary data, else one-hot. Errors: DataError."""
    for split, array in numbers.items():
        if len(outside := np.flatnonzero((array < 0) | (array >= len(names)))):
            first = int(outside[0])
            more = f", and {len(outside) - 1:,} more are outside" if len(outside) > 1 else ""
            what = f"sample {first} of {split} has the label {array[first]}{more}"
            raise DataError(f"{rules.where}: {what}; the {len(names)} classes have the labels 0 to {len(names) - 1}")
    if len(names) < 2:
        what = f"is always {names[0]}" if names else "is missing"
        raise DataError(f"{rules.where}: the target {what}, so that nothing can be learnt")
    count = sum(map(len, numbers.values()))
    if rules.classes is None and not may_be_classes(len(names), count):
        what = f"{len(names):,} different labels in {count:,} samples are too many to be classes"
        raise DataError(f"{rules.where}: {what}; data.task=regression takes numbers for values")
    if rules.task == "binary" and len(names) != 2:
        what = f"there are {len(names)} classes, but data.task=binary takes 2"
        raise DataError(f"{rules.where}: {what}; try data.task=classification")
    asked = rules.task != "auto"
    as_one = rules.whole_numbers or reason
    task = rules.task if asked else "binary" if len(names) == 2 and as_one else "classification"
    tensors = {split: torch.from_numpy(array) for split, array in numbers.items()}
    if task == "binary":
        values = {split: labels.float().unsqueeze(1) for split, labels in tensors.items()}
    else:
        values = {split: torch.nn.functional.one_hot(labels, len(names)).float() for split, labels in tensors.items()}
    return Targets(task=task, values=values, classes=names, reason="" if asked else reason)


def regression(found: Mapping[str, np.ndarray], rules: Rules, reason: str = "") -> Targets:
    """Return targets of a regression, as they are. Errors: DataError where all training targets are equal."""
    values = {}
    for split, array in found.items():
        array = array[:, None] if array.ndim == 1 else array
        if len(array) and np.abs(array).max() > np.finfo(np.float32).max:
            raise DataError(f"{rules.where}: targets of {split} are beyond 3e38, which float32 cannot hold")
        values[split] = torch.from_numpy(array.astype(np.float64)).float()
    train = values["train"]
    if len(train) > 1 and bool((train == train[0]).all()):
        raise DataError(f"{rules.where}: the target is always {train[0, 0]:g}, so that nothing can be learnt")
    return Targets(task="regression", values=values, reason=reason)


def shown(known: np.ndarray) -> str:
    """Return the different labels in short: `0 to 9`, `1, 5, 7`."""
    if len(known) > 2 and known[-1] - known[0] == len(known) - 1:
        return f"{known[0]} to {known[-1]}"
    return as_typed(known[:LISTED].tolist())[1:-1] + (", ..." if len(known) > LISTED else "")


def require_task(task: str) -> None:
    """Require the name of a task, or auto. Errors: ValueError."""
    if task not in ("auto", *TASKS):
        raise ValueError(f"task must be one of auto, {', '.join(TASKS)}, got {task}")
