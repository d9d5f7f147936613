"""Arrays of one's own, in a file of NumPy."""

import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainer.base.checks import require_one_of
from trainer.base.errors import ConfigError, DataError
from trainer.base.paths import expanded
from trainer.base.text import counted, printable
from trainer.data.array_names import Names, find_names
from trainer.data.arrays import as_inputs, describe, outside_unit, require_finite, require_numbers
from trainer.data.capacity import free_bytes
from trainer.data.held_out import hold_out_missing
from trainer.data.image_files import chosen
from trainer.data.inputs import ArrayInput
from trainer.data.splits import Split, SplitByFraction, Splits, standardize_targets
from trainer.data.target import TASKS
from trainer.data.targets import Rules, Targets, targets_of

CPU = torch.device("cpu")
MEMORY_FRACTION = 0.5  # of the free memory, for the arrays of a file


@dataclass(frozen=True, kw_only=True)
class Npz(SplitByFraction):
    """Arrays in a file of numpy.savez, or in two files of numpy.save.

    Arrays are found by their names: x and y, images and labels, data and target, and such with a split before or behind
    them, as x_train, y_test, val_images. A split that is not there is held out from train. Nothing is unpickled.

    Args:
        path: of the file; of a .npy file, which holds the inputs, `target` is the other one.
        inputs: name of the array of inputs, without its split; None where it is found.
        target: name of the array of targets, or path of a .npy file; None where it is found.
        task: classification, binary, regression, or auto: as in Csv.
        val_fraction, test_fraction: of the samples, where the file has no such arrays.
        split_seed: >= 0.
    Shapes: (C, H, W), uint8 or floats as they are; or (D,) floats. Errors: ValueError; ConfigError and DataError, which
        name the array.
    """

    path: str
    inputs: str | None = None
    target: str | None = None
    task: str = "auto"

    def __post_init__(self) -> None:
        self.require_fractions()
        require_one_of("auto", *TASKS, task=self.task)

    def load(self) -> Splits:
        place = expanded(self.path)
        arrays, names = self._pair(place) if is_npy(place) else self._archive(place)
        images = {split: as_inputs(arrays[name], f"{self.path}: {name}") for split, name in names.inputs.items()}
        for split, found in images.items():
            require_finite(found, f"{self.path}: {names.inputs[split]}")
            if found.shape[1:] != images["train"].shape[1:] or found.dtype != images["train"].dtype:
                what = f"{describe(found)}, and {names.inputs['train']} {describe(images['train'])}"
                raise DataError(f"{self.path}: {names.inputs[split]} holds {what}")
        values = {split: target_array(arrays[name], f"{self.path}: {name}") for split, name in names.targets.items()}
        self._require_matching(images, values, names)
        classes = class_names(arrays[names.classes]) if names.classes else None
        rules = Rules(where=self.path, task=self.task, classes=classes, whole_numbers=True)
        targets = targets_of(values, rules)
        splits, held = self._splits(images, targets)
        outside = outside_unit(images["train"])
        data = Splits(
            **splits,
            task=targets.task,
            classes=targets.classes,
            inputs=ArrayInput(shape=tuple(images["train"].shape[1:])) if outside else None,
            predicted=targets.predicted(names.targets["train"]),
        )
        if targets.task == "regression":
            data = standardize_targets(data)
        what = f"target {names.targets['train']}: {targets.summary}"
        notes = (f"{names.inputs['train']}: {describe(images['train'])}", outside, what, names.note, *held)
        return replace(data, notes=tuple(note for note in notes if note))

    def _archive(self, place: Path) -> tuple[Mapping[str, np.ndarray], Names]:
        """Return the arrays of a file of numpy.savez that are used, and their names."""
        archive = open_archive(self.path, place)
        with archive:
            headers = {name: header_of(archive, name) for name in archive.files}
            names = find_names(headers, self.inputs, self.target, self.path)
            used = [*names.inputs.values(), *names.targets.values(), *([names.classes] if names.classes else [])]
            require_whole(self.path, {name: headers[name] for name in used})
            return {name: read_array(archive, name, self.path) for name in used}, names

    def _pair(self, place: Path) -> tuple[Mapping[str, np.ndarray], Names]:
        """Return the arrays of two files of numpy.save, and their names; the inputs stay on the disk."""
        if self.target is None:
            hint = "a .npy file holds one array; write data.target=FILE.npy for the file of the targets"
            raise ConfigError(f"data.path={self.path}: {hint}")
        other = expanded(self.target)
        if not is_npy(other):
            raise ConfigError(f"data.target={self.target}: must be a .npy file, as data.path is one")
        first, second = (load_npy(text, path) for text, path in ((self.path, place), (self.target, other)))
        names = Names(inputs={"train": place.name}, targets={"train": other.name})
        if place.name == other.name:
            names = Names(inputs={"train": str(place)}, targets={"train": str(other)})
        return {names.inputs["train"]: first, names.targets["train"]: second}, names

    def _require_matching(self, images: Mapping[str, Tensor], values: Mapping[str, np.ndarray], names: Names) -> None:
        """Require a target for each input, and any. Errors: DataError."""
        for split in images:
            x, y = names.inputs[split], names.targets[split]
            if len(images[split]) != len(values[split]):
                counts = f"{x} has {counted('sample', len(images[split]))} and {y} has {len(values[split]):,}"
                raise DataError(f"{self.path}: {counts}; they must be as many")
            if not len(images[split]):
                raise DataError(f"{self.path}: {x} is empty")

    def _splits(self, images: Mapping[str, Tensor], targets: Targets) -> tuple[dict[str, Split], list[str]]:
        """Return the splits, those held out that are not there, and a note on those."""
        members = {split: torch.arange(len(found)) for split, found in images.items()}
        held = hold_out_missing(
            members, targets.groups("train"), self.val_fraction, self.test_fraction, self.split_seed, noun="arrays"
        )
        if not all(len(members[split]) for split in ("train", "test")):
            raise DataError(f"{self.path}: {len(images['train'])} samples are too few to hold some out for the test")
        splits = {}
        for split, rows in members.items():
            source = split if split in images else "train"
            splits[split] = Split(chosen(images[source], rows), targets.values[source][rows])
        return splits, held


