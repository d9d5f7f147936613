"""Names of the arrays in a file: which are inputs, which are targets, and of which split. No torch here."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from trainer.base.errors import ConfigError, DataError
from trainer.base.text import did_you_mean, printable
from trainer.data.folder_layout import SPLITS

INPUTS = ("x", "inputs", "input", "images", "image", "imgs", "img", "data", "features", "feature", "arr_0")
TARGETS = ("y", "targets", "target", "labels", "label", "outputs", "output", "arr_1")
CLASSES = ("classes", "class_names", "label_names", "target_names")
LISTED = 10  # arrays in a message


class Shaped(Protocol):
    """An array, or its header."""

    shape: tuple[int, ...]
    dtype: object


@dataclass(frozen=True, kw_only=True)
class Names:
    """Names of the arrays that are used.

    Args:
        inputs, targets: by split; train is there.
        classes: of the array with the names of the classes; None without one.
        note: on arrays that are not used, empty without any.
    """

    inputs: Mapping[str, str]
    targets: Mapping[str, str]
    classes: str | None = None
    note: str = ""


def find_names(arrays: Mapping[str, Shaped], inputs: str | None, target: str | None, path: str) -> Names:
    """Return which arrays are used.

    Args:
        inputs, target: those that were typed: a whole name, or one without its split.
    Errors: ConfigError for a typed name that is not there; DataError where there is no pair, or more than one.
    """
    found = {
        "inputs": by_split(arrays, inputs, INPUTS, path, "inputs"),
        "target": by_split(arrays, target, TARGETS, path, "target"),
    }
    for key, splits in found.items():
        if "train" not in splits:
            what = "inputs" if key == "inputs" else "targets"
            has = f"has no array of {what}; it has {listed(arrays)}"
            raise DataError(f"{path}: {has}; write data.{key}=NAME")
    xs, ys = found["inputs"], found["target"]
    alone = [
        names[split] for split in SPLITS for names in (xs, ys) if (split in xs) != (split in ys) and split in names
    ]
    if alone:
        raise DataError(f"{path}: {alone[0]} has no array beside it, of inputs or of targets; it has {listed(arrays)}")
    used = {*xs.values(), *ys.values()}
    classes = next((name for name in arrays if name not in used and is_list_of_names(name, arrays[name])), None)
    used.add(classes)
    others = [name for name in arrays if name not in used]
    note = f"not used: {', '.join(map(printable, others[:LISTED]))}" if others else ""
    return Names(inputs=xs, targets=ys, classes=classes, note=note)


def by_split(
    arrays: Mapping[str, Shaped], typed: str | None, known: Sequence[str], path: str, key: str
) -> dict[str, str]:
    """Return the arrays of one kind by split. Errors: ConfigError, DataError."""
    asked = None if typed is None else parted(typed)[0] if typed in arrays else typed.lower()
    found: dict[str, dict[str, str]] = {}
    for name in arrays:
        word, split = parted(name)
        if word == asked if asked is not None else word in known:
            found.setdefault(word, {}).setdefault(split, name)
    if typed is not None and not found:
        raise ConfigError(f"data.{key}={printable(typed)}: no such array in {path}; {did_you_mean(typed, [*arrays])}")
    found = {word: names for word, names in found.items() if "train" in names} or found
    if len(found) > 1:
        several = " and ".join(printable(next(iter(names.values()))) for names in found.values())
        one = next(iter(found))
        raise DataError(f"{path}: {several} may all be the {key}; write data.{key}={printable(one)} or another")
    return next(iter(found.values()), {})


def parted(name: str) -> tuple[str, str]:
    """Return an array's word and its split: `x` and `test` for x_test, X_test, test_x and xtest; train without any."""
    lower = name.lower()
    if lower in (*INPUTS, *TARGETS, *CLASSES):
        return lower, "train"
    parts = re.split(r"[_.\- /]+", lower)
    for split, words in SPLITS.items():
        for word in words:
            if word in parts and len(parts) > 1:
                return "_".join(part for part in parts if part != word), split
    for split, words in SPLITS.items():
        for word in sorted(words, key=len, reverse=True):
            for rest in (lower.removeprefix(word), lower.removesuffix(word)):
                if rest != lower and rest in (*INPUTS, *TARGETS):
                    return rest, split
    return lower, "train"


def is_list_of_names(name: str, array: Shaped) -> bool:
    """Return whether an array holds the names of the classes."""
    return name.lower() in CLASSES and len(array.shape) == 1 and getattr(array.dtype, "kind", "") in ("U", "S")


def listed(arrays: Mapping[str, Shaped]) -> str:
    """Return the names and shapes of arrays: `x (60000, 28, 28), y (60000,)`."""
    some = [f"{printable(name)} {tuple(array.shape)}" for name, array in arrays.items()]
    return ", ".join(some[:LISTED]) + (", ..." if len(some) > LISTED else "")
