"""What a data set gives: three splits of inputs and targets, and what they mean."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.errors import DataError


@dataclass(frozen=True)
class Split:
    """Inputs (N, C, H, W), uint8 or floats in [0, 1], or (N, D) floats; targets (N, K) floats."""

    images: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, kw_only=True)
class Splits:
    """A data set ready for a run.

    Args:
        train, val, test: the samples; val is empty where the user keeps none.
        task: classification (one-hot targets), binary (K = 1, targets 0 or 1) or regression.
        classes: their names, empty for regression.
    """

    train: Split
    val: Split
    test: Split
    task: str
    classes: tuple[str, ...] = ()

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


def take(images: Tensor, targets: Tensor, indices: Tensor) -> Split:
    return Split(images[indices], targets[indices])
