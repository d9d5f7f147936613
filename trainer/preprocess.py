"""Preprocessing: `fit(images) -> apply`, fitted on the training split only, then applied to every split.

Images arrive as floats in [0, 1], or as uint8, which counts as 255ths of that; tables (N, D) as floats. What is fitted takes a
batch on any device to float32, and has `invert(values)`, back to the scale of the data: [0, 1] for images.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trainer.base.checks import require

Apply = Callable[[Tensor], Tensor]
CHUNK = (
    2**18
)  # values converted to float64 at once while statistics are taken: as many as a cache holds, 3 times faster
BLOCK = 2**22  # the same for products of matrices
MOST = 10_000  # features up to which their covariances, and the eigenvectors of those, fit in memory and patience


@dataclass(frozen=True)
class Affine:
    """y = (x - center) scale, in place, with 1 / 255 in both numbers for uint8.

    As fast as x scale + shift, and without its loss of digits where a mean is large beside its deviation. Both are float64 until they
    are used and broadcast over samples: (1, C, 1, 1), (1, C, H, W) or (1, D).
    """

    center: Tensor
    scale: Tensor = torch.ones(())
    kept: dict = field(
        default_factory=dict, repr=False, compare=False
    )  # the numbers on the devices they were needed on

    def __call__(self, images: Tensor) -> Tensor:
        center, scale = self._numbers(images.device, 255 if images.dtype == torch.uint8 else 1)
        return images.to(torch.float32, copy=True).sub_(center).mul_(scale)

    def invert(self, values: Tensor) -> Tensor:
        center, scale = self._numbers(values.device, 1)
        return values / scale + center

    def _numbers(self, device: torch.device, unit: int) -> tuple[Tensor, Tensor]:
        if (device, unit) not in self.kept:
            self.kept[device, unit] = tuple(
                number.float().to(device) for number in (self.center * unit, self.scale / unit)
            )
        return self.kept[device, unit]


@dataclass(frozen=True)
class Projection:
    """y = (x - mean) matrix over the flattened features, in float32; `invert` is mean + y back.

    Shapes: mean (1, ...), matrix (D, k), back (k, D); y (B, *shape).
    """

    mean: Affine
    matrix: Tensor
    back: Tensor
    shape: tuple[int, ...]
    kept: dict = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, images: Tensor) -> Tensor:
        return (self.mean(images).flatten(1) @ self._matrices(images.device)[0]).view(len(images), *self.shape)

    def invert(self, values: Tensor) -> Tensor:
        return self.mean.invert(
            (values.flatten(1) @ self._matrices(values.device)[1]).view(len(values), *self.mean.center.shape[1:])
        )

    def _matrices(self, device: torch.device) -> list[Tensor]:
        if device not in self.kept:
            self.kept[device] = [matrix.float().to(device) for matrix in (self.matrix, self.back)]
        return self.kept[device]


def in_chunks(images: Tensor, size: int = CHUNK) -> Iterator[Tensor]:
    """The samples in float64, about `size` values at a time; uint8 as 255ths."""
    for part in images.split(max(1, size // images[0].numel())):
        yield part.double().div_(255) if part.dtype == torch.uint8 else part.double()


def mean_of(images: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The mean over `dims` (the samples' among them), kept as size 1; float64."""
    total = sum(part.sum(dims, keepdim=True) for part in in_chunks(images))
    return total * (total.numel() / images.numel())


def standardized(images: Tensor, dims: tuple[int, ...]) -> Affine:
    """(x - mean) / deviation over `dims`, the biased one, from a second pass, as one runs out of digits; that of a constant counts as 1."""
    mean = mean_of(images, dims)
    square = sum((part - mean).square_().sum(dims, keepdim=True) for part in in_chunks(images))
    deviation = (square * (mean.numel() / images.numel())).sqrt_()
    # What rounding leaves of a constant's deviation must not be blown up to 1.
    return Affine(mean, 1 / torch.where(deviation <= 1e-7 * mean.abs().clamp(min=1e-30), 1.0, deviation))


def channelwise(images: Tensor) -> tuple[int, ...]:
    """The dimensions that are not the channels' (a table's: not the features')."""
    return (0, *range(2, images.dim()))


def spectrum(images: Tensor, eps: float = 0.0) -> tuple[Affine, Tensor, Tensor]:
    """How to centre the features, the eigenvectors of their biased covariance, and sqrt(eigenvalues + eps), largest first: (D, D) and (D,).

    An eigenvector, a column, has the sign that makes its largest entry positive (the first of equals).
    Errors: ValueError beyond MOST features.
    """
    features = images[0].numel()
    if features > MOST:
        raise ValueError(
            f"takes {MOST} features at most, the data has {features}; try preprocess=channel_standardize, smaller images"
        )
    mean = mean_of(images, (0,))
    covariance = torch.zeros(features, features, dtype=torch.float64, device=images.device)
    for part in in_chunks(images, BLOCK):
        flat = (part - mean).flatten(1)
        covariance.addmm_(flat.T, flat, alpha=1 / len(images))
    values, vectors = torch.linalg.eigh(covariance)
    sizes = vectors.abs()
    largest = (
        (sizes > (1 - 1e-6) * sizes.amax(0)).int().argmax(0, keepdim=True)
    )  # entries that differ by rounding are equals
    return (
        Affine(mean),
        (vectors * vectors.gather(0, largest).sign()).flip(1),
        (values.clamp(min=0) + eps).sqrt().flip(0),
    )


