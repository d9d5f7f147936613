"""Samples of a torch Dataset: each item as an input and a target, checked, and read by index."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from trainer.base.errors import DataError
from trainer.base.origin import origin, reason
from trainer.base.rng import preserved_generators
from trainer.base.text import printable
from trainer.data.arrays import KINDS, as_inputs

CPU = torch.device("cpu")
INPUT_KEYS = ("input", "inputs", "image", "images", "img", "pixel_values", "x", "data", "features")
TARGET_KEYS = ("target", "targets", "label", "labels", "y", "class")
DEEP = ("I", "F")  # first letters of Pillow's modes of more than 8 bits, which other modes would cut off
CALL = "its items are pairs: __getitem__(index) -> input, target"

Target = int | float | str | np.ndarray


@dataclass(frozen=True)
class DatasetImages:
    """Inputs of a torch Dataset, read whenever they are needed, as LazyImages reads files.

    Samples that draw at random draw from a seed of the batch's indices: the same in each run, other ones in each epoch
    of shuffled batches.

    Args:
        samples: of the data set.
        shape: (N, ...) of the inputs.
        dtype: of the inputs.
        draws: two readings of a sample differ, so that every epoch reads it anew.
    """

    samples: "Samples"
    shape: tuple[int, ...]
    dtype: torch.dtype
    draws: bool = False

    def read(self, indices: Tensor) -> Tensor:
        """Return the inputs of `indices` (B,). Errors: DataError."""
        images = torch.empty((len(indices), *self.shape[1:]), dtype=self.dtype)
        with preserved_generators(CPU):
            seed_generators(crc32(indices.numpy().tobytes()))
            for place, index in enumerate(indices.tolist()):
                images[place] = self.samples.input_like(index, self.shape[1:], self.dtype)
        return images


@dataclass(frozen=True)
class Samples:
    """Items of a torch Dataset, of one split.

    Args:
        dataset: has __len__ and __getitem__.
        where: the data set as it is typed.
        split: its name in messages; empty where there is but one.
    """

    dataset: object
    where: str
    split: str = ""

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def origin(self) -> str:
        """The class, and where it makes items: `Mine (mine.py:12)`."""
        return origin(self.dataset, method="__getitem__")

    def read(self, indices: Tensor) -> tuple[Tensor, list[Target]]:
        """Return inputs (B, ...) and targets of `indices`. Errors: DataError, also where shapes differ among them."""
        pairs = [self.pair(index) for index in indices.tolist()]
        shape, dtype = tuple(pairs[0][0].shape), pairs[0][0].dtype
        for index, (found, _) in zip(indices.tolist(), pairs):
            self.require_like(index, found, shape, dtype, f"sample {int(indices[0])}")
        return torch.stack([found for found, _ in pairs]), [target for _, target in pairs]

    def pair(self, index: int) -> tuple[Tensor, Target]:
        """Return one input and one target. Errors: DataError, with the line of the class that raised."""
        try:
            item = self.dataset[index]
        except DataError:
            raise
        except Exception as error:
            what = f"raises {printable(reason(error))} for {self.name(index)}"
            raise DataError(f"{self.where}: {origin(self.dataset, error)} {what}") from error
        value, target = self.parted(item, index)
        return self.as_input(value, index), self.as_target(target, index)

    def input_like(self, index: int, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return one input, of a shape and type. Errors: DataError for others."""
        found, _ = self.pair(index)
        self.require_like(index, found, tuple(shape), dtype, "others")
        return found

    def require_like(self, index: int, found: Tensor, shape: tuple[int, ...], dtype: torch.dtype, other: str) -> None:
        """Require an input to have the shape and type of another one. Errors: DataError."""
        if tuple(found.shape) == shape and found.dtype == dtype:
            return
        kinds = [str(kind).removeprefix("torch.") for kind in (found.dtype, dtype)]
        each = [
            f"{tuple(size)}{f' of {kind}' * (found.dtype != dtype)}" for size, kind in zip((found.shape, shape), kinds)
        ]
        what = f"{self.name(index)} has an input of shape {each[0]}, and {other} of {each[1]}"
        channels = found.dim() == len(shape) == 3 and tuple(found.shape[1:]) == shape[1:]
        hint = "convert all images to one mode, as image.convert('RGB')" if channels else "all must be alike"
        raise DataError(f"{self.where}: {what}; {hint} ({self.origin})")

    def parted(self, item: object, index: int) -> tuple[object, object]:
        """Return input and target of an item: its first two values, or those of known keys. Errors: DataError."""
        if isinstance(item, Mapping):
            found = [next((key for key in keys if key in item), None) for keys in (INPUT_KEYS, TARGET_KEYS)]
            if None not in found:
                return item[found[0]], item[found[1]]
            what = f"has the keys {', '.join(map(printable, item))}"
            hint = "name them input and target, or return both as a pair"
            raise self.broken(index, f"{what}; {hint}")
        if not isinstance(item, tuple | list) or len(item) < 2:
            raise self.broken(index, f"is {shown(item)}; {CALL}")
        return item[0], item[1]

    def as_input(self, value: object, index: int) -> Tensor:
        """Return an input as uint8 or float32: an image (C, H, W), numbers (D,), or what it is. Errors: DataError."""
        if is_picture(value):
            value = np.array(value if value.mode == "L" or value.mode[0] in DEEP else value.convert("RGB"))
        if isinstance(value, Tensor):
            value = value.detach().cpu()
            if value.dtype == torch.bfloat16:
                value = value.float()
            array = value.numpy() if not value.is_complex() else np.empty(0, dtype=object)
        else:
            array = np.asarray(value) if isinstance(value, np.ndarray | np.generic | int | float | list) else None
        if array is None or array.dtype.kind not in KINDS:
            what = "a tensor of complex numbers" if isinstance(value, Tensor) else shown(value)
            raise self.broken(index, f"has {what} as its input, where a tensor, an array or an image is needed")
        if array.size == 0:
            raise self.broken(index, f"has an empty input, of shape {array.shape}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise self.broken(index, "has an input that is not finite (NaN or Inf)")
        if array.dtype.kind != "f" and array.dtype != np.uint8:
            array = array.astype(np.float32)
        if isinstance(value, Tensor) and array.ndim == 3:  # torch's images are (C, H, W), whatever their sizes
            array = array if array.shape[0] in (1, 3, 4) or array.shape[-1] not in (1, 3) else np.moveaxis(array, -1, 0)
            return torch.from_numpy(
                np.ascontiguousarray(array if array.dtype == np.uint8 else array.astype(np.float32))
            )
        return as_inputs(array[None], self.where)[0]

    def as_target(self, value: object, index: int) -> Target:
        """Return a target as a whole number, a float, a text, or an array (K,) of numbers. Errors: DataError."""
        if isinstance(value, str | bytes):
            return value if isinstance(value, str) else value.decode("utf-8", "replace")
        if isinstance(value, Tensor):
            value = value.detach().cpu().float() if value.dtype == torch.bfloat16 else value.detach().cpu()
        try:
            array = np.asarray(value)
        except ValueError:  # lists of different lengths
            array = np.empty(0, dtype=object)
        if array.dtype.kind not in f"{KINDS}U" or array.ndim > 1 or not array.size:
            detail = f" of shape {array.shape}" if array.dtype.kind in KINDS else ""
            raise self.broken(index, f"has {shown(value)}{detail} as its target, where a number or a vector is needed")
        return array.item() if array.size == 1 else array

    def name(self, index: int) -> str:
        """Return `sample 3`, `sample 3 of train`."""
        return f"sample {index}{f' of {self.split}' if self.split else ''}"

    def broken(self, index: int, what: str) -> DataError:
        """Return the error for an item."""
        return DataError(f"{self.where}: {self.name(index)} {what} ({self.origin})")

    def draws_at_random(self, count: int = 16) -> bool:
        """Return whether two readings of the first samples differ."""
        for index in range(min(count, len(self))):
            first, second = self.pair(index)[0], self.pair(index)[0]
            if first.shape != second.shape or not torch.equal(first, second):
                return True
        return False


def seed_generators(seed: int) -> None:
    """Seed the generators that the transforms of a data set draw from: Python's, NumPy's and torch's."""
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)


def is_picture(value: object) -> bool:
    """Return whether a value is an image of Pillow."""
    return any(kind.__module__ == "PIL.Image" and kind.__name__ == "Image" for kind in type(value).__mro__)


def shown(value: object) -> str:
    """Return the kind of a value: `a dict`, `None`."""
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def stacked(targets: Sequence[Target], samples: Samples) -> np.ndarray:
    """Return the targets of a split as one array (n,) or (n, K). Errors: DataError where they are of several kinds."""
    kinds = [kind_of(target) for target in targets]
    for index, kind in enumerate(kinds):
        if kind != kinds[0]:
            what = f"has {kind} as its target, and sample 0 {kinds[0]}"
            raise samples.broken(index, what)
    return np.array(targets)


def kind_of(target: Target) -> str:
    """Return the kind of a target in words."""
    if isinstance(target, np.ndarray):
        return f"a vector of {len(target)}"
    return "a text" if isinstance(target, str) else "a number"


def chunks(count: int, size: int, start: int = 0) -> Iterator[Tensor]:
    """Yield the indices from `start` to `count`, `size` at a time."""
    yield from torch.arange(start, count).split(size)
