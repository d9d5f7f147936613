"""Non-affine warps: radial distortion, elastic distortion, perspective."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from trainer.base.checks import require, require_images, require_one_of
from trainer.base.warp import PADDING, centered, interpolate, uniform, warp


@dataclass(frozen=True, kw_only=True)
class RadialDistortion:
    """Show at radius r the pixel at r (1 + k r^2), k ~ U(-strength, strength), as a lens does (Brown, 1971).

    r is counted in half diagonals. k > 0 bends edges outward (barrel), k < 0 inward (pincushion).

    Args:
        strength: largest |k|, in [0, 0.33], where no place is shown twice. Usual: 0.2.
        mode: pixels beyond the edges, as in Warp.
    Shapes: images (B, C, H, W). Errors: ValueError.
    Source: D. C. Brown, "Close-Range Camera Calibration", 1971, first radial term.
    """

    strength: float = 0.2
    mode: str = "constant"

    def __post_init__(self) -> None:
        require("in [0, 0.33]", strength=self.strength)
        require_one_of(*PADDING, mode=self.mode)

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        require_images(images)
        k = uniform(-self.strength, self.strength, len(images), images, rng)
        positions = pixel_grid(images)
        height, width = images.shape[2:]
        radii = (positions[0] * width).square() + (positions[1] * height).square()
        bent = 1 + k.view(-1, 1, 1, 1) * radii / (height**2 + width**2)  # (B, 1, H, W)
        return interpolate(images, positions * bent, self.mode), targets


@dataclass(frozen=True, kw_only=True)
class Elastic:
    """Move every pixel by a smooth random field (Simard et al., 2003).

    dx and dy are noise U(-1, 1) a pixel, convolved with a Gaussian of deviation sigma and multiplied by alpha: a
    deviation of alpha / (sqrt(3) 2 sqrt(pi) sigma) pixels. Sums of so many draws are normal, so a normal field of the
    same covariance is drawn directly; the field is smooth, so a few draws suffice.

    Args:
        alpha: strength in pixels, >= 0. Paper: 34, on images of 29x29.
        sigma: deviation of the Gaussian in pixels, >= 0; 0 leaves the noise as it is. Paper: 4.
        mode: pixels beyond the edges, as in Warp.
    Shapes: images (B, C, H, W). Errors: ValueError. Source: ICDAR 2003, "Best Practices for Convolutional Neural
    Networks Applied to Visual Document Analysis", section 2. Differs from the paper: normal noise, of the uniform one's
    variance.
    """

    alpha: float = 34.0
    sigma: float = 4.0
    mode: str = "constant"

    def __post_init__(self) -> None:
        require(">= 0", alpha=self.alpha, sigma=self.sigma)
        require_one_of(*PADDING, mode=self.mode)

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        require_images(images)
        height, width = images.shape[2:]
        down, along = (smoothing(size, self.sigma, images.device).to(images.dtype) for size in (height, width))
        shape = (len(images), 2, down.shape[1], along.shape[1])
        draws = torch.randn(shape, generator=rng, device=images.device, dtype=images.dtype)
        field = (down @ (draws * (self.alpha / math.sqrt(3))) @ along.T) * 2  # (B, 2, H, W), in half pixels
        field[:, 0] /= width
        field[:, 1] /= height
        return interpolate(images, pixel_grid(images) + field, self.mode), targets


@dataclass(frozen=True, kw_only=True)
class Perspective:
    """Move each corner of the image inward by (x, y), x ~ U(0, fraction W / 2) and y ~ U(0, fraction H / 2).

    Args:
        fraction: largest part of the way to the middle, in [0, 0.66]; beyond, corners could fold in. Usual: 0.5.
        mode: pixels beyond the edges, as in Warp.
    Shapes: images (B, C, H, W). Errors: ValueError.
    Source: Heckbert, "Fundamentals of Texture Mapping and Image Warping", 1989, section 2.2.3, for the map onto four
    corners.
    """

    fraction: float = 0.5
    mode: str = "constant"

    def __post_init__(self) -> None:
        require("in [0, 0.66]", fraction=self.fraction)
        require_one_of(*PADDING, mode=self.mode)

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        require_images(images)
        height, width = images.shape[2:]
        inward = torch.rand(2, 4, len(images), generator=rng, device=images.device) * self.fraction
        across, down = (1 - inward[0]) * (width / 2), (1 - inward[1]) * (height / 2)
        x, y = (-across[0], across[1], across[2], -across[3]), (-down[0], -down[1], down[2], down[3])
        columns = square_to_corners(x, y).unbind(2)
        # The inverse up to a factor, which the division in the warp takes out.
        u, v, depth = (torch.linalg.cross(columns[one - 2], columns[one - 1]) for one in range(3))
        inverse = torch.stack([width * (u - depth / 2), height * (v - depth / 2), depth], 1)
        return warp(images, inverse, self.mode, projective=True), targets


def square_to_corners(x: Sequence[Tensor], y: Sequence[Tensor]) -> Tensor:
    """Return projective maps (B, 3, 3) of the square (0, 0), (1, 0), (1, 1), (0, 1) onto four corners, (B,) each."""
    right_x, right_y, left_x, left_y = x[1] - x[2], y[1] - y[2], x[3] - x[2], y[3] - y[2]
    sum_x, sum_y = x[0] - x[1] + x[2] - x[3], y[0] - y[1] + y[2] - y[3]
    area = right_x * left_y - right_y * left_x
    g, h = (sum_x * left_y - sum_y * left_x) / area, (right_x * sum_y - right_y * sum_x) / area
    first = [x[1] - x[0] + g * x[1], x[3] - x[0] + h * x[3], x[0]]
    second = [y[1] - y[0] + g * y[1], y[3] - y[0] + h * y[3], y[0]]
    return torch.stack([*first, *second, g, h, torch.ones_like(g)], 1).view(-1, 3, 3)


def pixel_grid(images: Tensor) -> Tensor:
    """Return the positions of the pixels, (2, H, W), x and y from -1 to 1 between the outer edges of the image."""
    height, width = images.shape[2:]
    x, y = centered(width, images) * (2 / width), centered(height, images) * (2 / height)
    return torch.stack([x.expand(height, width), y.unsqueeze(1).expand(height, width)])


@cache
def smoothing(size: int, sigma: float, device: torch.device) -> Tensor:
    """Return A (size, R) that makes of R independent normal draws a line of noise convolved with a Gaussian of sum 1.

    A A^T is the covariance of such a line, sum_t g(i - t) g(j - t); directions with less than a millionth of the
    largest variance are left out.
    """
    if sigma == 0:
        return torch.eye(size, device=device)
    reach = math.ceil(6 * sigma)
    lags = torch.arange(-reach, reach + 1, dtype=torch.float64)
    kernel = (-(lags**2) / (2 * sigma**2)).exp()
    offsets = torch.arange(size).unsqueeze(1) + reach - torch.arange(size + 2 * reach)
    weights = torch.where(offsets.abs() <= reach, kernel[(offsets + reach).clamp(0, 2 * reach)] / kernel.sum(), 0)
    variances, directions = torch.linalg.eigh(weights @ weights.T)
    large = variances > 1e-6 * variances[-1]
    return (directions[:, large] * variances[large].sqrt()).float().to(device)
