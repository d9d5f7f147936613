"""Putting something else in a part of an image: another image, as a whole or in a box, nothing, or noise."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trainer.base.checks import require, require_images
from trainer.base.warp import box_sizes, choose, color_range, require_range


@dataclass(frozen=True, kw_only=True)
class Mixup:
    """x <- l x_i + (1 - l) x_j and t <- l t_i + (1 - l) t_j, j a random partner in the batch, l ~ Beta(alpha, alpha) for each sample.

    Args:
        alpha: of the Beta distribution, > 0. Paper: 0.1 to 0.4 on ImageNet, 1 on CIFAR-10.
    Shapes: images (B, ...), targets (B, K). Errors: ValueError.
    Source: arXiv:1710.09412, eq. (1). Differs from the paper: one l a sample, where its code draws one a batch.
    """

    alpha: float = 0.2

    def __post_init__(self) -> None:
        require("> 0", alpha=self.alpha)

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        share = beta(self.alpha, len(images), images.device, rng)
        partner = torch.randperm(len(images), generator=rng, device=images.device)
        share_images = share.view(-1, *[1] * (images.dim() - 1))
        return (
            torch.lerp(images.index_select(0, partner), images, share_images),
            torch.lerp(targets.index_select(0, partner), targets, share.view(-1, 1)),
        )


@dataclass(frozen=True, kw_only=True)
class CutMix:
    """Put a box of another image of the batch in each image, and as much of its target (Yun et al., 2019).

    The box is sqrt(1 - l) H x sqrt(1 - l) W, l ~ Beta(alpha, alpha), its centre anywhere in the image and what sticks out cut off;
    t <- (1 - a) t_i + a t_j, where a is the share of the image's pixels that are really in the box.

    Args:
        alpha: of the Beta distribution, > 0. Paper: 1.
        p: probability of changing an image, in [0, 1]. Paper: 1 on ImageNet, 0.5 on CIFAR.
    Shapes: images (B, C, H, W), targets (B, K). Errors: ValueError.
    Source: arXiv:1905.04899, eq. (1) and (2). Differs from the paper: one box a sample, where its code draws one a batch.
    """

    alpha: float = 1.0
    p: float = 1.0

    def __post_init__(self) -> None:
        require("> 0", alpha=self.alpha)
        require("in [0, 1]", p=self.p)

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        require_images(images)
        count, (height, width) = len(images), images.shape[2:]
        side = (1 - beta(self.alpha, count, images.device, rng)).sqrt()
        side = side * (torch.rand(count, generator=rng, device=images.device) < self.p)
        inside = box_about_centre((side * height).long(), (side * width).long(), images, rng)
        partner = torch.randperm(count, generator=rng, device=images.device)
        share = inside.flatten(1).mean(1, dtype=targets.dtype).view(-1, 1)
        return choose(inside, images.index_select(0, partner), images), torch.lerp(
            targets, targets.index_select(0, partner), share
        )


@dataclass(frozen=True, kw_only=True)
class Cutout:
    """Set a square of each image to 0, the mean of standardised images (DeVries & Taylor, 2017).

    Its centre is any pixel of the image, as likely; what sticks out is cut off.

    Args:
        side: of the square, as share of the image's shorter side, in (0, 1]. Paper: 16 of 32 pixels on CIFAR-10, 0.5.
    Shapes: images (B, C, H, W). Errors: ValueError. Source: arXiv:1708.04552. Differs from the paper: no.
    """

    side: float = 0.5

    def __post_init__(self) -> None:
        require("in (0, 1]", side=self.side)

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        require_images(images)
        pixels = max(1, round(self.side * min(images.shape[2:])))
        length = torch.full((len(images),), pixels, device=images.device)
        return images * ~box_about_centre(length, length, images, rng), targets


@dataclass(kw_only=True)
class RandomErasing:
    """With probability p fill a box of the image with random pixels, U(black, white) in each channel (Zhong et al., 2020).

    area ~ U(scale) H W, log(height / width) ~ U(log ratio), drawn again until the box fits; every place as likely. Black and white are the range of the channel in the training images that `calibrate` saw, else in the batch.

    Args:
        p: probability of changing an image, in [0, 1]. Paper: 0.5.
        scale: smallest and largest area of the box as a fraction of the image's, in [0, 1]. Paper: 0.02 and 0.4.
        ratio: smallest and largest height / width, > 0. Paper: 0.3 and 1/0.3.
    Shapes: images (B, C, H, W). Errors: ValueError. Source: arXiv:1708.04896, algorithm 1.
    Differs from the paper: the logarithm of height / width is uniform, so that wide and high are as likely; whole pixels.
    """

    p: float = 0.5
    scale: Sequence[float] = (0.02, 0.4)
    ratio: Sequence[float] = (0.3, 1 / 0.3)
    range: tuple[Tensor, Tensor] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        require("in [0, 1]", p=self.p)
        require_range("in [0, 1]", scale=self.scale)
        require_range("> 0", ratio=self.ratio)

    def calibrate(self, images: Tensor) -> None:
        """Take the range of the channels from preprocessed training images (B, C, H, W)."""
        require_images(images)
        self.range = color_range(images)

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        require_images(images)
        sizes = [size.round().clamp(min=1) for size in box_sizes(self.scale, self.ratio, images, rng)]
        corners = torch.rand(2, len(images), generator=rng, device=images.device)
        top, left = (
            (corner * (side - size + 1)).floor() for corner, size, side in zip(corners, sizes, images.shape[2:])
        )
        erased = torch.rand(len(images), generator=rng, device=images.device) < self.p
        inside = box(top, top + sizes[0] * erased, left, left + sizes[1], images)
        low, high = self.range or color_range(images)
        noise = torch.rand(images.shape, generator=rng, device=images.device, dtype=images.dtype) * (high - low) + low
        return choose(inside, noise, images), targets


def box(top: Tensor, bottom: Tensor, left: Tensor, right: Tensor, images: Tensor) -> Tensor:
    """Which pixels lie in each image's box, (B, 1, H, W); its lower and right bound are outside."""
    rows, columns = (torch.arange(size, device=images.device) for size in images.shape[2:])
    top, bottom, left, right = (bound.view(-1, 1) for bound in (top, bottom, left, right))
    high, wide = (rows >= top) & (rows < bottom), (columns >= left) & (columns < right)
    return (high.unsqueeze(2) & wide.unsqueeze(1)).unsqueeze(1)


def box_about_centre(height: Tensor, width: Tensor, images: Tensor, rng: torch.Generator) -> Tensor:
    """The pixels of a box about a pixel drawn from all of the image, (B, 1, H, W); sizes (B,) in whole pixels."""
    top, left = (
        torch.randint(0, side, (len(images),), generator=rng, device=images.device)
        - torch.div(size, 2, rounding_mode="floor")
        for side, size in zip(images.shape[2:], (height, width))
    )
    return box(top, top + height, left, left + width, images)


def beta(alpha: float, count: int, device: torch.device, rng: torch.Generator) -> Tensor:
    """Draws of Beta(alpha, alpha), (count,): G1 / (G1 + G2) of two Gamma draws, in logarithms so that a small alpha cannot give 0 / 0."""
    # G(alpha) = G(alpha + 1) U^(1/alpha) keeps digits where G(alpha) itself would underflow.
    gammas = torch._standard_gamma(torch.full((2, count), alpha + 1.0, device=device), generator=rng)
    uniforms = torch.rand(2, count, generator=rng, device=device).clamp_(min=1e-38)
    logs = gammas.log() + uniforms.log() / alpha
    return torch.sigmoid(logs[0] - logs[1])
