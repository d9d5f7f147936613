"""Splits of a data set's class: the argument that chooses one, found by its name."""

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trainer.base.compiler import import_torchvision
from trainer.base.errors import UserError
from trainer.base.origin import reason
from trainer.base.text import as_typed, printable
from trainer.data.folder_layout import SPLITS, split_of

TRUE_OR_FALSE = ("train", "is_train", "training")  # arguments that are true for the training samples
NAMED = ("split", "subset", "mode", "phase", "partition", "image_set", "stage", "set")  # that take a split's name


@dataclass(frozen=True)
class Asked:
    """Argument that chooses a split, and its value."""

    name: str
    value: object

    def __str__(self) -> str:
        return f"{self.name}={as_typed(self.value)}"


@dataclass(frozen=True)
class Made:
    """Data sets by split, train first.

    Args:
        typed: the argument of each, for messages.
        notes: on a split that the class refused.
    """

    datasets: dict[str, object]
    typed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def make_splits(make: Callable, where: str) -> Made:
    """Make the data set of each split that its class has. Errors: ConfigError where it refuses its arguments."""
    kind, keys = make.kind, make.partial.keywords
    parameters = inspect.signature(kind).parameters
    fixed = {name: as_image for name in ("transform",) if is_required(parameters, name) and name not in keys}
    fixed |= {key: made(value) for key, value in keys.items() if holds_parts(value)}
    fixed |= {name: unchanged for name in ("target_transform",) if is_required(parameters, name) and name not in keys}
    name = chooser(parameters)
    if name is None:
        return Made({"train": make(**fixed)})
    if name in keys:
        typed = f"{where} sets {Asked(name, keys[name])}"
        note = f"{typed}: only these samples are read; without that key, each split is"
        return Made({"train": make(**fixed)}, notes=[note])
    if name in TRUE_OR_FALSE:
        asked = {"train": Asked(name, True), "test": Asked(name, False)}
        datasets = {split: make(**fixed, **{name: each.value}) for split, each in asked.items()}
        return Made(datasets, {split: str(each) for split, each in asked.items()})
    return by_name(make, fixed, name, parameters[name].default)


def by_name(make: Callable, fixed: dict, name: str, default: object) -> Made:
    """Make the data set of each split by a name that the class takes: the default, or one of those in use."""
    made = Made({})
    for split in SPLITS:
        refused: list[str] = []
        error = None
        for value in spellings(split, default):
            try:
                made.datasets[split] = make(**fixed, **{name: value})
                made.typed[split] = str(Asked(name, value))
                break
            except UserError as found:
                refused.append(f"{Asked(name, value)}: {printable(reason(found.__cause__ or found))}")
                error = error or found
        else:
            if split == "train":
                raise error
            made.notes.append(f"no {split} split ({refused[0]})")
    return made


def spellings(split: str, default: object) -> Iterator[str]:
    """Yield names of a split, that of the default first, in its form: `training` and `testing`, `Train` and `Test`."""
    names = list(SPLITS[split])
    if isinstance(default, str):
        if split_of(default) == split:
            names = [default, *names]
        elif default.endswith("ing"):
            names.sort(key=lambda word: not word.endswith("ing"))
        if default.isupper() or default.istitle():
            names = [name.upper() if default.isupper() else name.title() for name in names]
    yield from dict.fromkeys(names)


def chooser(parameters) -> str | None:
    """Return the argument that chooses a split; None where a class has none."""
    for name in TRUE_OR_FALSE:
        if name in parameters and isinstance(parameters[name].default, bool | type(inspect.Parameter.empty)):
            return name
    for name in NAMED:
        if name in parameters and names_a_split(parameters[name].default):
            return name
    return None


def names_a_split(default: object) -> bool:
    """Return whether a default value is the name of a split, or missing."""
    return default is inspect.Parameter.empty or (isinstance(default, str) and split_of(default) is not None)


def is_required(parameters, name: str) -> bool:
    """Return whether an argument has no default."""
    return name in parameters and parameters[name].default is inspect.Parameter.empty


def holds_parts(value: object) -> bool:
    """Return whether a key holds objects to make, each from a `_target_`: a transform, or a list of them."""
    return isinstance(value, functools.partial) or (isinstance(value, list) and any(map(holds_parts, value)))


def made(value: object) -> object:
    """Return a key's value with its objects made."""
    if isinstance(value, list):
        return [made(item) for item in value]
    return value() if isinstance(value, functools.partial) else value


def as_image(value: object) -> Tensor:
    """Return an image of Pillow or an array as torch has it, (C, H, W) uint8, for a class that wants a transform."""
    import_torchvision()
    from torchvision.transforms.v2 import functional

    return value if isinstance(value, Tensor) else functional.to_image(value).as_subclass(torch.Tensor)


def unchanged(value: object) -> object:
    """Return the value, for a class that wants a transform of targets."""
    return value
