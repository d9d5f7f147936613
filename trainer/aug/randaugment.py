"""RandAugment: a few random operations on each image, all at one magnitude."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trainer.aug.operations import LEVELS, OPERATIONS, apply_random_operation, require_operations
from trainer.aug.pixels import color_range
from trainer.base.checks import require, require_images

# Of AutoAugment: degrees, tangents, fractions of the side, changes of the factor 1, bits.
RANGES = {"rotate": 30, "shear_x": 0.3, "shear_y": 0.3, "translate_x": 0.45, "translate_y": 0.45}
RANGES |= {"color": 0.9, "contrast": 0.9, "brightness": 0.9, "sharpness": 0.9, "posterize": 4}


@dataclass(kw_only=True)
class RandAugment:
    """Change each image by `count` operations drawn from the list, all at one magnitude (Cubuk et al., 2020).

    Magnitude 30 is a turn of 30 degrees, a shear of 0.3, a shift of 0.45 of the side, a colour, contrast, brightness or
    sharpness factor of 1 +- 0.9, 4 of 8 bits, or inversion of everything; the sign is drawn. Beyond the edges images
    are 0. Black and white are the range of each channel in the training images given to `calibrate`, else in the batch.

    Args:
        operations: list to draw from, each as likely; names of OPERATIONS. Paper: all 14.
        count: operations an image (N in the paper), >= 1. Paper: 2 on ImageNet, 3 on CIFAR-10.
        magnitude: of all of them (M in the paper), in [0, 30]. Paper: 9 for ResNet-50 on ImageNet, 5 on CIFAR-10.
    Shapes: images (B, C, H, W). Errors: ValueError. Source: arXiv:1909.13719, with the ranges of AutoAugment
    (arXiv:1805.09501). Differs from the paper: bilinear, and fills with the mean of standardised images.
    """

    operations: Sequence[str] = OPERATIONS
    count: int = 2
    magnitude: float = 9.0
    black_and_white: tuple[Tensor, Tensor] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        require_operations(self.operations)
        require(">= 1", count=self.count)
        require("in [0, 30]", magnitude=self.magnitude)

    def calibrate(self, images: Tensor) -> None:
        """Take black and white from preprocessed training images (B, C, H, W)."""
        require_images(images)
        self.black_and_white = color_range(images)

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        require_images(images)
        black_and_white = self.black_and_white or color_range(images)
        levels = torch.full((len(images),), self.magnitude / LEVELS, device=images.device)
        for _ in range(self.count):
            images = apply_random_operation(images, self.operations, RANGES, levels, black_and_white, rng)
        return images, targets
