"""Labelled samples from elsewhere than the training data: a folder of the model's classes, a table with its columns."""

import os
import unicodedata
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor

from trainer.base.errors import DataError
from trainer.base.text import did_you_mean, nearest, printable
from trainer.data import folder_metadata as metadata
from trainer.data.cells import MISSING, number
from trainer.data.folder_layout import list_classes, split_of, unwrapped
from trainer.data.folder_walk import Layout, visible
from trainer.data.image_files import read
from trainer.data.inputs import ImageInput, InputColumn, Inputs, TableInput
from trainer.data.splits import Names, Split, Splits
from trainer.inference.rows import encoded_rows, place_of, read_rows
from trainer.inference.sources import ROWS, Item, batched, batches_of, decoded
from trainer.rundir.description import Description

SPLITS = ("test", "val", "train")  # of a folder that has such folders, the first that is there
LISTED = 10  # classes in a message


@dataclass
class Labelled:
    """Samples with their targets, which are read once.

    Args:
        pairs: inputs with their targets (K,).
        kind: what their names are: path or row.
        inputs: what a sample is.
        note: on which of the files are meant.
        names, targets: of those that were read.
        rows: of a table, those that were read.
        problems: the inputs that could not be read.
    """

    pairs: Iterable[tuple[Item, Tensor]]
    kind: str
    inputs: ImageInput | TableInput
    note: str = ""
    names: list[str | int] = field(default_factory=list)
    targets: list[Tensor] = field(default_factory=list)
    rows: list[Tensor] = field(default_factory=list)
    problems: list[Item] = field(default_factory=list)

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield samples and targets (B, K), with no batch for inputs that cannot be read. Errors: DataError."""
        waiting: deque[Tensor] = deque()  # a thread reads the items ahead

        def items() -> Iterator[Item]:
            for item, target in self.pairs:
                waiting.append(target)
                yield item

        for batch in batches_of(items(), size):
            targets = [waiting.popleft() for _ in batch]
            good = [(item, target) for item, target in zip(batch, targets) if isinstance(item.sample, Tensor)]
            self.problems += [item for item in batch if not isinstance(item.sample, Tensor)]
            if good:
                samples, known = torch.stack([item.sample for item, _ in good]), [target for _, target in good]
                self.names += [item.path if self.kind == "path" else item.row for item, _ in good]
                self.targets += known
                self.rows += [*samples] if self.kind == "row" else []
                yield samples, torch.stack(known)

    @property
    def split(self) -> Split:
        """The samples that were read."""
        images = torch.stack(self.rows) if self.kind == "row" else DecodedFiles(self.names, self.inputs)
        return Split(images, torch.stack(self.targets), Names(self.kind, self.names, torch.arange(len(self.names))))


@dataclass(frozen=True)
class DecodedFiles:
    """Image files as a model takes them, decoded when they are read."""

    paths: Sequence[str]
    inputs: ImageInput

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.paths), *self.inputs.shape)

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, indices: Tensor) -> Tensor:
        """Return the images of `indices` (B,)."""
        return torch.stack([decoded(self.paths[index], self.inputs) for index in indices.tolist()])


def labelled_in_folder(place: Path, where: str, described: Description) -> Labelled:
    """Return the images of a folder, CLASS/*, with the classes by name; of one with splits those of its test.

    Args:
        where: the folder as it was typed, for messages.
    Errors: DataError, also for a class that the model does not know.
    """
    if not place.is_dir():
        raise DataError(f"{where}: {'is a file' if place.exists() else 'no such folder'}; it holds CLASS/*")
    layout = Layout(Path(os.path.abspath(place)))
    base, note = unwrapped(layout.root, layout), ""
    names = {unicodedata.normalize("NFC", folder.name): folder for folder in visible(base)[0]}
    if not {*names} <= {*described.classes}:
        splits = {split: folder for name, folder in names.items() if (split := split_of(name))}
        if chosen := next((splits[split] for split in SPLITS if split in splits), None):
            base, note = unwrapped(chosen, layout, in_split=True), f"{where}: its {chosen.name}/ alone"
    table = metadata.metadata_of(base, layout.root)
    listing = metadata.classes_in(table, base, layout) if table else list_classes(base, layout)
    found = {name: files for name, files in listing.items() if files}
    if not found:
        flat = sum(1 for path in visible(base)[1])
        has = f"its {flat:,} files lie in no class folder, so that they have no label" if flat else "holds no images"
        raise DataError(f"{where}: {has}; expected CLASS/*, of {listed(described.classes)}")
    places = places_of_classes(found, where, described.classes)
    root = os.path.join(layout.root, "")
    kind = described.inputs
    note = "; ".join([*filter(None, [note]), *(f"{fault.path}: {fault.message}" for fault in layout.faults[:LISTED])])

    def pairs() -> Iterator[tuple[Item, Tensor]]:
        for name, files in found.items():
            target = target_of(places[name], described)
            for path, *_ in files:
                yield Item(root + path, None, lambda path=root + path: decoded(path, kind)), target

    return Labelled(pairs(), "path", kind, note)


def places_of_classes(found: Iterable[str], where: str, classes: Sequence[str]) -> dict[str, int]:
    """Return the place of each class among the model's, by its name, else by its only spelling in other cases.

    Errors: DataError for one that the model does not know.
    """
    places, folded = {name: place for place, name in enumerate(classes)}, {}
    for place, name in enumerate(classes):
        folded.setdefault(name.casefold(), []).append(place)
    known = {}
    for name in found:
        alike = [places[name]] if name in places else folded.get(name.casefold(), [])
        if len(alike) != 1:
            raise DataError(f"{where}: {unknown_class(name, classes)}")
        known[name] = alike[0]
    return known


def unknown_class(name: str, classes: Sequence[str]) -> str:
    """Return the words for a class that a model does not know."""
    few = classes if nearest(name, classes) else classes[:LISTED]
    hint = did_you_mean(name, few) if nearest(name, classes) else f"it knows {listed(classes)}"
    return f"{printable(name)} is no class of the model; {printable(hint)}"


def listed(names: Sequence[str]) -> str:
    """Return the first names."""
    return printable(", ".join(names[:LISTED])) + ", ..." * (len(names) > LISTED)


def target_of(place: int, described: Description) -> Tensor:
    """Return the target (K,) of a class."""
    if described.task == "binary":
        return torch.tensor([float(place)])
    return torch.nn.functional.one_hot(torch.tensor(place), described.outputs).float()


def labelled_in_table(place: Path, where: str, described: Description) -> Labelled:
    """Return the rows of a table with the model's columns and its target. Rows without a target are problems.

    Errors: DataError, also for a class that the model does not know.
    """
    if not place.is_file():
        raise DataError(f"{where}: {'is a folder' if place.is_dir() else 'no such file'}; it is a table")
    kind, predicted = described.inputs, described.predicted
    column = InputColumn(name=predicted.name, place=kind.target if kind.target is not None else kind.count - 1)
    wanted = replace(kind, columns=(*kind.columns, column), target=None)  # none may be without its target
    classes = {name: at for at, name in enumerate(described.classes)}

    def pairs() -> Iterator[tuple[Item, Tensor]]:
        for part in batched(read_rows(str(place), wanted), ROWS):
            cells = [row if isinstance(row, str) else row[:-1] for _, row in part]
            for (row, whole), sample in zip(part, encoded_rows(cells, kind)):
                text = "" if isinstance(whole, str) else whole[-1]
                target = target_in(text, row, f"{where}: {predicted.name}", classes, described)
                problem = f"{predicted.name}: is missing" if target is None and not isinstance(whole, str) else sample
                yield Item(str(place), row, problem), torch.zeros(described.outputs) if target is None else target

    return Labelled(pairs(), "row", kind)


def target_in(cell: str, row: int, where: str, classes: Mapping[str, int], described: Description) -> Tensor | None:
    """Return the target (K,) that a cell holds, as the model was trained on it; None for a missing one.

    Errors: DataError for a class that the model does not know, or what is no number.
    """
    if cell in MISSING:
        return None
    if classes:
        place = place_of(cell, dict(classes))
        if place is None:
            raise DataError(f"{where}: in row {row}, {unknown_class(cell, [*classes])}")
        return target_of(place, described)
    value = number(cell)
    if value is None:
        raise DataError(f"{where}: {printable(cell)!r} in row {row} is not a number")
    predicted = described.predicted
    mean, deviation = (predicted.mean or (0.0,))[0], (predicted.deviation or (1.0,))[0]
    return torch.tensor([(value - mean) / deviation], dtype=torch.float32)


def labelled_in(splits: Splits, names: Sequence[str], where: str, described: Description) -> "Given":
    """Return the samples of some splits that a data set has, with its classes by name. Errors: DataError."""
    parts = [part for name in names if len(part := getattr(splits, name))]
    if tuple(parts[0].images.shape[1:]) != described.inputs.shape:
        shape, own = ("x".join(map(str, sizes)) for sizes in (parts[0].images.shape[1:], described.inputs.shape))
        raise DataError(f"{where}: its samples are {shape}, the model takes {own}")
    if splits.task != described.task:
        raise DataError(f"{where}: is {splits.task}, the model is for {described.task}")
    parts = [replace(part, targets=as_trained(part.targets, splits, where, described)) for part in parts]
    return Given(parts=parts, inputs=described.inputs)


def as_trained(targets: Tensor, splits: Splits, where: str, described: Description) -> Tensor:
    """Return targets (N, K) of other data in the model's order of classes, or in its standardisation."""
    if described.task == "regression":
        own, trained = splits.predicted, described.predicted
        values = targets.double() * torch.tensor(own.deviation or (1.0,)) + torch.tensor(own.mean or (0.0,))
        return ((values - torch.tensor(trained.mean or (0.0,))) / torch.tensor(trained.deviation or (1.0,))).float()
    places = torch.tensor([*places_of_classes(splits.classes, where, described.classes).values()])
    if described.task == "binary":
        return places[targets[:, 0].long()].float()[:, None]
    return torch.zeros(len(targets), described.outputs).index_copy_(1, places, targets)


@dataclass
class Given:
    """Samples of splits, batch by batch."""

    parts: Sequence[Split]
    inputs: Inputs
    note: str = ""
    problems: tuple = ()

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield samples and targets (B, K)."""
        for part in self.parts:
            for indices in torch.arange(len(part)).split(size):
                yield read(part.images, indices), part.targets[indices]

    @property
    def split(self) -> Split:
        """All samples."""
        if len(self.parts) == 1:
            return self.parts[0]
        return Split(
            Joined(tuple(part.images for part in self.parts)), torch.cat([part.targets for part in self.parts])
        )


@dataclass(frozen=True)
class Joined:
    """Images of several splits, one behind the other."""

    parts: Sequence

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self.parts[0].shape[1:])

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def read(self, indices: Tensor) -> Tensor:
        """Return the images of `indices` (B,)."""
        starts = [0, *accumulate(map(len, self.parts))]
        found = [bisect_right(starts, index) - 1 for index in indices.tolist()]
        rows = (read(self.parts[at], indices[place : place + 1] - starts[at]) for place, at in enumerate(found))
        return torch.cat([*rows])
