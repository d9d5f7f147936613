"""Splits of a data set: training, validation and test samples, and how samples are held out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.base.checks import require
from trainer.base.errors import DataError
from trainer.data.image_files import LazyImages, chosen, read
from trainer.data.inputs import Inputs, Predicted, inputs_of_shape

SAMPLE_LIMIT = 512 * 2**20  # bytes of images from which a preprocessing computes its statistics


@dataclass(frozen=True)
class Names:
    """Names of samples in their source, by which a person finds them.

    Args:
        kind: path of a file, or row of one.
        known: those of all samples of the source.
        places: (N,) of these samples among them.
    """

    kind: str
    known: Sequence[str | int]
    places: Tensor

    def __getitem__(self, index: int) -> str | int:
        return self.known[int(self.places[index])]

    def select(self, rows: Tensor) -> "Names":
        """Return the names of some of the samples."""
        return replace(self, places=self.places[rows])


@dataclass(frozen=True)
class Split:
    """Inputs (N, C, H, W), uint8 or floats in [0, 1], or (N, D) floats; targets (N, K) floats.

    Images that are not in memory are LazyImages: they have a length and a shape, and are read by index.

    Args:
        names: of the samples, where they have any.
    """

    images: Tensor | LazyImages
    targets: Tensor
    names: Names | None = None

    def __len__(self) -> int:
        return len(self.images)

    def sample(self) -> Tensor:
        """Return images to fit a preprocessing on: all of them up to 512 MiB as bytes, beyond that a random sample.

        The sample has that size and depends on the number and shape of the images alone, not on their residency.
        """
        count = max(SAMPLE_LIMIT // max(math.prod(self.images.shape[1:]), 1), 1)
        if count < len(self):
            rng = torch.Generator().manual_seed(0)
            return read(self.images, torch.randperm(len(self), generator=rng)[:count].sort().values)
        return self.images if isinstance(self.images, Tensor) else read(self.images, torch.arange(len(self)))

    def select(self, rows: Tensor) -> "Split":
        """Return the samples of some rows, in ascending order; their images as `chosen` gives them."""
        return Split(chosen(self.images, rows), self.targets[rows], self.names and self.names.select(rows))


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Data set, ready for a run.

    Args:
        train, val, test: the samples; val may be empty.
        task: classification (one-hot targets), binary (K = 1, targets 0 or 1) or regression.
        classes: their names, empty for regression.
        notes: remarks on the data for the user, one line each.
        train_available: training samples that there are, where only some of them are kept; else None.
        inputs: what a sample is, so that new files and rows become samples; by default what its shape says.
        predicted: what the targets are.
    """

    train: Split
    val: Split
    test: Split
    task: str
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    train_available: int | None = None
    inputs: Inputs | None = None
    predicted: Predicted = Predicted()

    def __post_init__(self) -> None:
        if self.inputs is None and isinstance(self.train, Split):  # one that is none is told later
            object.__setattr__(self, "inputs", inputs_of_shape(self.train.images.shape[1:]))

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(self.train.images.shape[1:])

    @property
    def outputs(self) -> int:
        return self.train.targets.shape[1]


