"""What a data set gives: three splits of inputs and targets, and what they mean."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.base.errors import DataError
from trainer.data.files import Rows, read

SAMPLED = (
    512 * 2**20
)  # bytes of images from which a preprocessing takes its statistics; larger splits give a sample of that size


@dataclass(frozen=True)
class Split:
    """Inputs (N, C, H, W), uint8 or floats in [0, 1], or (N, D) floats; targets (N, K) floats.

    Images that are not in memory are Rows: they have a length and a shape, and are read by number.
    """

    images: Tensor | Rows
    targets: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def sample(self) -> Tensor:
        """Images to fit a preprocessing on: all where they are up to 512 MiB as bytes, else so many at random, always the same ones.

        Which they are follows from the number and the shape of the images alone, not from where they lie.
        """
        count = max(SAMPLED // max(math.prod(self.images.shape[1:]), 1), 1)
        if count < len(self):
            random = torch.Generator().manual_seed(0)
            return read(self.images, torch.randperm(len(self), generator=random)[:count].sort().values)
        return self.images if isinstance(self.images, Tensor) else read(self.images, torch.arange(len(self)))


@dataclass(frozen=True, kw_only=True)
class Splits:
    """A data set ready for a run.

    Args:
        train, val, test: the samples; val is empty where the user keeps none.
        task: classification (one-hot targets), binary (K = 1, targets 0 or 1) or regression.
        classes: their names, empty for regression.
        notes: what the user should be told of the data, one line each.
    """

    train: Split
    val: Split
    test: Split
    task: str
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(self.train.images.shape[1:])

    @property
    def outputs(self) -> int:
        return self.train.targets.shape[1]


def one_hot(labels: Tensor, classes: int, source: str) -> Tensor:
    """(N,) whole numbers to (N, classes) floats. Errors: DataError on a label outside 0 .. classes - 1."""
    outside = ((labels < 0) | (labels >= classes)).nonzero().flatten()
    if len(outside):
        first = int(outside[0])
        raise DataError(
            f"{source}: {len(outside)} labels are outside the {classes} classes (0 to {classes - 1}); the first is {int(labels[first])} at sample {first}"
        )
    return F.one_hot(labels.long(), classes).float()


def hold_out(groups: Sequence[int] | Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Indices kept and indices held out, each in ascending order: round(share * n) of every group's n samples, at random.

    `groups` are the class labels for a stratified split, or all equal for a plain one. A share of 0 holds out none; any
    other leaves at least one sample of each group on both sides where the group has two.
    (scikit-learn's train_test_split does this too, and takes 0.8 s to import.)
    """
    labels = np.asarray(groups)
    random = np.random.default_rng(seed)
    held = np.zeros(len(labels), dtype=bool)
    for group in np.unique(labels):
        members = np.flatnonzero(labels == group)
        count = round(share * len(members))
        if share > 0 and len(members) > 1:
            count = min(max(count, 1), len(members) - 1)
        held[random.permutation(members)[:count]] = True
    return torch.from_numpy(np.flatnonzero(~held)), torch.from_numpy(np.flatnonzero(held))


def halved(data: Splits, half: str) -> Splits:
    """The samples of the first half of the classes (`a`) or of the others (`b`), or all of them; the middle class goes to b."""
    if half == "all":
        return data
    columns = slice(None, data.outputs // 2) if half == "a" else slice(data.outputs // 2, None)

    def part(split: Split) -> Split:
        kept = split.targets[:, columns].sum(1).nonzero().flatten()
        return Split(split.images[kept], split.targets[kept, columns])

    return replace(
        data, train=part(data.train), val=part(data.val), test=part(data.test), classes=data.classes[columns]
    )


def take(images: Tensor, targets: Tensor, indices: Tensor) -> Split:
    return Split(images[indices], targets[indices])