@dataclass(frozen=True, kw_only=True)
class Identity:
    """y = x; uint8 becomes floats in [0, 1]. It fits nothing, and is what it gives."""

    def fit(self, images: Tensor) -> Apply:
        return self

    def __call__(self, images: Tensor) -> Tensor:
        return images.to(torch.float32).div_(255) if images.dtype == torch.uint8 else images

    def invert(self, values: Tensor) -> Tensor:
        return values


@dataclass(frozen=True, kw_only=True)
class Center:
    """y = x - mean, a mean for each feature over the training split: of images a mean image (C, H, W), as AlexNet's (2012)."""

    def fit(self, images: Tensor) -> Apply:
        return Affine(mean_of(images, (0,)))


@dataclass(frozen=True, kw_only=True)
class ChannelMean:
    """y = x - mean, a mean for each channel over samples and pixels of the training split, as VGG's (2014, arXiv:1409.1556)."""

    def fit(self, images: Tensor) -> Apply:
        return Affine(mean_of(images, channelwise(images)))


@dataclass(frozen=True, kw_only=True)
class Standardize:
    """y = (x - mean) / std of each feature (pixel and channel) over the training split; std is the biased one, a constant is only centred."""

    def fit(self, images: Tensor) -> Apply:
        return standardized(images, (0,))


@dataclass(frozen=True, kw_only=True)
class ChannelStandardize:
    """y = (x - mean) / std of each channel over samples and pixels of the training split (ResNet's input); a constant is only centred."""

    def fit(self, images: Tensor) -> Apply:
        return standardized(images, channelwise(images))


@dataclass(frozen=True, kw_only=True)
class MinMax:
    """y = low + (high - low) (x - min) / (max - min), min and max of each feature over the training split.

    Other splits may leave the range. A constant feature becomes low, and steps of 1 there become steps of high - low.

    Args:
        low: what the smallest training value becomes, in [-1, 0]. Usual: 0.
        high: what the largest becomes, in (0, 1]. Usual: 1.
    Errors: ValueError.
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        require("in [-1, 0]", low=self.low)
        require("in (0, 1]", high=self.high)

    def fit(self, images: Tensor) -> Apply:
        least, most = (next(in_chunks(end(0, keepdim=True))) for end in (images.amin, images.amax))
        scale = (self.high - self.low) / torch.where(most > least, most - least, 1.0)
        return Affine(least - self.low / scale, scale)


@dataclass(frozen=True, kw_only=True)
class Pca:
    """Principal components (Pearson, 1901): y = (x - mean) V, V the eigenvectors of the covariance of the flattened features.

    The covariance of y is diagonal: the eigenvalues, largest first. Components that stand side by side as pixels are no neighbours.

    Args:
        components: how many leading ones are kept, a whole number >= 1; null for all.
    Shapes: (B, ...) -> the same when all are kept, else a table (B, components), of which `invert` gives the projection.
    Errors: ValueError, also beyond 10,000 features.
    """

    components: int | None = None

    def __post_init__(self) -> None:
        if self.components is not None:
            require(">= 1", components=self.components)

    def fit(self, images: Tensor) -> Apply:
        features = images[0].numel()
        if self.components is not None and self.components > features:
            raise ValueError(
                f"components must be <= {features}, the number of the data's features, got {self.components}"
            )
        mean, vectors, _ = spectrum(images)
        kept = vectors[:, : self.components]
        return Projection(mean, kept, kept.T, images.shape[1:] if self.components is None else (self.components,))


@dataclass(frozen=True, kw_only=True)
class WhitenPca:
    """Principal components of variance 1: y = (x - mean) V / sqrt(l + eps), V and l eigenvectors and eigenvalues of the covariance.

    The covariance of y is diagonal, l / (l + eps): 1 in directions of a variance far above eps, 0 in those of none.

    Args:
        eps: added to the variances, > 0, so that nearly constant directions do not grow without bound. cs231n: 1e-5.
    Shapes: (B, ...) -> the same; as with Pca, neighbours are none. Errors: ValueError, also beyond 10,000 features.
    """

    eps: float = 1e-5

    def __post_init__(self) -> None:
        require("> 0", eps=self.eps)

    def fit(self, images: Tensor) -> Apply:
        mean, vectors, deviation = spectrum(images, self.eps)
        return Projection(mean, vectors / deviation, (vectors * deviation).T, images.shape[1:])


@dataclass(frozen=True, kw_only=True)
class WhitenZca:
    """Whitening that rotates back, so that pixels stay in place (Bell & Sejnowski, 1997): y = (x - mean) V diag(1 / sqrt(l + eps)) V^T.

    V, l and eps as for WhitenPca, shapes and errors too.
    """

    eps: float = 1e-5

    def __post_init__(self) -> None:
        require("> 0", eps=self.eps)

    def fit(self, images: Tensor) -> Apply:
        mean, vectors, deviation = spectrum(images, self.eps)
        return Projection(mean, (vectors / deviation) @ vectors.T, (vectors * deviation) @ vectors.T, images.shape[1:])