@dataclass(frozen=True)
class Header:
    """Shape and type of an array, as its file says.

    Args:
        dtype: None for Python objects, which are not read.
        stored: bytes in the file, with its header.
    """

    shape: tuple[int, ...]
    dtype: np.dtype | None
    stored: int

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * (self.dtype.itemsize if self.dtype else 0)


def is_npy(place: Path) -> bool:
    """Return whether a file is of numpy.save, by its ending."""
    return place.suffix.lower() == ".npy"


def open_archive(path: str, place: Path):
    """Return the open file of numpy.savez. Errors: DataError where it is none."""
    try:
        archive = np.load(place, allow_pickle=False)
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(f"{path}: cannot be read as a file of numpy.savez ({why(error)})") from None
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise DataError(
            f"{path}: holds one array, as of numpy.save; give it the ending .npy and write data.target=FILE"
        )
    return archive


def header_of(archive, name: str) -> Header:
    """Return the header of an array; an empty one where it cannot be read."""
    entry = next(each for each in (f"{name}.npy", name) if each in archive.zip.namelist())
    try:
        with archive.zip.open(entry) as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
    except Exception:  # a damaged one raises many kinds
        return Header((), None, 0)
    return Header(shape, None if dtype.hasobject else dtype, archive.zip.getinfo(entry).file_size)


def require_whole(path: str, headers: Mapping[str, Header]) -> None:
    """Require arrays that are as large as they say, and the memory for them. Errors: DataError."""
    for name, header in headers.items():
        if header.bytes > header.stored:
            has = f"must have {header.bytes:,} bytes and has {header.stored:,}"
            raise DataError(f"{path}: {printable(name)} is damaged: it {has}")
    needed, free = sum(header.bytes for header in headers.values()), int(MEMORY_FRACTION * free_bytes(CPU))
    if needed > free:
        what = f"its arrays take {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} may be used"
        raise DataError(
            f"{path}: {what}; a .npy file of uint8 images, with data.target=FILE.npy, is read from the disk"
        )


def read_array(archive, name: str, path: str) -> np.ndarray:
    """Return an array. Errors: DataError, also for Python objects."""
    try:
        return archive[name]
    except Exception as error:  # zlib, zipfile and NumPy raise many kinds
        if "allow_pickle" in str(error):
            raise holds_objects(path, name) from None
        raise DataError(f"{path}: {printable(name)} cannot be read ({why(error)})") from None


def load_npy(path: str, place: Path) -> np.ndarray:
    """Return the array in a file of numpy.save, memory-mapped. Errors: DataError."""
    try:
        return np.load(place, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        if "object" in str(error).lower():
            raise holds_objects(path, "it") from None
        raise DataError(f"{path}: cannot be read as a file of numpy.save ({why(error)})") from None


def holds_objects(path: str, name: str) -> DataError:
    """Return the error for an array of Python objects."""
    what = f"{printable(name)} holds Python objects, which are never unpickled"
    return DataError(f"{path}: {what}; save it as an array of numbers or of text, as np.array(labels, dtype=str)")


def target_array(array: np.ndarray, where: str) -> np.ndarray:
    """Return targets as an array of numbers or texts. Errors: DataError."""
    if array.dtype.kind not in "US":
        require_numbers(array, where)
    return array


def class_names(array: np.ndarray) -> Sequence[str]:
    """Return the names of the classes."""
    return [printable(name.decode("utf-8", "replace") if isinstance(name, bytes) else name) for name in array.tolist()]


def why(error: Exception) -> str:
    """Return an error of a reader in one line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
    return "it is of another kind" if "pickle" in text else printable(text) or type(error).__name__
