"""Synthetic data sets: any number of samples from a formula whose best answer is known.

The samples follow `split_seed`, as does the split, so that every run is evaluated on the same ones.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from trainer.base.checks import require
from trainer.data.inputs import Predicted, named_columns
from trainer.data.splits import SplitByFraction, Splits


@dataclass(frozen=True, kw_only=True)
class Synthetic(SplitByFraction):
    """Data set drawn at random.

    Args:
        samples: in all three splits, >= 100.
        val_fraction, test_fraction, split_seed: as in SplitByFraction.
    Errors: ValueError.
    """

    samples: int = 1000

    def __post_init__(self) -> None:
        require(">= 100", samples=self.samples)
        require(">= 0", split_seed=self.split_seed)

    def generator(self) -> np.random.Generator:
        """Return the generator of the samples, independent of the one that hold_out seeds with the same number."""
        return np.random.default_rng([self.split_seed, 1])

    def labelled(self, points: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> Splits:
        """Return the splits of points (N, D) with labels (N,)."""
        return self.classification(floats(points), torch.from_numpy(labels), classes, "made by formula")


@dataclass(frozen=True, kw_only=True)
class Polynomial(Synthetic):
    """Noisy polynomial of one variable: regression.

    x is uniform in [-1, 1]; y = T(x) + noise e, where T(x) = cos(degree arccos x) is Chebyshev's polynomial of that
    degree, which stays in [-1, 1] and has degree - 1 extrema inside, and e is standard normal. The smallest possible
    loss is noise^2.

    Args:
        degree: in [1, 20].
        noise: standard deviation of the noise, >= 0.
        samples: in all three splits, >= 100.
        val_fraction, test_fraction, split_seed: as in SplitByFraction.
    Shapes: (1,) to (1,). Errors: ValueError.
    """

    degree: int = 3
    noise: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require("in [1, 20]", degree=self.degree)
        require(">= 0", noise=self.noise)

    def load(self) -> Splits:
        rng = self.generator()
        x = rng.uniform(-1, 1, (self.samples, 1))
        y = np.cos(self.degree * np.arccos(x)) + self.noise * rng.standard_normal(x.shape)
        predicted = Predicted(name="y", names=("y",))
        return replace(self.regression(floats(x), floats(y)), inputs=named_columns(["x"]), predicted=predicted)


@dataclass(frozen=True, kw_only=True)
class Regression(Synthetic):
    """Noisy outputs of a fixed network with one hidden layer, the teacher: regression with several outputs.

    x is standard normal; y = V tanh(W x + b) + noise e, e standard normal. The teacher's weights are drawn once for its
    shape, whatever the seed: W of variance 1 / features, b of variance 1, the rows of V of length 1. A network of the
    same shape with act=tanh can learn it; the smallest possible loss is noise^2 for loss.reduction=mean, and outputs
    noise^2 for the sum.

    Args:
        features: inputs, >= 1.
        outputs: >= 1.
        hidden: units of the teacher's hidden layer, >= 1.
        noise: standard deviation of the noise, >= 0.
        samples: in all three splits, >= 100.
        val_fraction, test_fraction, split_seed: as in SplitByFraction; the seed decides inputs and noise.
    Shapes: (features,) to (outputs,). Errors: ValueError.
    """

    features: int = 3
    outputs: int = 2
    hidden: int = 3
    noise: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(">= 1", features=self.features, outputs=self.outputs, hidden=self.hidden)
        require(">= 0", noise=self.noise)

    def teacher(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return W (hidden, features), b (hidden,) and V (outputs, hidden)."""
        rng = np.random.default_rng([self.features, self.hidden, self.outputs])
        inner = rng.standard_normal((self.hidden, self.features)) / math.sqrt(self.features)
        bias, outer = rng.standard_normal(self.hidden), rng.standard_normal((self.outputs, self.hidden))
        return inner, bias, outer / np.linalg.norm(outer, axis=1, keepdims=True)

    def load(self) -> Splits:
        rng = self.generator()
        inner, bias, outer = self.teacher()
        x = rng.standard_normal((self.samples, self.features))
        y = np.tanh(x @ inner.T + bias) @ outer.T
        return self.regression(floats(x), floats(y + self.noise * rng.standard_normal(y.shape)))


