"""Moving the picture as a whole: shifts, turns, stretches and shears, one warp however many of them follow one another."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.base.checks import require, require_one_of
from trainer.base.warp import (
    PADDING,
    box_sizes,
    product,
    require_range,
    rotation,
    scaling,
    shearing,
    shifting,
    uniform,
    warped,
)


@dataclass(frozen=True, kw_only=True)
class Warp:
    """One warp of each image, by the matrices (B, 2, 3) that a technique draws.

    Args:
        mode: what comes in from outside: constant (0, the mean of standardised images), reflect, or replicate.
    Shapes: images (B, C, H, W). Errors: ValueError.
    """

    mode: str = "constant"

    def __post_init__(self) -> None:
        require_one_of(*PADDING, mode=self.mode)

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        return warped([self], images, rng), targets


@dataclass(frozen=True, kw_only=True)
class Translate(Warp):
    """Move each image by (x, y) pixels, x ~ U(-fraction W, fraction W), y ~ U(-fraction H, fraction H); also by parts of a pixel.

    Args:
        fraction: largest shift as fraction of the side, in [0, 1]. Usual: 0.1.
        mode: as in Warp.
    Shapes: images (B, C, H, W). Errors: ValueError.
    """

    fraction: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require("in [0, 1]", fraction=self.fraction)

    def matrices(self, images: Tensor, rng: torch.Generator) -> Tensor:
        return shifts(self.fraction, images, rng)


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
        return rotation(angles(self.degrees, images, rng))


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
        return scaling(factors(self.ratio, images, rng), factors(self.ratio, images, rng))


@dataclass(frozen=True, kw_only=True)
class Shear(Warp):
    """Slant each image along its rows by tan(a) and then along its columns by tan(b), a and b ~ U(-degrees, degrees).

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
        return slants(self.degrees, images, rng)


@dataclass(frozen=True, kw_only=True)
class Affine(Warp):
    """Slant, scale, turn and move each image, in this order and in one warp; both sides are scaled alike.

    Args:
        degrees: largest turn, in [0, 180]. Usual: 15.
        fraction: largest shift as fraction of the side, in [0, 1]. Usual: 0.1.
        ratio: largest scale, and 1 / ratio the smallest, >= 1. Usual: 1.2.
        shear: largest slant along rows and along columns in degrees, in [0, 90). Usual: 10.
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
        scale = factors(self.ratio, images, rng)
        turned = product(
            product(slants(self.shear, images, rng), scaling(scale, scale)), rotation(angles(self.degrees, images, rng))
        )
        return product(turned, shifts(self.fraction, images, rng))


@dataclass(frozen=True, kw_only=True)
class ResizedCrop(Warp):
    """Cut a window of random area and proportions at a random place and stretch it to the old size (Szegedy et al., 2015).

    area ~ U(scale) of the image, log(height / width) ~ U(log ratio), drawn again until the window fits; every place as likely,
    also between pixels.

    Args:
        scale: smallest and largest area of the window as a fraction of the image's, in (0, 1]. Paper: 0.08 and 1.
        ratio: smallest and largest height / width, > 0. Paper: 3/4 and 4/3.
        mode: what a pixel at the image's edge is blended with: constant (0), reflect, or replicate.
    Shapes: images (B, C, H, W). Errors: ValueError. Source: arXiv:1409.4842, section 6.
    Differs from the paper: the logarithm of the proportions is uniform, so that wide and high are as likely.
    """

    scale: Sequence[float] = (0.08, 1.0)
    ratio: Sequence[float] = (3 / 4, 4 / 3)
    mode: str = "replicate"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("in (0, 1]", scale=self.scale)
        require_range("> 0", ratio=self.ratio)

    def matrices(self, images: Tensor, rng: torch.Generator) -> Tensor:
        (height, width), count = images.shape[2:], len(images)
        heights, widths = box_sizes(self.scale, self.ratio, images, rng)
        x, y = (
            uniform(-0.5, 0.5, count, images, rng) * (size - sizes)
            for size, sizes in ((width, widths), (height, heights))
        )
        return product(shifting(x, y), scaling(width / widths, height / heights))


def angles(degrees: float, images: Tensor, rng: torch.Generator) -> Tensor:
    """In radians."""
    return uniform(-math.radians(degrees), math.radians(degrees), len(images), images, rng)


def factors(ratio: float, images: Tensor, rng: torch.Generator) -> Tensor:
    return uniform(-math.log(ratio), math.log(ratio), len(images), images, rng).exp()


def slants(degrees: float, images: Tensor, rng: torch.Generator) -> Tensor:
    return shearing(angles(degrees, images, rng).tan(), angles(degrees, images, rng).tan())


def shifts(fraction: float, images: Tensor, rng: torch.Generator) -> Tensor:
    x, y = (
        uniform(-fraction * size, fraction * size, len(images), images, rng)
        for size in (images.shape[3], images.shape[2])
    )
    return shifting(x, y)
