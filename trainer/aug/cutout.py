"""Cutout: a square of each image set to 0."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.aug.boxes import centered_box_mask
from trainer.base.checks import require, require_images


@dataclass(frozen=True, kw_only=True)
class Cutout:
    """Set a square of each image to 0 (DeVries & Taylor, 2017).

    That is the mean colour where the preprocessing centres the images, as in the paper, and black where it does not.

    The centre is any pixel of the image, each as likely; the square is cut off at the edges.

    Args:
        side: of the square, as a fraction of the image's shorter side, in [0, 1]; above 0 it is a pixel at least.
            Paper: 16 of 32 pixels on CIFAR-10, 0.5.
    Shapes: images (B, C, H, W). Errors: ValueError. Source: arXiv:1708.04552. Differs from the paper: no.
    """

    side: float = 0.5

    def __post_init__(self) -> None:
        require("in [0, 1]", side=self.side)

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        require_images(images)
        pixels = max(1, round(self.side * min(images.shape[2:]))) if self.side > 0 else 0
        length = torch.full((len(images),), pixels, device=images.device)
        return images * ~centered_box_mask(length, length, images, rng), targets
