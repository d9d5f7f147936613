"""Colour jitter: random brightness, contrast, saturation and hue."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from trainer.aug.pixels import grey_weights
from trainer.base.checks import require, require_images
from trainer.base.warp import uniform


@dataclass(frozen=True, kw_only=True)
class ColorJitter:
    """Change brightness, contrast, saturation and hue of each image by factors b, c, s and an angle a of its own.

    With pixels v from 0 (black) to 1 (white), grey values g and the mean grey value m of the image,
    v <- b v, then v <- c v + (1 - c) m, then v <- s v + (1 - s) g, then a turn of (R, G, B) about the grey axis by a;
    at the end v is clipped to black and white. All four are affine in the colour, so they are one matrix product a
    pixel. Images without three channels keep their hue; one channel is its own grey value.

    Args:
        brightness: b ~ U(1 - brightness, 1 + brightness), not below 0; >= 0. Usual: 0.4.
        contrast: the same for c, >= 0. Usual: 0.4.
        saturation: the same for s, >= 0. Usual: 0.4.
        hue: a ~ U(-hue, hue) of a full turn, in [0, 0.5]. Usual: 0 to 0.1.
    Shapes: images (B, C, H, W) in [0, 1]. Errors: ValueError. Source: Howard, arXiv:1312.5402 (without hue).
    Differs from the paper: a fixed order (without clipping in between the first three can change places), hue.
    """

    on_pixels: ClassVar = True
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1

    def __post_init__(self) -> None:
        require(">= 0", brightness=self.brightness, contrast=self.contrast, saturation=self.saturation)
        require("in [0, 0.5]", hue=self.hue)

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        require_images(images)
        count, channels = images.shape[:2]
        brightness, contrast, saturation = (
            uniform(max(0, 1 - reach), 1 + reach, count, images, rng).view(-1, 1, 1)
            for reach in (self.brightness, self.contrast, self.saturation)
        )
        angle = uniform(-2 * math.pi * self.hue, 2 * math.pi * self.hue, count, images, rng)
        grey = grey_weights(channels, images.device).to(images.dtype)
        saturated = saturation * torch.eye(channels, device=images.device) + (1 - saturation) * grey
        colors = brightness * contrast * saturated
        if channels == 3 and self.hue > 0:
            colors = hue_rotation(angle) @ colors
        mean = (images.mean((2, 3)) @ grey).view(-1, 1, 1)
        offset = brightness * (1 - contrast) * mean
        changed = torch.baddbmm(offset, colors, images.flatten(2)).view(images.shape)
        return changed.clamp_(0, 1), targets


def hue_rotation(angle: Tensor) -> Tensor:
    """Return rotations of (R, G, B) about (1, 1, 1), (B, 3, 3), by Rodrigues' formula.

    A turn of 120 degrees takes red to green to blue.
    """
    cosine, sine = angle.cos(), angle.sin() / math.sqrt(3)
    same, other = (1 + 2 * cosine) / 3, (1 - cosine) / 3
    after, before = other + sine, other - sine
    return torch.stack([same, before, after, after, same, before, before, after, same], 1).view(-1, 3, 3)
