"""Preprocessing: `fit(images) -> apply`, fitted on the training split only, then applied to every split.

Images arrive as floats in [0, 1], or as uint8 in 255ths of that; tables (N, D) as floats. The fitted function maps a
batch on any device to float32, and its `invert(values)` maps back to the scale of the data: [0, 1] for images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.base.checks import require
from trainer.base.linear_map import Affine, Projection
from trainer.base.monomials import Monomials, count_monomials, fit_monomials
from trainer.base.protocols import Apply
from trainer.base.statistics import NO_DEVIATION, in_chunks, mean_of, without_constants

# What `fit` returns, by names that stay when files move.
FITTED = {kind.__name__: kind for kind in (Affine, Projection, Monomials)}
BLOCK = 2**22  # values converted to float64 at once for products of matrices
MAX_FEATURES = 10_000  # for a covariance matrix and its eigenvectors, by memory and time


def standardized(images: Tensor, dims: tuple[int, ...]) -> Affine:
    """Fit (x - mean) / deviation over `dims`; a constant's deviation counts as 1.

    The deviation is the biased one, from a second pass, as a single pass runs out of digits.
    """
    mean = mean_of(images, dims)
    square = sum((part - mean).square_().sum(dims, keepdim=True) for part in in_chunks(images))
    deviation = (square * (mean.numel() / images.numel())).sqrt_()
    return Affine(mean, 1 / without_constants(deviation, mean))


def channelwise(images: Tensor) -> tuple[int, ...]:
    """Return the dimensions other than the channels' (in a table, the features')."""
    return (0, *range(2, images.dim()))


def spectrum(images: Tensor, eps: float = 0.0) -> tuple[Affine, Tensor, Tensor]:
    """Return the mean, the eigenvectors (D, D) of the features' biased covariance, and sqrt(eigenvalues + eps) (D,).

    Largest first. An eigenvector, a column, has the sign that makes its largest entry positive (the first of equals).
    Errors: ValueError beyond MAX_FEATURES features.
    """
    features = images[0].numel()
    if features > MAX_FEATURES:
        limit = f"takes {MAX_FEATURES} features at most, the data has {features}"
        raise ValueError(f"{limit}; try preprocess=channel_standardize, smaller images")
    mean = mean_of(images, (0,))
    covariance = torch.zeros(features, features, dtype=torch.float64, device=images.device)
    for part in in_chunks(images, BLOCK):
        flat = (part - mean).flatten(1)
        covariance.addmm_(flat.T, flat, alpha=1 / len(images))
    values, vectors = torch.linalg.eigh(covariance)
    sizes = vectors.abs()
    # Entries that differ by rounding are equals.
    largest = (sizes > (1 - 1e-6) * sizes.amax(0)).int().argmax(0, keepdim=True)
    vectors = vectors * vectors.gather(0, largest).sign()
    return Affine(mean), vectors.flip(1), (values.clamp(min=0) + eps).sqrt().flip(0)


def whitening(images: Tensor, eps: float) -> tuple[Affine, Tensor, Tensor]:
    """Return the spectrum, of which eps keeps every deviation above 0. Errors: ValueError where eps = 0 does not."""
    mean, vectors, deviation = spectrum(images, eps)
    constant = int((deviation <= NO_DEVIATION * deviation[0]).sum())
    if eps == 0 and constant:
        what = f"the training data do not vary in {constant} of {len(deviation)} directions"
        raise ValueError(f"eps=0: {what}, which cannot be scaled to variance 1; try preprocess.eps=1e-5")
    return mean, vectors, deviation


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Identity y = x; uint8 becomes floats in [0, 1]. Nothing is fitted: `fit` returns the object itself."""

    def fit(self, images: Tensor) -> Apply:
        return self

    def __call__(self, images: Tensor) -> Tensor:
        return images.to(torch.float32).div_(255) if images.dtype == torch.uint8 else images

    def invert(self, values: Tensor) -> Tensor:
        return values


FITTED["Identity"] = Identity


@dataclass(frozen=True, kw_only=True)
class Center:
    """Centring y = x - mean of each feature over the training split: by a mean image (C, H, W), as AlexNet's (2012)."""

    def fit(self, images: Tensor) -> Apply:
        return Affine(mean_of(images, (0,)))


@dataclass(frozen=True, kw_only=True)
class OfModel:
    """Standardisation y = (x - mean) / std of each channel by fixed numbers, those that a network was made for.

    A network for colours that gets another number of channels has the average of its numbers for each. Source: the
    network's library.
    """

    def fit(self, images: Tensor) -> Apply:
        raise ValueError("the model has no normalisation of its own; try preprocess=channel_standardize")

    def for_channels(self, mean: Sequence[float], deviation: Sequence[float], channels: int) -> Apply:
        values = [torch.tensor(part, dtype=torch.float64) for part in (mean, deviation)]
        values = [part if len(part) == channels else part.mean().expand(channels) for part in values]
        mean, deviation = (part.contiguous()[None, :, None, None] for part in values)
        return Affine(mean, 1 / deviation)


@dataclass(frozen=True, kw_only=True)
class ChannelMean:
    """Centring y = x - mean of each channel over all training samples and pixels (VGG, 2014, arXiv:1409.1556)."""

    def fit(self, images: Tensor) -> Apply:
        return Affine(mean_of(images, channelwise(images)))


