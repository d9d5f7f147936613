"""Data sets of one's own, as a class of torch: a Dataset with __len__ and __getitem__."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from trainer.base.checks import require
from trainer.base.errors import ConfigError, DataError
from trainer.base.origin import class_of, origin
from trainer.data import image_files
from trainer.data.arrays import describe
from trainer.data.dataset_splits import Made, make_splits
from trainer.data.held_out import hold_out_missing
from trainer.data.image_files import chosen
from trainer.data.inputs import ArrayInput
from trainer.data.reading import Inputs, Read, read_split
from trainer.data.samples import Samples
from trainer.data.splits import Split, Splits, standardize_targets
from trainer.data.targets import Rules, Targets, require_task, targets_of

COMPARED = 16  # first samples by which two splits are compared
KEYS = ("val_fraction", "test_fraction", "split_seed", "task")  # of the option, where the class has no such argument


@dataclass(frozen=True, kw_only=True)
class OwnDataset:
    """Data set whose samples a class of torch's kind gives, one by one: `dataset[index] -> input, target`.

    The class is made once for each split, by its argument `train` (true, false) or `split` (train, val, test) if it has
    one. A split that it does not have is held out from train. Samples are read once and kept where they fit into the
    memory, and read batch by batch by worker processes where they do not, or where two readings of one differ.

    Args:
        make: the class with the keys of its option; takes the arguments that choose a split.
        where: the option as it is typed.
        keep: keep samples in memory where they fit.
        val_fraction, test_fraction: of the samples of train, where the class has no such split, in [0, 1); less than 1
            together.
        split_seed: >= 0.
        task: classification, binary, regression, or auto: whole numbers and texts are classes, floats are values.
    Errors: ValueError; ConfigError and DataError, which name the class, its file and the sample.
    """

    make: Callable
    where: str
    keep: bool = True
    val_fraction: float = 0.1
    test_fraction: float = 0.2
    split_seed: int = 0
    task: str = "auto"

    def __post_init__(self) -> None:
        require("in [0, 1)", val_fraction=self.val_fraction, test_fraction=self.test_fraction)
        require(">= 0", split_seed=self.split_seed)
        require_task(self.task)

    def load(self) -> Splits:
        made = make_splits(self.make, self.where)
        several = len(made.datasets) > 1
        samples = {
            split: Samples(require_map_style(dataset, self.where), self.where, split if several else "")
            for split, dataset in made.datasets.items()
        }
        samples = {split: found for split, found in samples.items() if split == "train" or len(found)}
        read = {split: read_split(found, self.keep) for split, found in samples.items()}
        self._require_alike(read, samples)
        notes = [*made.notes, *drop_copies(read, made)]
        where = f"{self.where}: {samples['train'].origin}"
        rules = Rules(where=where, task=self.task, classes=class_names(made.datasets["train"]))
        targets = targets_of({split: found.targets for split, found in read.items()}, rules)
        splits, held = self._splits({split: found.inputs for split, found in read.items()}, targets)
        outside, inputs = read["train"].outside, read["train"].inputs
        data = Splits(
            **splits,
            task=targets.task,
            classes=targets.classes,
            inputs=ArrayInput(shape=tuple(inputs.shape[1:])) if outside else None,
            predicted=targets.predicted("target"),
        )
        if targets.task == "regression":
            data = standardize_targets(data)
        notes = (describe_inputs(inputs), outside, f"target: {targets.summary}", *notes, *held)
        return replace(data, notes=tuple(note for note in notes if note))

    def _require_alike(self, read: dict[str, Read], samples: dict[str, Samples]) -> None:
        """Require inputs of one shape and type in all splits. Errors: DataError."""
        kinds = {split: kind_of(found.inputs) for split, found in read.items()}
        for split, kind in kinds.items():
            if kind != kinds["train"]:
                what = f"its inputs are {kind} in {split} and {kinds['train']} in train"
                raise DataError(f"{self.where}: {what}; all must be alike ({samples[split].origin})")

    def _splits(self, inputs: dict[str, Inputs], targets: Targets) -> tuple[dict[str, Split], list[str]]:
        """Return the splits, those held out that are not there, and a note on those."""
        members = {split: torch.arange(len(found)) for split, found in inputs.items()}
        held = hold_out_missing(
            members, targets.groups("train"), self.val_fraction, self.test_fraction, self.split_seed, noun="split"
        )
        if not len(members["train"]) or (self.test_fraction and not len(members["test"])):
            raise DataError(f"{self.where}: {len(inputs['train'])} samples are too few to hold some out for the test")
        splits = {}
        for split, rows in members.items():
            source = split if split in inputs else "train"
            splits[split] = Split(chosen(inputs[source], rows), targets.values[source][rows])
        return splits, held


def is_dataset(kind: type) -> bool:
    """Return whether a class is a data set of torch's kind, by its methods: it has items, and does not load splits."""
    return not hasattr(kind, "load") and (hasattr(kind, "__getitem__") or hasattr(kind, "__iter__"))


