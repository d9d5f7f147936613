"""Random erasing: a box of each image filled with noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from trainer.aug.boxes import box_mask, box_sizes, require_range
from trainer.aug.pixels import select
from trainer.base.checks import require, require_images


@dataclass(frozen=True, kw_only=True)
class RandomErasing:
    """Fill a box of the image with random pixels, from black to white in each channel (Zhong et al., 2020).

    area ~ U(scale) H W, log(height / width) ~ U(log ratio), drawn again until the box fits; every place as likely.

    Args:
        p: probability of changing an image, in [0, 1]. Paper: 0.5.
        scale: smallest and largest area of the box as a fraction of the image's, in [0, 1]. Paper: 0.02 and 0.4.
        ratio: smallest and largest height / width, > 0. Paper: 0.3 and 1/0.3.
    Shapes: images (B, C, H, W) in [0, 1]. Errors: ValueError. Source: arXiv:1708.04896, algorithm 1.
    Differs from the paper: the logarithm of height / width is uniform, so that wide and high are as likely; whole
    pixels.
    """

    on_pixels: ClassVar = True
    p: float = 0.5
    scale: Sequence[float] = (0.02, 0.4)
    ratio: Sequence[float] = (0.3, 1 / 0.3)

    def __post_init__(self) -> None:
        require("in [0, 1]", p=self.p)
        require_range("in [0, 1]", scale=self.scale)
        require_range("> 0", ratio=self.ratio)

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        require_images(images)
        sizes = [size.round().clamp(min=1) for size in box_sizes(self.scale, self.ratio, images, rng)]
        corners = torch.rand(2, len(images), generator=rng, device=images.device)
        top, left = (
            (corner * (side - size + 1)).floor() for corner, size, side in zip(corners, sizes, images.shape[2:])
        )
        erased = torch.rand(len(images), generator=rng, device=images.device) < self.p
        inside = box_mask(top, top + sizes[0] * erased, left, left + sizes[1], images)
        noise = torch.rand(images.shape, generator=rng, device=images.device, dtype=images.dtype)
        return select(inside, noise, images), targets
