"""Affine warps: translation, rotation, scaling, shear; neighbours of one mode share one interpolation."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.base.checks import require
from trainer.base.warp import Warp, compose, rotation, scaling, shearing, translation, uniform


@dataclass(frozen=True, kw_only=True)
class Translate(Warp):
    """Move each image by (x, y) pixels, x ~ U(-fraction W, fraction W), y ~ U(-fraction H, fraction H), not rounded.

    Args:
        fraction: largest shift as a fraction of the side, in [0, 1]. Usual: 0.1.
        mode: as in Warp.
    Shapes: images (B, C, H, W). Errors: ValueError.
    """

    fraction: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require("in [0, 1]", fraction=self.fraction)

    def matrices(self, images: Tensor, rng: torch.Generator) -> Tensor:
        return random_translation(self.fraction, images, rng)


@dataclass(frozen=True, kw_only=True)
class Rotate(Warp):
    """Turn each image about its centre by an angle ~ U(-degrees, degrees).

    Args:
        degrees: largest angle, in [0, 180]. Usual: 15.
        mode: as in Warp.
    Shapes: images (B, C, H, W). Errors: ValueError.
    """

    degrees: float = 15.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require("in [0, 180]", degrees=self.degrees)

    def matrices(self, images: Tensor, rng: torch.Generator) -> Tensor:
        return rotation(random_angle(self.degrees, images, rng))


@dataclass(frozen=True, kw_only=True)
class ScaleXY(Warp):
    """Make each image r times as wide and s times as high about its centre, log r and log s ~ U(-log ratio, log ratio).

    Args:
        ratio: largest factor, and 1 / ratio the smallest, >= 1. Usual: 1.2.
        mode: as in Warp.
    Shapes: images (B, C, H, W). Errors: ValueError.
    """

    ratio: float = 1.2

    def __post_init__(self) -> None:
        super().__post_init__()
        require(">= 1", ratio=self.ratio)

    def matrices(self, images: Tensor, rng: torch.Generator) -> Tensor:
        return scaling(random_factor(self.ratio, images, rng), random_factor(self.ratio, images, rng))


@dataclass(frozen=True, kw_only=True)
class Shear(Warp):
    """Shear each image along its rows by tan(a) and then along its columns by tan(b), a and b ~ U(-degrees, degrees).

    Args:
        degrees: largest angle, in [0, 90). Usual: 10.
        mode: as in Warp.
    Shapes: images (B, C, H, W). Errors: ValueError.
    """

    degrees: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require("in [0, 90)", degrees=self.degrees)

    def matrices(self, images: Tensor, rng: torch.Generator) -> Tensor:
        return random_shear(self.degrees, images, rng)


@dataclass(frozen=True, kw_only=True)
class Affine(Warp):
    """Shear, scale, turn and move each image, in this order and in one warp; both sides are scaled alike.

    Args:
        degrees: largest turn, in [0, 180]. Usual: 15.
        fraction: largest shift as a fraction of the side, in [0, 1]. Usual: 0.1.
        ratio: largest scale, and 1 / ratio the smallest, >= 1. Usual: 1.2.
        shear: largest shear along rows and along columns in degrees, in [0, 90). Usual: 10.
        mode: as in Warp.
    Shapes: images (B, C, H, W). Errors: ValueError.
    """

    degrees: float = 15.0
    fraction: float = 0.1
    ratio: float = 1.2
    shear: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require("in [0, 180]", degrees=self.degrees)
        require("in [0, 1]", fraction=self.fraction)
        require(">= 1", ratio=self.ratio)
        require("in [0, 90)", shear=self.shear)

    def matrices(self, images: Tensor, rng: torch.Generator) -> Tensor:
        factor = random_factor(self.ratio, images, rng)
        scaled = compose(random_shear(self.shear, images, rng), scaling(factor, factor))
        turned = compose(scaled, rotation(random_angle(self.degrees, images, rng)))
        return compose(turned, random_translation(self.fraction, images, rng))


def random_angle(degrees: float, images: Tensor, rng: torch.Generator) -> Tensor:
    """Draw angles ~ U(-degrees, degrees), (B,) in radians."""
    return uniform(-math.radians(degrees), math.radians(degrees), len(images), images, rng)


def random_factor(ratio: float, images: Tensor, rng: torch.Generator) -> Tensor:
    """Draw factors with log ~ U(-log ratio, log ratio), (B,)."""
    return uniform(-math.log(ratio), math.log(ratio), len(images), images, rng).exp()


def random_shear(degrees: float, images: Tensor, rng: torch.Generator) -> Tensor:
    """Draw shears by angles ~ U(-degrees, degrees) along rows and columns, (B, 3, 3)."""
    return shearing(random_angle(degrees, images, rng).tan(), random_angle(degrees, images, rng).tan())


def random_translation(fraction: float, images: Tensor, rng: torch.Generator) -> Tensor:
    """Draw translations up to a fraction of each side, (B, 3, 3)."""
    height, width = images.shape[2:]
    x, y = (uniform(-fraction * side, fraction * side, len(images), images, rng) for side in (width, height))
    return translation(x, y)
