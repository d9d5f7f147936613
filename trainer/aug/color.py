"""Changing colours, the same way all over an image, and adding noise to them."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trainer.base.checks import require, require_images
from trainer.base.warp import color_range, luma, uniform


@dataclass(kw_only=True)
class ColorJitter:
    """Change brightness, contrast, saturation and hue of each image by factors b, c, s and an angle a of its own.

    With values v from 0 (black) to 1 (white), grey values g and the mean grey value m of the image,
    v <- b v, then v <- c v + (1 - c) m, then v <- s v + (1 - s) g, then a turn of (R, G, B) about the grey axis by a; the end is
    cut at black and white. All four are affine in the colour, so they are one matrix product a pixel. In images that do not have
    three channels hues stay; one channel is its own grey value. Black and white are the range of each channel in the training
    images that `calibrate` saw, else in the batch.

    Args:
        brightness: b ~ U(1 - brightness, 1 + brightness), not below 0; >= 0. Usual: 0.4.
        contrast: the same for c, >= 0. Usual: 0.4.
        saturation: the same for s, >= 0. Usual: 0.4.
        hue: a ~ U(-hue, hue) of a full turn, in [0, 0.5]. Usual: 0 to 0.1.
    Shapes: images (B, C, H, W). Errors: ValueError. Source: Howard, arXiv:1312.5402 (without hue).
    Differs from the paper: a fixed order (without cuts in between the first three can change places), hue.
    """

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    range: tuple[Tensor, Tensor] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        require(">= 0", brightness=self.brightness, contrast=self.contrast, saturation=self.saturation)
        require("in [0, 0.5]", hue=self.hue)

    def calibrate(self, images: Tensor) -> None:
        """Take the range of the channels from preprocessed training images (B, C, H, W)."""
        require_images(images)
        self.range = color_range(images)

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        require_images(images)
        low, high = self.range or color_range(images)
        count, channels = images.shape[:2]
        brightness, contrast, saturation = (
            uniform(max(0, 1 - reach), 1 + reach, count, images, rng).view(-1, 1, 1)
            for reach in (self.brightness, self.contrast, self.saturation)
        )
        angle = uniform(-2 * math.pi * self.hue, 2 * math.pi * self.hue, count, images, rng)
        grey = luma(channels, images.device).to(images.dtype)
        span = (high - low).flatten()
        colors = (
            brightness * contrast * (saturation * torch.eye(channels, device=images.device) + (1 - saturation) * grey)
        )
        if channels == 3 and self.hue > 0:
            colors = turn(angle) @ colors
        colors = (span.view(-1, 1) / span) * colors  # from and to the values of preprocessed images
        mean = ((images.mean((2, 3)) - low.flatten()) / span) @ grey
        offset = (
            low.view(1, -1, 1)
            + span.view(1, -1, 1) * (brightness * (1 - contrast) * mean.view(-1, 1, 1))
            - colors @ low.view(-1, 1)
        )
        changed = torch.baddbmm(offset, colors, images.flatten(2)).view(images.shape)
        return torch.minimum(torch.maximum(changed, low), high), targets


@dataclass(kw_only=True)
class PcaColor:
    """Shift the colours of each image along the principal components of the training set's (Krizhevsky et al., 2012).

    x <- x + sum_i a_i l_i p_i, a_i ~ N(0, std^2), with eigenvalues l_i and eigenvectors p_i of the channels' covariance S over the
    pixels of preprocessed training images. As the a_i have no preferred direction that is x + S a, without eigenvectors.
    The covariance is that of the images that `calibrate` saw, else that of the batch.

    Args:
        std: deviation of the a_i, > 0. Paper: 0.1.
    Shapes: images (B, C, H, W). Errors: ValueError. Source: NeurIPS 2012, "ImageNet Classification with Deep Convolutional
    Neural Networks", section 4.1. Differs from the paper: no; it leaves open in which unit pixels are counted, here the preprocessed one.
    """

    std: float = 0.1
    covariance: Tensor | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        require("> 0", std=self.std)

    def calibrate(self, images: Tensor) -> None:
        """Take the covariance from preprocessed training images (B, C, H, W)."""
        require_images(images)
        self.covariance = covariance(images)

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        require_images(images)
        count, channels = images.shape[:2]
        known = covariance(images) if self.covariance is None else self.covariance
        draws = torch.randn(count, channels, generator=rng, device=images.device, dtype=images.dtype) * self.std
        return images + (draws @ known).view(count, channels, 1, 1), targets


@dataclass(frozen=True, kw_only=True)
class Noise:
    """x <- x + e, e ~ N(0, std^2) for every pixel and channel (Sietsma & Dow, 1991).

    Args:
        std: in the unit of the preprocessed images, > 0. Usual: 0.1.
    Shapes: images (B, ...), tables as well. Errors: ValueError. Source: Neural Networks 4(1), 1991, p. 67. Differs from the paper: no.
    """

    std: float = 0.1

    def __post_init__(self) -> None:
        require("> 0", std=self.std)

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        draws = torch.randn(images.shape, generator=rng, device=images.device, dtype=images.dtype)
        return images.add(draws, alpha=self.std), targets


def covariance(images: Tensor) -> Tensor:
    """Of the channels over all pixels, (C, C)."""
    pixels = images.transpose(0, 1).flatten(1)
    pixels = pixels - pixels.mean(1, keepdim=True)
    return pixels @ pixels.T / pixels.shape[1]


def turn(angle: Tensor) -> Tensor:
    """Rotations of (R, G, B) about (1, 1, 1), (B, 3, 3), by Rodrigues' formula; a third of a turn takes red to green to blue."""
    cosine, sine = angle.cos(), angle.sin() / math.sqrt(3)
    same, other = (1 + 2 * cosine) / 3, (1 - cosine) / 3
    after, before = other + sine, other - sine
    return torch.stack([same, before, after, after, same, before, before, after, same], 1).view(-1, 3, 3)
