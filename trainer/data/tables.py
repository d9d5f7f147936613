"""The small real data sets that ship with scikit-learn: no download, no folder.

None has a split of its own: the test and then the validation samples are held out class by class with a fixed seed, which is
apart from the run's seed, so that every run is scored on the same samples.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trainer.data.splits import Split, Splits, hold_out, one_hot, take
from trainer.errors import require


@dataclass(frozen=True, kw_only=True)
class Digits:
    """1,797 images (1, 8, 8) of handwritten digits, pixels 0 to 16 scaled to [0, 1], 10 classes.

    Args:
        val_share: of all samples, in [0, 1).
        test_share: of all samples, in (0, 1).
        split_seed: >= 0.
    Errors: ValueError.
    """

    val_share: float = 0.1
    test_share: float = 0.2
    split_seed: int = 0

    def load(self) -> Splits:
        from sklearn.datasets import load_digits

        bunch = load_digits()
        images = torch.from_numpy(bunch.images).float().div(16).unsqueeze(1)
        return by_class(self, images, bunch, "data=digits")


@dataclass(frozen=True, kw_only=True)
class Iris:
    """150 flowers, 4 lengths in cm, 3 species. Fields as in Digits."""

    val_share: float = 0.2
    test_share: float = 0.2
    split_seed: int = 0

    def load(self) -> Splits:
        from sklearn.datasets import load_iris

        bunch = load_iris()
        return by_class(self, torch.from_numpy(bunch.data).float(), bunch, "data=iris")


@dataclass(frozen=True, kw_only=True)
class BreastCancer:
    """569 biopsies, 30 features; binary, 1 is benign (as in scikit-learn). Fields as in Digits."""

    val_share: float = 0.15
    test_share: float = 0.2
    split_seed: int = 0

    def load(self) -> Splits:
        from sklearn.datasets import load_breast_cancer

        bunch = load_breast_cancer()
        labels = torch.from_numpy(bunch.target)
        train, val, test = split(self, torch.from_numpy(bunch.data).float(), labels.float().unsqueeze(1), labels)
        return Splits(train=train, val=val, test=test, task="binary", classes=tuple(map(str, bunch.target_names)))


@dataclass(frozen=True, kw_only=True)
class Diabetes:
    """442 patients, 10 features; regression of the disease's progression after a year.

    Targets are standardised by the training split's mean and deviation, so that a loss of 1 is what the mean would score.
    Fields as in Digits.
    """

    val_share: float = 0.15
    test_share: float = 0.2
    split_seed: int = 0

    def load(self) -> Splits:
        from sklearn.datasets import load_diabetes

        bunch = load_diabetes()
        targets = torch.from_numpy(bunch.target).float().unsqueeze(1)
        train, val, test = split(self, torch.from_numpy(bunch.data).float(), targets, torch.zeros(len(targets)))
        deviation, mean = torch.std_mean(train.targets, correction=0)
        train, val, test = (replace(part, targets=(part.targets - mean) / deviation) for part in (train, val, test))
        return Splits(train=train, val=val, test=test, task="regression")


def by_class(shares, images: Tensor, bunch, source: str) -> Splits:
    labels = torch.from_numpy(bunch.target)
    classes = tuple(map(str, bunch.target_names))
    train, val, test = split(shares, images, one_hot(labels, len(classes), source), labels)
    return Splits(train=train, val=val, test=test, task="classification", classes=classes)


def split(shares, images: Tensor, targets: Tensor, groups: Tensor) -> tuple[Split, Split, Split]:
    """Train, val and test of shares.val_share, shares.test_share and shares.split_seed, in equal parts of every group."""
    require("in [0, 1)", val_share=shares.val_share)
    require("in (0, 1)", test_share=shares.test_share)
    require("< 1", **{"val_share + test_share": shares.val_share + shares.test_share})
    require(">= 0", split_seed=shares.split_seed)
    rest, test = hold_out(groups, shares.test_share, shares.split_seed)
    kept, held = hold_out(groups[rest], shares.val_share / (1 - shares.test_share), shares.split_seed)
    return take(images, targets, rest[kept]), take(images, targets, rest[held]), take(images, targets, test)