def parameters_of(kind: type) -> Mapping[str, inspect.Parameter]:
    """Return the arguments of a class, by name."""
    return inspect.signature(kind).parameters


def require_map_style(dataset: object, where: str) -> object:
    """Return a data set with a length and items by index. Errors: ConfigError; DataError where it is empty."""
    pair = "__len__() and __getitem__(index) -> input, target"
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__"):
        what = "gives its samples in an order of its own, as an IterableDataset"
        raise ConfigError(f"{where}: {origin(dataset, method='__iter__')} {what}; shuffling and splits need {pair}")
    try:
        count = len(dataset)
    except Exception as error:
        if not hasattr(class_of(dataset), "__len__"):
            raise ConfigError(f"{where}: {origin(dataset, method='__len__')} has no length; write {pair}") from None
        what = f"raises {type(error).__name__} in __len__ ({error})"
        raise ConfigError(f"{where}: {origin(dataset, error)} {what}") from error
    if not count:
        raise DataError(f"{where}: {origin(dataset, method='__len__')} has no samples, its length is 0")
    return dataset


def class_names(dataset: object) -> list[str] | None:
    """Return the names of the classes, from `classes` or `class_to_idx`; None where a data set has neither."""
    found = getattr(dataset, "classes", None)
    if found is None:
        by_index = getattr(dataset, "class_to_idx", None)
        found = sorted(by_index, key=by_index.get) if isinstance(by_index, dict) else None
    if isinstance(found, dict):
        found = [*found] if not all(isinstance(key, int) for key in found) else [found[key] for key in sorted(found)]
    listed = isinstance(found, list | tuple | np.ndarray) and len(found)
    return [str(name[0] if isinstance(name, tuple) else name) for name in found] if listed else None


def drop_copies(read: dict[str, Read], made: Made) -> list[str]:
    """Drop a split that has the samples of another one, and return notes on it."""
    notes = []
    for split, other in (("test", "train"), ("val", "train"), ("val", "test")):
        if split not in read or other not in read or not same_targets(read[split].targets, read[other].targets):
            continue
        both = f"{made.typed[split]} and {made.typed[other]} give the same"
        if same_inputs(read[split].inputs, read[other].inputs):
            del read[split]
            notes.append(f"{both} samples: {split} is held out instead")
        else:
            notes.append(f"{both} targets in the same order: are they the same samples?")
    return notes


def same_targets(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two splits have the same targets in the same order, of several values."""
    return one.shape == other.shape and bool((one == other).all()) and len(np.unique(one)) > 1


def same_inputs(one: Inputs, other: Inputs) -> bool:
    """Return whether the first inputs of two splits are equal."""
    some = torch.arange(min(COMPARED, len(one), len(other)))
    return torch.equal(image_files.read(one, some), image_files.read(other, some))


def kind_of(inputs: Inputs) -> str:
    """Return the shape and type of each input: `3x32x32, uint8`."""
    return f"{'x'.join(map(str, inputs.shape[1:]))}, {str(inputs.dtype).removeprefix('torch.')}"


def describe_inputs(inputs: Inputs) -> str:
    """Return what the training samples are, and how they are read."""
    if isinstance(inputs, Tensor):
        return f"train: {describe(inputs)}"
    what = f"train: {len(inputs):,} samples of {kind_of(inputs)}"
    if inputs.source.draws:
        why = "two readings of one differ, so that they are read anew in every epoch"
        return f"{what}; {why}; residency=device reads them once"
    return f"{what}, read batch by batch"
