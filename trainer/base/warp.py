"""What augmentations share: moving pixels by one matrix a sample, several such techniques at once, and facts about boxes and colours.

Positions are in pixels from the centre of the image, x to the right and y down. A matrix (B, 3, 3) says for each place of the
output where in the input to look, so it is the inverse of the way the picture moves.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.base.checks import require, require_images

PADDING = {
    "constant": "zeros",
    "reflect": "reflection",
    "replicate": "border",
}  # what lies outside an image, in grid_sample's words
TRIES = 10  # boxes drawn until one fits


def uniform(low: float, high: float, count: int, images: Tensor, rng: torch.Generator) -> Tensor:
    """Draws of U(low, high), (count,), where the images are."""
    return torch.rand(count, generator=rng, device=images.device) * (high - low) + low


def matrix(xx: Tensor, xy: Tensor, x: Tensor, yx: Tensor, yy: Tensor, y: Tensor) -> Tensor:
    """(B, 3, 3) from the two rows of an affine map, (B,) each."""
    zero = torch.zeros_like(xx)
    return torch.stack([xx, xy, x, yx, yy, y, zero, zero, zero + 1], 1).view(-1, 3, 3)


def rotation(angle: Tensor) -> Tensor:
    """Turn the picture counter-clockwise by so many radians."""
    cosine, sine = angle.cos(), angle.sin()
    zero = torch.zeros_like(angle)
    return matrix(cosine, -sine, zero, sine, cosine, zero)


def shifting(x: Tensor, y: Tensor) -> Tensor:
    """Move the picture by so many pixels to the right and down."""
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    return matrix(one, zero, -x, zero, one, -y)


def scaling(x: Tensor, y: Tensor) -> Tensor:
    """Make the picture so many times as wide and as high."""
    zero = torch.zeros_like(x)
    return matrix(1 / x, zero, zero, zero, 1 / y, zero)


def shearing(x: Tensor, y: Tensor) -> Tensor:
    """Push rows to the left by x times their y, then columns up by y times their x; areas stay."""
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    return matrix(one + x * y, x, zero, y, one, zero)


def product(first: Tensor, second: Tensor) -> Tensor:
    """The matrices of two maps of which `first` acts first on the picture; full float32, whatever matrix units are allowed to round."""
    return (first.unsqueeze(3) * second.unsqueeze(1)).sum(2)


def centred(size: int, images: Tensor) -> Tensor:
    """Positions of the pixels along a side, (size,)."""
    return torch.arange(size, device=images.device, dtype=images.dtype) - (size - 1) / 2


def warp(images: Tensor, matrices: Tensor, mode: str = "constant", projective: bool = False) -> Tensor:
    """Each image moved by its matrix, bilinear.

    Args:
        images: (B, C, H, W).
        matrices: (B, 3, 3), from places in the output to places in the input.
        mode: what lies outside the image: constant (0), reflect (the edge is the mirror), or replicate.
        projective: divide by the third coordinate; without it the third row counts as (0, 0, 1).
    """
    height, width = images.shape[2:]
    columns = matrices[:, :, 0, None, None] * centred(width, images)  # (B, 3, 1, W)
    rows = (
        matrices[:, :, 1, None, None] * centred(height, images).unsqueeze(1) + matrices[:, :, 2, None, None]
    )  # (B, 3, H, 1)
    for part in (columns, rows):
        part[:, 0] *= 2 / width
        part[:, 1] *= 2 / height
    places = columns[:, :2] + rows[:, :2]
    if projective:
        places = places / (columns[:, 2:] + rows[:, 2:])
    return look_up(images, places, mode)


def look_up(images: Tensor, places: Tensor, mode: str) -> Tensor:
    """Images at places (B, 2, H, W), x and y from -1 to 1 between the outer edges of the image."""
    return F.grid_sample(images, places.permute(0, 2, 3, 1), "bilinear", PADDING[mode], align_corners=False)


def warped(techniques: Sequence, images: Tensor, rng: torch.Generator) -> Tensor:
    """Images after affine techniques of one mode, each with a method `matrices(images, rng)`, in one warp."""
    require_images(images)
    first, *others = techniques
    matrices = first.matrices(images, rng)
    for technique in others:
        matrices = product(matrices, technique.matrices(images, rng))
    return warp(images, matrices, first.mode)


@dataclass(frozen=True, kw_only=True)
class Fused:
    """Affine techniques that follow one another, in one warp: the draws of each as alone, but only one interpolation."""

    techniques: Sequence

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        return warped(self.techniques, images, rng), targets


def fuse_warps(transforms: Sequence[Callable]) -> list[Callable]:
    """Transforms in which each run of two or more affine techniques of the same mode has become one."""
    made = []
    for mode, neighbours in groupby(
        transforms, lambda transform: transform.mode if hasattr(transform, "matrices") else None
    ):
        run = list(neighbours)
        made += run if mode is None or len(run) == 1 else [Fused(techniques=run)]
    return made


def choose(chosen: Tensor, these: Tensor, others: Tensor) -> Tensor:
    """`these` where chosen, else `others`: torch.where for finite numbers and a mask that is broadcast, five times as fast on the CPU.

    Exact, as torch.lerp starts from the end that is nearer.
    """
    return torch.lerp(others, these, chosen.to(others.dtype))


def require_range(rule: str, **fields: Sequence[float]) -> None:
    """Hold fields to two numbers [low, high] that each keep a rule. Errors: ValueError."""
    require(rule, **fields)
    for name, value in fields.items():
        if len(value) != 2 or value[0] > value[1]:
            raise ValueError(f"{name} must be two numbers [low, high] with low <= high, got {list(value)}")


def box_sizes(
    scale: Sequence[float], ratio: Sequence[float], images: Tensor, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw heights and widths in pixels, (B,) each: area ~ U(scale) H W and log(height / width) ~ U(log ratio), until they fit.

    All tries are drawn at once; where none fits, the first is cut at the image's size.
    """
    count, (height, width) = len(images), images.shape[2:]
    areas, ratios = torch.rand(2, count, TRIES, generator=rng, device=images.device)
    areas = (scale[0] + areas * (scale[1] - scale[0])) * height * width
    low, high = (math.log(bound) for bound in ratio)
    # About the middle: exactly symmetric for [1 / r, r].
    ratios = ((2 * ratios - 1) * ((high - low) / 2) + (high + low) / 2).exp()
    heights, widths = (areas * ratios).sqrt(), (areas / ratios).sqrt()
    first = ((heights <= height) & (widths <= width)).byte().argmax(1, keepdim=True)
    return heights.gather(1, first).squeeze(1).clamp(max=height), widths.gather(1, first).squeeze(1).clamp(max=width)


def color_range(images: Tensor) -> tuple[Tensor, Tensor]:
    """What black and white have become in preprocessed images: the least and largest value of each channel, (C, 1, 1) each."""
    low, high = images.amin((0, 2, 3)).view(-1, 1, 1), images.amax((0, 2, 3)).view(-1, 1, 1)
    return low, torch.where(high > low, high, low + 1)


@cache
def luma(channels: int, device: torch.device) -> Tensor:
    """Weights of the channels in a grey value, (C,): ITU-R BT.601's for three, else equal ones."""
    return (
        torch.tensor([0.299, 0.587, 0.114], device=device)
        if channels == 3
        else torch.full((channels,), 1 / channels, device=device)
    )
