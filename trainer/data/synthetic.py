"""Data sets made by a formula: as many samples as one likes, the right answer known.

The samples follow `split_seed`, as does which of them are held out, so that every run is scored on the same ones.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainer.base.checks import require
from trainer.data.splits import Splits
from trainer.data.tables import HeldOut


@dataclass(frozen=True, kw_only=True)
class Drawn(HeldOut):
    """Samples that a generator draws.

    Args:
        samples: in all three splits, >= 100.
        val_fraction, test_fraction, split_seed: as in HeldOut.
    Errors: ValueError.
    """

    samples: int = 1000

    def __post_init__(self) -> None:
        require(">= 100", samples=self.samples)
        require(">= 0", split_seed=self.split_seed)

    def random(self) -> np.random.Generator:
        """Numbers for the samples, apart from those that hold_out draws from the same seed."""
        return np.random.default_rng([self.split_seed, 1])

    def in_classes(self, points: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> Splits:
        return self.classified(floats(points), torch.from_numpy(labels), classes, "made by formula")


@dataclass(frozen=True, kw_only=True)
class Polynomial(Drawn):
    """A noisy polynomial of one variable: regression.

    x is uniform in [-1, 1]; y = T(x) + noise e, where T(x) = cos(degree arccos x) is Chebyshev's polynomial of that degree, which
    stays in [-1, 1] and turns degree - 1 times, and e is normal with deviation 1. A loss of noise^2 is the best there is.

    Args:
        degree: in [1, 20].
        noise: deviation of what is added, >= 0.
        samples: in all three splits, >= 100.
        val_fraction, test_fraction, split_seed: as in HeldOut.
    Shapes: (1,) to (1,). Errors: ValueError.
    """

    degree: int = 3
    noise: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require("in [1, 20]", degree=self.degree)
        require(">= 0", noise=self.noise)

    def load(self) -> Splits:
        random = self.random()
        x = random.uniform(-1, 1, (self.samples, 1))
        y = np.cos(self.degree * np.arccos(x)) + self.noise * random.standard_normal(x.shape)
        return self.regression(floats(x), floats(y))


@dataclass(frozen=True, kw_only=True)
class Spirals(Drawn):
    """Interlocking spiral arms in the plane: classification that no line can do (two arms: Lang & Witbrock, 1988).

    A point of arm k is r (cos a, sin a) with a = 2 pi (k / arms + turns r) + noise e, r uniform in [0, 1], e normal with deviation 1.

    Args:
        arms: classes, in [2, 10].
        turns: how often an arm winds around the centre, > 0; the more, the harder.
        noise: deviation of the angle in radians, >= 0.
        samples: in all three splits, >= 100; equally many of each arm, but for a remainder.
        val_fraction, test_fraction, split_seed: as in HeldOut.
    Shapes: (2,). Errors: ValueError.
    Source: Proceedings of the 1988 Connectionist Models Summer School. Differs from the paper: random points, any number of arms.
    """

    arms: int = 3
    turns: float = 1.0
    noise: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require("in [2, 10]", arms=self.arms)
        require("> 0", turns=self.turns)
        require(">= 0", noise=self.noise)

    def load(self) -> Splits:
        random = self.random()
        labels = np.arange(self.samples) % self.arms
        radius = random.uniform(0, 1, self.samples)
        angle = 2 * math.pi * (labels / self.arms + self.turns * radius) + self.noise * random.standard_normal(
            self.samples
        )
        points = radius * np.stack([np.cos(angle), np.sin(angle)])
        return self.in_classes(points.T, labels, tuple(f"arm {k}" for k in range(self.arms)))


@dataclass(frozen=True, kw_only=True)
class Gaussians(Drawn):
    """A mixture of normal clouds: classification whose best rule is known.

    A sample of class k is m_k + e: m_k = shift + separation (cos 2 pi k / K, sin 2 pi k / K) in the first two features and shift in the
    others, e normal with deviation 1 in each. With equal classes the nearest m_k is the best guess. Class k has a share in proportion
    to imbalance^(-k / (K - 1)), as in long-tailed data sets.

    Args:
        classes: K, in [2, 10].
        features: >= 2; those after the second tell nothing of the class.
        separation: distance of the clouds from their middle, in deviations, >= 0.
        shift: added to every feature, in (-1e9, 1e9); a large one makes all inputs positive.
        imbalance: samples of the largest class over those of the smallest, >= 1; 1 makes all alike. Each keeps at least 3.
        samples: in all three splits, about, >= 100.
        val_fraction, test_fraction, split_seed: as in HeldOut.
    Shapes: (features,). Errors: ValueError.
    Source of the imbalance: Cui et al., 2019, arXiv:1901.05555.
    """

    classes: int = 3
    features: int = 2
    separation: float = 2.0
    shift: float = 0.0
    imbalance: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require("in [2, 10]", classes=self.classes)
        require(">= 2", features=self.features)
        require(">= 0", separation=self.separation)
        require(">= 1", imbalance=self.imbalance)
        require("in (-1e9, 1e9)", shift=self.shift)

    def load(self) -> Splits:
        random = self.random()
        k = np.arange(self.classes)
        weights = self.imbalance ** (-k / (self.classes - 1))
        counts = np.maximum(3, np.round(self.samples * weights / weights.sum())).astype(int)
        labels = np.repeat(k, counts)
        points = self.shift + random.standard_normal((len(labels), self.features))
        angle = 2 * math.pi * labels / self.classes
        points[:, :2] += self.separation * np.stack([np.cos(angle), np.sin(angle)], 1)
        return self.in_classes(points, labels, tuple(f"cloud {k}" for k in range(self.classes)))


@dataclass(frozen=True, kw_only=True)
class HeightWeight(Drawn):
    """People by height in metres and weight in kilograms: two features whose scales are 50 times apart.

    Height is uniform in [1.5, 2.0] m, the body-mass index in [16, 32] kg/m^2, weight = index height^2. The classes are those of the
    World Health Organization: underweight below 18.5, normal below 25, overweight from there. Both features are needed for them, but
    a net that takes them as they are (preprocess=none) hears almost only the weight.

    Args:
        samples: in all three splits, >= 100.
        val_fraction, test_fraction, split_seed: as in HeldOut.
    Shapes: (2,). Errors: ValueError.
    """

    def load(self) -> Splits:
        random = self.random()
        height, index = random.uniform(1.5, 2.0, self.samples), random.uniform(16, 32, self.samples)
        labels = np.digitize(index, [18.5, 25])
        return self.in_classes(
            np.stack([height, index * height**2], 1), labels, ("underweight", "normal", "overweight")
        )


def floats(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values).float()
