"""Warps of images: matrices of affine maps, bilinear interpolation, and the fusion of neighbouring warps into one.

Positions are in pixels from the centre of the image, x to the right and y down. A matrix (B, 3, 3) maps positions in
the output to positions in the input, so it is the inverse of the picture's motion.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.base.checks import require_images, require_one_of
from trainer.base.protocols import AffineWarp

# Pixels beyond the edges, in NumPy's and torch's names, and those of grid_sample: reflect mirrors at the centres of the
# border's pixels (c b | a b c), symmetric at the outer edge, so that they come twice (b a | a b c).
PADDING = {"constant": "zeros", "reflect": "reflection", "symmetric": "reflection", "replicate": "border"}


def uniform(low: float, high: float, count: int, images: Tensor, rng: torch.Generator) -> Tensor:
    """Draw from U(low, high), (count,), on the device of the images."""
    return torch.rand(count, generator=rng, device=images.device) * (high - low) + low


def matrix(xx: Tensor, xy: Tensor, x: Tensor, yx: Tensor, yy: Tensor, y: Tensor) -> Tensor:
    """Return (B, 3, 3) from the two rows of an affine map, (B,) each."""
    zero = torch.zeros_like(xx)
    return torch.stack([xx, xy, x, yx, yy, y, zero, zero, zero + 1], 1).view(-1, 3, 3)


def rotation(angle: Tensor) -> Tensor:
    """Return the map that turns the picture counter-clockwise by an angle in radians."""
    cosine, sine = angle.cos(), angle.sin()
    zero = torch.zeros_like(angle)
    return matrix(cosine, -sine, zero, sine, cosine, zero)


def translation(x: Tensor, y: Tensor) -> Tensor:
    """Return the map that moves the picture by x pixels to the right and y down."""
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    return matrix(one, zero, -x, zero, one, -y)


def scaling(x: Tensor, y: Tensor) -> Tensor:
    """Return the map that makes the picture x times as wide and y times as high."""
    zero = torch.zeros_like(x)
    return matrix(1 / x, zero, zero, zero, 1 / y, zero)


def shearing(x: Tensor, y: Tensor) -> Tensor:
    """Return the map that pushes rows left by x times their y, then columns up by y times their x; areas stay."""
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    return matrix(one + x * y, x, zero, y, one, zero)


def compose(first: Tensor, second: Tensor) -> Tensor:
    """Return the matrices of two maps of which `first` acts first on the picture.

    In full float32, also where matrix products may round (TF32).
    """
    return (first.unsqueeze(3) * second.unsqueeze(1)).sum(2)


def centered(size: int, images: Tensor) -> Tensor:
    """Return the positions of the pixels along a side, (size,)."""
    return torch.arange(size, device=images.device, dtype=images.dtype) - (size - 1) / 2


def interpolate(images: Tensor, positions: Tensor, mode: str) -> Tensor:
    """Return the images at positions (B, 2, H, W), x and y from -1 to 1 between the image's outer edges; bilinear."""
    centers = mode == "reflect"
    if centers:  # from -1 to 1 between the centres of the border's pixels, where grid_sample then mirrors
        x, y = positions.unbind(1)
        height, width = images.shape[2:]
        positions = torch.stack([x * (width / max(width - 1, 1)), y * (height / max(height - 1, 1))], 1)
    return F.grid_sample(images, positions.permute(0, 2, 3, 1), "bilinear", PADDING[mode], align_corners=centers)


def warp(images: Tensor, matrices: Tensor, mode: str = "constant", projective: bool = False) -> Tensor:
    """Move each image by its matrix, bilinear.

    Args:
        images: (B, C, H, W).
        matrices: (B, 3, 3), from positions in the output to positions in the input.
        mode: beyond the edges: constant (0), reflect, symmetric, or replicate.
        projective: divide by the third coordinate; without it the third row counts as (0, 0, 1).
    """
    height, width = images.shape[2:]
    columns = matrices[:, :, 0, None, None] * centered(width, images)  # (B, 3, 1, W)
    rows = matrices[:, :, 1, None, None] * centered(height, images).unsqueeze(1) + matrices[:, :, 2, None, None]
    for part in (columns, rows):
        part[:, 0] *= 2 / width
        part[:, 1] *= 2 / height
    positions = columns[:, :2] + rows[:, :2]
    if projective:
        positions = positions / (columns[:, 2:] + rows[:, 2:])
    return interpolate(images, positions, mode)


def apply_warps(warps: Sequence[AffineWarp], images: Tensor, rng: torch.Generator) -> Tensor:
    """Apply affine warps of one mode to images (B, C, H, W) with a single interpolation."""
    require_images(images)
    first, *others = warps
    matrices = first.matrices(images, rng)
    for other in others:
        matrices = compose(matrices, other.matrices(images, rng))
    return warp(images, matrices, first.mode)


@dataclass(frozen=True, kw_only=True)
class Warp:
    """Base class of affine warps: a subclass draws `matrices(images, rng)` (B, 3, 3).

    Args:
        mode: beyond the edges: constant (0, the mean of standardised images), reflect (the mirror image without the
            border's pixels), symmetric (with them), or replicate.
    Shapes: images (B, C, H, W). Errors: ValueError.
    """

    mode: str = "constant"

    def __post_init__(self) -> None:
        require_one_of(*PADDING, mode=self.mode)

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        return apply_warps([self], images, rng), targets


@dataclass(frozen=True, kw_only=True)
class FusedWarps:
    """Affine warps in a row as a single one: the draws of each as alone, but only one interpolation."""

    warps: Sequence[AffineWarp]

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        return apply_warps(self.warps, images, rng), targets


def fuse_warps(transforms: Sequence[Callable]) -> list[Callable]:
    """Replace two or more affine warps in a row of the same mode by one FusedWarps."""
    fused = []
    for mode, neighbours in groupby(transforms, lambda one: one.mode if isinstance(one, AffineWarp) else None):
        row = list(neighbours)
        fused += row if mode is None or len(row) == 1 else [FusedWarps(warps=row)]
    return fused