@dataclass(frozen=True, kw_only=True)
class SplitByFraction:
    """Data set without a split of its own: a fraction of every class is held out for validation and for the test.

    The split follows `split_seed`, which is apart from the run's seed: every run is evaluated on the same samples.

    Args:
        val_fraction: of all samples, in [0, 1).
        test_fraction: of all samples, in (0, 1).
        split_seed: >= 0.
    Errors: ValueError.
    """

    val_fraction: float = 0.15
    test_fraction: float = 0.2
    split_seed: int = 0

    def require_fractions(self) -> None:
        """Check the fields above. Errors: ValueError."""
        require("in [0, 1)", val_fraction=self.val_fraction)
        require("in (0, 1)", test_fraction=self.test_fraction)
        require("< 1", **{"val_fraction + test_fraction": self.val_fraction + self.test_fraction})
        require(">= 0", split_seed=self.split_seed)

    def split(self, images: Tensor, targets: Tensor, groups: Tensor) -> tuple[Split, Split, Split]:
        """Return train, val and test, with the same fraction of every group."""
        train, val, test = self.indices(groups)
        return take(images, targets, train), take(images, targets, val), take(images, targets, test)

    def indices(self, groups: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the indices of train, val and test, with the same fraction of every group."""
        self.require_fractions()
        rest, test = hold_out(groups, self.test_fraction, self.split_seed)
        train, val = hold_out(groups[rest], self.val_fraction / (1 - self.test_fraction), self.split_seed)
        return rest[train], rest[val], test

    def classification(self, images: Tensor, labels: Tensor, classes: Sequence[str], source: str) -> Splits:
        """Return the splits of a classification, stratified by class. Errors: DataError, as in one_hot."""
        train, val, test = self.split(images, one_hot(labels, len(classes), source), labels)
        return Splits(train=train, val=val, test=test, task="classification", classes=tuple(map(str, classes)))

    def regression(self, inputs: Tensor, targets: Tensor) -> Splits:
        """Return the splits of a regression, at random."""
        train, val, test = self.split(inputs, targets, torch.zeros(len(targets)))
        return Splits(train=train, val=val, test=test, task="regression")


def standardize_targets(data: Splits) -> Splits:
    """Return the splits of a regression with targets of mean 0 and deviation 1 in training.

    Predicting the mean has a squared error of 1 then, whatever the unit of the targets; `predicted` has what they were.
    """
    targets = data.train.targets.double()
    deviation, mean = torch.std_mean(targets, 0, correction=0)
    deviation = torch.where(deviation > 0, deviation, 1.0)
    train, val, test = (
        replace(part, targets=((part.targets.double() - mean) / deviation).float())
        for part in (data.train, data.val, data.test)
    )
    predicted = replace(data.predicted, mean=tuple(mean.tolist()), deviation=tuple(deviation.tolist()))
    return replace(data, train=train, val=val, test=test, predicted=predicted)


def one_hot(labels: Tensor, classes: int, source: str) -> Tensor:
    """Turn (N,) integers into (N, classes) floats. Errors: DataError on a label outside 0 .. classes - 1."""
    outside = ((labels < 0) | (labels >= classes)).nonzero().flatten()
    if len(outside):
        first = int(outside[0])
        raise DataError(
            f"{source}: {len(outside)} labels are outside the {classes} classes (0 to {classes - 1}); "
            f"the first is {int(labels[first])} at sample {first}"
        )
    return F.one_hot(labels.long(), classes).float()


def hold_out(groups: Sequence[int] | Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return the indices kept and the indices held out, ascending: round(fraction * n) of every group's n samples.

    `groups` are the class labels for a stratified split, or all equal for a plain one. A fraction of 0 holds out none;
    any other leaves at least one sample of each group on both sides where the group has two.
    (scikit-learn's train_test_split does this too, and takes 0.8 s to import.)
    """
    labels = np.asarray(groups)
    rng = np.random.default_rng(seed)
    held = np.zeros(len(labels), dtype=bool)
    for group in np.unique(labels):
        members = np.flatnonzero(labels == group)
        count = round(fraction * len(members))
        if fraction > 0 and len(members) > 1:
            count = min(max(count, 1), len(members) - 1)
        held[rng.permutation(members)[:count]] = True
    return torch.from_numpy(np.flatnonzero(~held)), torch.from_numpy(np.flatnonzero(held))


def keep_train_samples(data: Splits, wanted: int | float, seed: int) -> Splits:
    """Return the splits with `wanted` of the training samples: a whole number of them, or a fraction in (0, 1).

    Every class keeps its fraction, and one sample at least; validation and test stay as they are. Samples of a smaller
    number are among those of a larger one, so that runs over several numbers differ by the added samples alone.
    Errors: ValueError where there are fewer samples, or more classes.
    """
    available, targets = len(data.train), data.train.targets
    labels = {"classification": lambda: targets.argmax(1), "binary": lambda: targets[:, 0]}.get(
        data.task, lambda: torch.zeros(available)
    )()
    count = round(wanted * available) if isinstance(wanted, float) else wanted
    if count > available:
        raise ValueError(f"the data has {available:,} training samples; write a number up to {available}, or all")
    classes = len(labels.unique())
    if count < classes:
        kept = f"{wanted:g} of {available:,} training samples is {count:,}, " if isinstance(wanted, float) else ""
        what = f"the {classes} classes" if classes > 1 else "one sample"
        raise ValueError(f"{kept}fewer than {what}; write {classes} or more")
    rows = priorities(labels, seed)[:count].sort().values
    return replace(data, train=data.train.select(rows), train_available=available)


def priorities(groups: Tensor, seed: int) -> Tensor:
    """Return all indices in an order of which every beginning has the groups' fractions: one of each group comes first.

    A group of n samples in random order gives its sample r the place (r + 1/2) / n, as seats are given by Webster's
    method, so that a longer beginning contains a shorter one.
    """
    labels = groups.numpy()
    rng = np.random.default_rng([seed, 2])  # independent of hold_out's, and of a synthetic data set's
    place = np.empty(len(labels))
    for group in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == group))
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
        place[members[0]] = 0
    return torch.from_numpy(np.argsort(place, kind="stable"))


def select_half(data: Splits, half: str) -> Splits:
    """Return the samples of the first half of the classes (`a`) or of the other half (`b`), as tasks of their own.

    The two tasks of a transfer (Yosinski et al., 2014, arXiv:1411.1792). The middle one of odd classes belongs to b.
    Errors: ValueError for data without classes, or a half of one class.
    """
    if data.task != "classification":
        raise ValueError(f"the data are for {data.task}, and have no two halves of classes")
    if data.outputs < 4:
        raise ValueError(f"the data has {data.outputs} classes, and a half needs two or more")
    columns = slice(None, data.outputs // 2) if half == "a" else slice(data.outputs // 2, None)

    def of_half(split: Split) -> Split:
        kept = split.targets[:, columns].sum(1).nonzero().flatten()
        part = split.select(kept)
        return replace(part, targets=part.targets[:, columns])

    return replace(
        data, train=of_half(data.train), val=of_half(data.val), test=of_half(data.test), classes=data.classes[columns]
    )


def take(images: Tensor, targets: Tensor, indices: Tensor) -> Split:
    """Return the samples of the indices."""
    return Split(images[indices], targets[indices])