@dataclass(frozen=True, kw_only=True)
class Spirals(Synthetic):
    """Interlocking spiral arms in the plane: classes that no line separates (two arms: Lang & Witbrock, 1988).

    A point of arm k is r (cos a, sin a) with a = 2 pi (k / arms + turns r) + noise e, r uniform in [0, 1], e standard
    normal.

    Args:
        arms: classes, in [2, 10].
        turns: of an arm around the centre, >= 0; more are harder, with none the arms are straight.
        noise: standard deviation of the angle in radians, >= 0.
        samples: in all three splits, >= 100; as many of each arm, up to a remainder.
        val_fraction, test_fraction, split_seed: as in SplitByFraction.
    Shapes: (2,). Errors: ValueError.
    Source: Proceedings of the 1988 Connectionist Models Summer School.
    Differs from the paper: random points, any number of arms.
    """

    arms: int = 3
    turns: float = 1.0
    noise: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require("in [2, 10]", arms=self.arms)
        require(">= 0", turns=self.turns)
        require(">= 0", noise=self.noise)

    def load(self) -> Splits:
        rng = self.generator()
        labels = np.arange(self.samples) % self.arms
        radius = rng.uniform(0, 1, self.samples)
        noise = self.noise * rng.standard_normal(self.samples)
        angle = 2 * math.pi * (labels / self.arms + self.turns * radius) + noise
        points = radius * np.stack([np.cos(angle), np.sin(angle)])
        return self.labelled(points.T, labels, tuple(f"arm {k}" for k in range(self.arms)))


@dataclass(frozen=True, kw_only=True)
class Gaussians(Synthetic):
    """Gaussian mixture: classes whose Bayes classifier is known.

    A sample of class k is m_k + e: m_k = shift + separation (cos 2 pi k / K, sin 2 pi k / K) in the first two features
    and shift in the others, e standard normal in each. With equal classes the best rule is the nearest m_k. The size of
    class k is proportional to imbalance^(-k / (K - 1)), as in long-tailed data sets.

    Args:
        classes: K, in [2, 10].
        features: >= 2; all after the second are noise.
        separation: distance of the means m_k from their centre, in standard deviations, >= 0.
        shift: added to every feature, in (-1e9, 1e9); a large one makes all inputs positive.
        imbalance: size of the largest class over that of the smallest, >= 1; 1 makes all equal. Each keeps at least 3.
        samples: in all three splits, approximately, >= 100.
        val_fraction, test_fraction, split_seed: as in SplitByFraction.
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
        rng = self.generator()
        k = np.arange(self.classes)
        weights = self.imbalance ** (-k / (self.classes - 1))
        counts = np.maximum(3, np.round(self.samples * weights / weights.sum())).astype(int)
        labels = np.repeat(k, counts)
        points = self.shift + rng.standard_normal((len(labels), self.features))
        angle = 2 * math.pi * labels / self.classes
        points[:, :2] += self.separation * np.stack([np.cos(angle), np.sin(angle)], 1)
        return self.labelled(points, labels, tuple(f"cloud {k}" for k in range(self.classes)))


@dataclass(frozen=True, kw_only=True)
class HeightWeight(Synthetic):
    """People by height in metres and weight in kilograms: two features whose scales are 50 times apart.

    Height is uniform in [1.5, 2.0] m, the body-mass index in [16, 32] kg/m^2, weight = index height^2. The classes are
    the World Health Organization's: underweight below 18.5, normal below 25, overweight from there. They need both
    features, but without preprocessing (preprocess=none) the weight dominates.

    Args:
        samples: in all three splits, >= 100.
        val_fraction, test_fraction, split_seed: as in SplitByFraction.
    Shapes: (2,). Errors: ValueError.
    """

    def load(self) -> Splits:
        rng = self.generator()
        height, index = rng.uniform(1.5, 2.0, self.samples), rng.uniform(16, 32, self.samples)
        labels = np.digitize(index, [18.5, 25])
        points = np.stack([height, index * height**2], 1)
        data = self.labelled(points, labels, ("underweight", "normal", "overweight"))
        return replace(data, inputs=named_columns(["height", "weight"]))


def floats(values: np.ndarray) -> Tensor:
    """Return an array as a float32 tensor."""
    return torch.from_numpy(values).float()
