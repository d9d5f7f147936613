"""Fitted parts of a preprocessing, as plain values: it is stored with a model and made again without its data."""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass

import torch
from torch import Tensor

from trainer.base.text import printable


def to_plain(value: object, known: Mapping[str, type]) -> object:
    """Return a fitted preprocessing as nested dicts and lists of tensors, numbers and texts.

    A dataclass becomes a dict with its class under `class` and those of its fields that it is made with. Fields that
    are left out of comparisons are caches.

    Args:
        known: classes by their short names, which stay when files move; others are written with their full names.
    Errors: TypeError for anything else, which names it.
    """
    if is_dataclass(value) and not isinstance(value, type):
        kind = type(value)
        name = kind.__name__ if known.get(kind.__name__) is kind else f"{kind.__module__}.{kind.__qualname__}"
        kept = [part.name for part in fields(value) if part.init and part.compare]
        return {"class": name, **{part: to_plain(getattr(value, part), known) for part in kept}}
    if isinstance(value, list | tuple):
        return [to_plain(item, known) for item in value]
    if isinstance(value, Mapping):
        return {
            "class": "dict",
            "items": [[to_plain(key, known), to_plain(item, known)] for key, item in value.items()],
        }
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a {type(value).__name__} is neither a dataclass nor a tensor, a number, a text or a list")


def from_plain(plain: object, find: Callable[[str], type]) -> object:
    """Return what `to_plain` was given; lists have become tuples.

    Args:
        find: returns a class by the name that `to_plain` gave it, or raises an error.
    Errors: those of `find`; TypeError, ValueError, KeyError where the values are no such object's.
    """
    if isinstance(plain, Mapping):
        if plain["class"] == "dict":
            return {from_plain(key, find): from_plain(item, find) for key, item in plain["items"]}
        if not isinstance(plain["class"], str):
            raise TypeError(f"no class: {printable(plain['class'])}")
        kind = find(plain["class"])
        values = {key: from_plain(item, find) for key, item in plain.items() if key != "class"}
        return kind(**values)
    if isinstance(plain, list | tuple):
        return tuple(from_plain(item, find) for item in plain)
    return plain


def tensors_to_lists(plain: object, prefix: str, limit: int, large: dict[str, Tensor]) -> object:
    """Return plain values with dicts of numbers in place of tensors, for JSON; large ones are put aside by name.

    Args:
        prefix: of the names.
        limit: numbers from which a tensor is put aside.
        large: takes those.
    """
    if isinstance(plain, Tensor):
        kind = str(plain.dtype).removeprefix("torch.")
        if plain.numel() > limit:
            large[prefix] = plain.contiguous()
            return {"tensor": prefix, "dtype": kind}
        return {"tensor": plain.tolist(), "dtype": kind, "shape": list(plain.shape)}
    if isinstance(plain, dict):
        return {key: tensors_to_lists(item, f"{prefix}.{key}", limit, large) for key, item in plain.items()}
    if isinstance(plain, list):
        return [tensors_to_lists(item, f"{prefix}.{place}", limit, large) for place, item in enumerate(plain)]
    return plain


def lists_to_tensors(plain: object, large: Mapping[str, Tensor]) -> object:
    """Undo `tensors_to_lists`. Errors: KeyError, TypeError, ValueError, RuntimeError for other values."""
    if isinstance(plain, dict):
        if "tensor" in plain:
            kind = getattr(torch, plain["dtype"])
            if not isinstance(kind, torch.dtype):
                raise TypeError(f"no type of numbers: {printable(plain['dtype'])}")
            if isinstance(plain["tensor"], str):
                return large[plain["tensor"]].to(kind)
            return torch.tensor(plain["tensor"], dtype=kind).reshape(plain["shape"])
        return {key: lists_to_tensors(item, large) for key, item in plain.items()}
    if isinstance(plain, list):
        return [lists_to_tensors(item, large) for item in plain]
    return plain
