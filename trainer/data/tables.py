"""The small real data sets that ship with scikit-learn: no download, no folder.

None has a split of its own: the test and then the validation samples are held out class by class with a fixed seed, which is
apart from the run's seed, so that every run is scored on the same samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

from trainer.base.checks import require, require_one_of
from trainer.data.splits import Split, Splits, halved, hold_out, one_hot, take


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Samples without a split of their own, and how many of them are held out, in equal parts of every class.

    Args:
        val_fraction: of all samples, in [0, 1).
        test_fraction: of all samples, in (0, 1).
        split_seed: >= 0.
    Errors: ValueError.
    """

    val_fraction: float = 0.15
    test_fraction: float = 0.2
    split_seed: int = 0

    def split(self, images: Tensor, targets: Tensor, groups: Tensor) -> tuple[Split, Split, Split]:
        """Train, val and test, in equal parts of every group."""
        require("in [0, 1)", val_fraction=self.val_fraction)
        require("in (0, 1)", test_fraction=self.test_fraction)
        require("< 1", **{"val_fraction + test_fraction": self.val_fraction + self.test_fraction})
        require(">= 0", split_seed=self.split_seed)
        rest, test = hold_out(groups, self.test_fraction, self.split_seed)
        kept, held = hold_out(groups[rest], self.val_fraction / (1 - self.test_fraction), self.split_seed)
        return take(images, targets, rest[kept]), take(images, targets, rest[held]), take(images, targets, test)

    def classified(self, images: Tensor, labels: Tensor, classes: Sequence[str], source: str) -> Splits:
        train, val, test = self.split(images, one_hot(labels, len(classes), source), labels)
        return Splits(train=train, val=val, test=test, task="classification", classes=tuple(map(str, classes)))

    def regression(self, inputs: Tensor, targets: Tensor) -> Splits:
        train, val, test = self.split(inputs, targets, torch.zeros(len(targets)))
        return Splits(train=train, val=val, test=test, task="regression")


@dataclass(frozen=True, kw_only=True)
class Digits(HeldOut):
    """1,797 images (1, 8, 8) of handwritten digits, pixels 0 to 16 scaled to [0, 1], 10 classes.

    Args:
        val_fraction, test_fraction, split_seed: as in HeldOut.
        half: which classes: all, a (0 to 4) or b (5 to 9), the two tasks of a transfer (Yosinski et al., 2014, arXiv:1411.1792).
    Errors: ValueError.
    """

    val_fraction: float = 0.1
    half: str = "all"

    def load(self) -> Splits:
        require_one_of("all", "a", "b", half=self.half)
        bunch = digits()
        images = torch.from_numpy(bunch.images).float().div(16).unsqueeze(1)
        return halved(self.classified(images, torch.tensor(bunch.target), bunch.target_names, "data=digits"), self.half)


@dataclass(frozen=True, kw_only=True)
class Iris(HeldOut):
    """150 flowers, 4 lengths in cm, 3 species. Fields as in HeldOut."""

    val_fraction: float = 0.2

    def load(self) -> Splits:
        from sklearn.datasets import load_iris

        return features_by_class(self, load_iris(), "data=iris")


@dataclass(frozen=True, kw_only=True)
class Wine(HeldOut):
    """178 wines, 13 chemical measurements, 3 growers. Fields as in HeldOut."""

    def load(self) -> Splits:
        from sklearn.datasets import load_wine

        return features_by_class(self, load_wine(), "data=wine")


@dataclass(frozen=True, kw_only=True)
class Photos(HeldOut):
    """Two colour photographs of 427 x 640 pixels, a temple in China and a flower, cut into square tiles: which of the two is it?

    The tiles do not overlap and start at the upper left; what is left over at the right and below is not used.

    Args:
        size: height and width of a tile in pixels, in [16, 200]; 64 gives 60 tiles of each photograph.
        val_fraction, test_fraction, split_seed: as in HeldOut.
    Shapes: images (3, size, size), uint8. Errors: ValueError.
    """

    size: int = 64

    def load(self) -> Splits:
        from sklearn.datasets import load_sample_images

        require("in [16, 200]", size=self.size)
        tiles = [tiled(torch.tensor(photo).permute(2, 0, 1), self.size) for photo in load_sample_images().images]
        labels = torch.repeat_interleave(torch.arange(2), len(tiles[0]))
        return self.classified(torch.cat(tiles), labels, ("china", "flower"), "data=photos")


@dataclass(frozen=True, kw_only=True)
class BreastCancer(HeldOut):
    """569 biopsies, 30 features; binary, 1 is benign (as in scikit-learn). Fields as in HeldOut."""

    def load(self) -> Splits:
        from sklearn.datasets import load_breast_cancer

        bunch = load_breast_cancer()
        labels = torch.from_numpy(bunch.target)
        train, val, test = self.split(torch.from_numpy(bunch.data).float(), labels.float().unsqueeze(1), labels)
        return Splits(train=train, val=val, test=test, task="binary", classes=tuple(map(str, bunch.target_names)))


@dataclass(frozen=True, kw_only=True)
class Diabetes(HeldOut):
    """442 patients, 10 features; regression of the disease's progression after a year.

    Targets are standardised by the training split's mean and deviation, so that a loss of 1 is what the mean would score.
    Fields as in HeldOut.
    """

    def load(self) -> Splits:
        from sklearn.datasets import load_diabetes

        bunch = load_diabetes()
        targets = torch.from_numpy(bunch.target).float().unsqueeze(1)
        raw = self.regression(torch.from_numpy(bunch.data).float(), targets)
        deviation, mean = torch.std_mean(raw.train.targets, correction=0)
        train, val, test = (
            replace(part, targets=(part.targets - mean) / deviation) for part in (raw.train, raw.val, raw.test)
        )
        return replace(raw, train=train, val=val, test=test)


@cache
def digits():
    """Read once in a process: they are kept as text, which takes longer to read than a sweep's job to build."""
    from sklearn.datasets import load_digits

    return load_digits()


def features_by_class(held_out: HeldOut, bunch, source: str) -> Splits:
    return held_out.classified(
        torch.from_numpy(bunch.data).float(), torch.from_numpy(bunch.target), bunch.target_names, source
    )


def tiled(photo: Tensor, size: int) -> Tensor:
    """A photograph (C, H, W) as tiles (N, C, size, size), row by row."""
    tiles = photo.unfold(1, size, size).unfold(2, size, size)  # (C, rows, columns, size, size)
    return tiles.permute(1, 2, 0, 3, 4).flatten(0, 1).contiguous()