@dataclass(frozen=True, kw_only=True)
class Standardize:
    """Standardisation y = (x - mean) / std of each feature (pixel and channel) over the training split.

    std is the biased one; a constant is only centred.
    """

    def fit(self, images: Tensor) -> Apply:
        return standardized(images, (0,))


@dataclass(frozen=True, kw_only=True)
class ChannelStandardize:
    """Standardisation y = (x - mean) / std of each channel over all training samples and pixels (ResNet's input).

    std is the biased one; a constant is only centred.
    """

    def fit(self, images: Tensor) -> Apply:
        return standardized(images, channelwise(images))


@dataclass(frozen=True, kw_only=True)
class MinMax:
    """Min-max scaling y = low + (high - low) (x - min) / (max - min) of each feature, by the training split's range.

    Other splits may leave the range. A constant feature becomes low, and differences of 1 there become high - low.

    Args:
        low: new smallest training value, in [-1, 0]. Usual: 0.
        high: new largest training value, in (0, 1]. Usual: 1.
    Errors: ValueError.
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        require("in [-1, 0]", low=self.low)
        require("in (0, 1]", high=self.high)

    def fit(self, images: Tensor) -> Apply:
        smallest, largest = (next(in_chunks(extreme(0, keepdim=True))) for extreme in (images.amin, images.amax))
        scale = (self.high - self.low) / torch.where(largest > smallest, largest - smallest, 1.0)
        return Affine(smallest - self.low / scale, scale)


@dataclass(frozen=True, kw_only=True)
class Polynomial:
    """Polynomial features: products of 1 to `degree` features, repetitions included, each standardised.

    Of x1, x2 and degree 2: x1, x2, x1^2, x1 x2, x2^2. The constant is left out, as the model has a bias. D features
    make (D + degree)! / (D! degree!) - 1. With model=linear this is polynomial regression.

    Args:
        degree: in [1, 100]. scikit-learn: 2.
    Shapes: (B, ...) -> a table (B, F).
    Errors: ValueError, also where there are more than 10,000.
    Source: scikit-learn's PolynomialFeatures without its bias, then its StandardScaler.
    """

    degree: int = 2

    def __post_init__(self) -> None:
        require("in [1, 100]", degree=self.degree)

    def fit(self, images: Tensor) -> Apply:
        features = images[0].numel()
        fitting = [degree for degree in range(1, 101) if count_monomials(features, degree) <= MAX_FEATURES]
        if self.degree not in fitting:
            makes = f"degree {self.degree} of the {features:,} features of the data makes"
            hint = f"preprocess.degree={max(fitting)}" if fitting else "preprocess=standardize"
            raise ValueError(
                f"{makes} {count_monomials(features, self.degree):,}, at most {MAX_FEATURES:,} are possible; try {hint}"
            )
        return fit_monomials(images, self.degree)


@dataclass(frozen=True, kw_only=True)
class Pca:
    """Principal components (Pearson, 1901): y = (x - mean) V, V the eigenvectors of the features' covariance.

    The covariance of y is diagonal: the eigenvalues, largest first. Neighbouring pixels of y are unrelated components.

    Args:
        components: number of leading components to keep, a whole number >= 1; null for all.
    Shapes: (B, ...) -> the same when all are kept, else a table (B, components), which `invert` maps to the projection.
    Errors: ValueError, also beyond 10,000 features.
    """

    components: int | None = None

    def __post_init__(self) -> None:
        if self.components is not None:
            require(">= 1", components=self.components)

    def fit(self, images: Tensor) -> Apply:
        features = images[0].numel()
        if self.components is not None and self.components > features:
            raise ValueError(f"components must be <= {features}, the features of the data, got {self.components}")
        mean, vectors, _ = spectrum(images)
        leading = vectors[:, : self.components]
        shape = images.shape[1:] if self.components is None else (self.components,)
        return Projection(mean, leading, leading.T, shape)


@dataclass(frozen=True, kw_only=True)
class WhitenPca:
    """Whitened principal components, of variance 1: y = (x - mean) V / sqrt(l + eps).

    V and l are the eigenvectors and eigenvalues of the covariance. The covariance of y is diagonal, l / (l + eps): 1 in
    directions of a variance far above eps, 0 in those of none.

    Args:
        eps: added to the variances, >= 0, so that nearly constant directions do not grow without bound. cs231n: 1e-5.
    Shapes: (B, ...) -> the same; as with Pca, neighbouring pixels are unrelated.
    Errors: ValueError, also beyond 10,000 features, and with eps = 0 on data that do not vary in some direction.
    """

    eps: float = 1e-5

    def __post_init__(self) -> None:
        require(">= 0", eps=self.eps)

    def fit(self, images: Tensor) -> Apply:
        mean, vectors, deviation = whitening(images, self.eps)
        return Projection(mean, vectors / deviation, (vectors * deviation).T, images.shape[1:])


@dataclass(frozen=True, kw_only=True)
class WhitenZca:
    """Whitening that rotates back, so that pixels stay in place (Bell & Sejnowski, 1997).

    y = (x - mean) V diag(1 / sqrt(l + eps)) V^T; V, l, eps, shapes and errors are those of WhitenPca.
    """

    eps: float = 1e-5

    def __post_init__(self) -> None:
        require(">= 0", eps=self.eps)

    def fit(self, images: Tensor) -> Apply:
        mean, vectors, deviation = whitening(images, self.eps)
        return Projection(mean, (vectors / deviation) @ vectors.T, (vectors * deviation) @ vectors.T, images.shape[1:])
