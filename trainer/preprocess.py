"""Preprocessing: `fit(images) -> apply`, fitted on the training split only, then applied to every split.

Images arrive as floats in [0, 1], or as uint8, which counts as 255ths of that.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Apply = Callable[[Tensor], Tensor]
CHUNK = 4096  # samples converted to float at once while statistics are taken


def to_float(images: Tensor) -> Tensor:
    """uint8 to [0, 1]; floats as they are."""
    return images.to(torch.float32).div_(255) if images.dtype == torch.uint8 else images


@dataclass(frozen=True)
class Affine:
    """y = (x - shift) / scale, on the device of x."""

    shift: Tensor
    scale: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        return (to_float(images) - self.shift.to(images.device)) / self.scale.to(images.device)


def moments(images: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Mean and biased deviation over `dims` (the samples' among them), kept as size 1; a deviation of 0 counts as 1.

    Two passes in float64, a chunk at a time, so that neither memory nor digits run out.
    """
    count = images.numel() / images[:1].mean(dims, keepdim=True, dtype=torch.float64).numel()
    mean = sum(to_float(part).double().sum(dims, keepdim=True) for part in images.split(CHUNK)) / count
    square = sum((to_float(part).double() - mean).square().sum(dims, keepdim=True) for part in images.split(CHUNK)) / count
    deviation = square.sqrt()
    # A constant feature: what rounding leaves of its deviation must not be blown up to 1.
    constant = deviation <= 1e-7 * mean.abs().clamp(min=1e-30)
    return mean.float(), torch.where(constant, torch.ones_like(deviation), deviation).float()


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """The values as they are."""

    def fit(self, images: Tensor) -> Apply:
        return to_float


@dataclass(frozen=True, kw_only=True)
class Center:
    """y = x - mean, a mean for each feature (pixel and channel) over the training split."""

    def fit(self, images: Tensor) -> Apply:
        mean, deviation = moments(images, (0,))
        return Affine(mean, torch.ones_like(deviation))


@dataclass(frozen=True, kw_only=True)
class Standardize:
    """y = (x - mean) / std, both for each feature (pixel and channel) over the training split; std is the biased one.

    A constant feature is only centred.
    """

    def fit(self, images: Tensor) -> Apply:
        return Affine(*moments(images, (0,)))


@dataclass(frozen=True, kw_only=True)
class ChannelStandardize:
    """y = (x - mean) / std, both for each channel over samples and pixels of the training split (ResNet's input)."""

    def fit(self, images: Tensor) -> Apply:
        return Affine(*moments(images, (0, *range(2, images.dim()))))
