"""Data sets that ship with scikit-learn: small and real, without a download or a folder."""

from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainer.base.checks import require
from trainer.data.inputs import Predicted, named_columns
from trainer.data.splits import SplitByFraction, Splits, standardize_targets


@dataclass(frozen=True, kw_only=True)
class Digits(SplitByFraction):
    """1,797 images (1, 8, 8) of handwritten digits, pixels 0 to 16 scaled to [0, 1], 10 classes.

    Args:
        val_fraction, test_fraction, split_seed: as in SplitByFraction.
    Errors: ValueError.
    """

    val_fraction: float = 0.1

    def load(self) -> Splits:
        pixels, labels = digits()
        images = torch.from_numpy(pixels).float().div(16).view(-1, 1, 8, 8)
        return self.classification(images, torch.tensor(labels), range(10), "data=digits")


@dataclass(frozen=True, kw_only=True)
class Iris(SplitByFraction):
    """150 flowers, 4 lengths in cm, 3 species. Fields as in SplitByFraction."""

    val_fraction: float = 0.2

    def load(self) -> Splits:
        from sklearn.datasets import load_iris

        return features_by_class(self, load_iris(), "data=iris")


@dataclass(frozen=True, kw_only=True)
class Wine(SplitByFraction):
    """178 wines, 13 chemical measurements, 3 growers. Fields as in SplitByFraction."""

    def load(self) -> Splits:
        from sklearn.datasets import load_wine

        return features_by_class(self, load_wine(), "data=wine")


@dataclass(frozen=True, kw_only=True)
class Photos(SplitByFraction):
    """Square tiles of two colour photographs of 427 x 640 pixels, a temple and a flower; the class is the photograph.

    The tiles do not overlap and start at the upper left; an incomplete tile at the right or the bottom is dropped.

    Args:
        size: height and width of a tile in pixels, in [16, 200]; 64 gives 60 tiles of each photograph.
        val_fraction, test_fraction, split_seed: as in SplitByFraction.
    Shapes: images (3, size, size), uint8. Errors: ValueError.
    """

    size: int = 64

    def load(self) -> Splits:
        from sklearn.datasets import load_sample_images

        require("in [16, 200]", size=self.size)
        tiles = [tile(torch.tensor(photo).permute(2, 0, 1), self.size) for photo in load_sample_images().images]
        labels = torch.repeat_interleave(torch.arange(2), len(tiles[0]))
        return self.classification(torch.cat(tiles), labels, ("china", "flower"), "data=photos")


@dataclass(frozen=True, kw_only=True)
class BreastCancer(SplitByFraction):
    """569 biopsies, 30 features; binary, 1 is benign (as in scikit-learn). Fields as in SplitByFraction."""

    def load(self) -> Splits:
        from sklearn.datasets import load_breast_cancer

        bunch = load_breast_cancer()
        labels = torch.from_numpy(bunch.target)
        train, val, test = self.split(torch.from_numpy(bunch.data).float(), labels.float().unsqueeze(1), labels)
        classes, inputs = tuple(map(str, bunch.target_names)), named_columns(bunch.feature_names)
        return Splits(train=train, val=val, test=test, task="binary", classes=classes, inputs=inputs)


@dataclass(frozen=True, kw_only=True)
class Diabetes(SplitByFraction):
    """442 patients, 10 features; regression of the disease's progression after a year.

    Targets are standardised by the training split's mean and deviation: predicting the mean has a squared error of 1.
    Fields as in SplitByFraction.
    """

    def load(self) -> Splits:
        from sklearn.datasets import load_diabetes

        bunch = load_diabetes()
        targets = torch.from_numpy(bunch.target).float().unsqueeze(1)
        data = self.regression(torch.from_numpy(bunch.data).float(), targets)
        predicted = Predicted(name="progression", names=("progression",))
        return standardize_targets(replace(data, inputs=named_columns(bunch.feature_names), predicted=predicted))


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels (N, 64) and labels (N,) of scikit-learn's digits, read once in a process.

    Parsing takes longer than building a job of a sweep, and the import of scikit-learn's data sets, half a second, as
    long as training for some epochs: the file is read without it, where it is in its usual place.
    """
    file = Path(find_spec("sklearn").origin).parent / "datasets" / "data" / "digits.csv.gz"
    if not file.is_file():
        from sklearn.datasets import load_digits

        return load_digits(return_X_y=True)
    table = np.loadtxt(file, delimiter=",")
    return table[:, :-1], table[:, -1].astype(int)


def features_by_class(data: SplitByFraction, bunch, source: str) -> Splits:
    """Return the splits of a table of features with class labels."""
    features, labels = torch.from_numpy(bunch.data).float(), torch.from_numpy(bunch.target)
    made = data.classification(features, labels, bunch.target_names, source)
    return replace(made, inputs=named_columns(bunch.feature_names))


def tile(photo: Tensor, size: int) -> Tensor:
    """Cut a photograph (C, H, W) into tiles (N, C, size, size), row by row."""
    tiles = photo.unfold(1, size, size).unfold(2, size, size)  # (C, rows, columns, size, size)
    return tiles.permute(1, 2, 0, 3, 4).flatten(0, 1).contiguous()
