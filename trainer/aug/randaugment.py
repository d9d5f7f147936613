"""RandAugment: a few random operations on each image, all at one magnitude."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from trainer.aug.operations import OPERATIONS, apply_random_operation, require_operations
from trainer.aug.pixels import mean_color
from trainer.base.checks import require, require_images

# Of AutoAugment: degrees, tangents, fractions of the side (150 of 331 pixels), changes of the factor 1, bits.
RANGES = {"rotate": 30, "shear_x": 0.3, "shear_y": 0.3, "translate_x": 150 / 331, "translate_y": 150 / 331}
RANGES |= {"color": 0.9, "contrast": 0.9, "brightness": 0.9, "sharpness": 0.9, "posterize": 4}
TORCHVISION = 30  # torchvision's top magnitude, the last of its 31 bins


@dataclass(kw_only=True)
class RandAugment:
    """Change each image by `count` operations drawn from the list, all at one magnitude (Cubuk et al., 2020).

    Magnitude 0 changes nothing, but for auto_contrast and equalize, which have no magnitude. At max_magnitude it is a
    turn of 30 degrees, a shear of 0.3, a shift of 0.45 of the side, a colour, contrast, brightness or sharpness factor
    of 1 +- 0.9, 4 of 8 bits, or inversion of everything; the sign is drawn. In between it grows in proportion: 9 of 10,
    as in the paper, is a turn of 27 degrees, and 9 of 30, as in torchvision, one of 9. Beyond the edges images have the
    mean colour of the training images given to `calibrate`, else of the batch.

    Args:
        operations: list to draw from, each as likely; names of OPERATIONS. Paper: all 14.
        count: operations an image (N in the paper), >= 0. Paper: 2 on ImageNet, 3 on CIFAR-10.
        magnitude: of all of them (M in the paper), in [0, max_magnitude]. Paper: 9 for ResNet-50 on ImageNet, 5 on
            CIFAR-10.
        max_magnitude: top of the scale, > 0. Paper: 10, which its larger networks exceed; torchvision's 31 bins: 30.
    Shapes: images (B, C, H, W) in [0, 1]. Errors: ValueError. Source: arXiv:1909.13719, with the ranges of AutoAugment
    (arXiv:1805.09501). Differs from the paper: bilinear; nothing beyond the top of the scale; magnitudes of colour
    operations count from the image as it is, not from one end of the range.
    """

    on_pixels: ClassVar = True
    operations: Sequence[str] = OPERATIONS
    count: int = 2
    magnitude: float = 9.0
    max_magnitude: float = 10.0
    fill: Tensor | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        require_operations(self.operations)
        require("> 0", max_magnitude=self.max_magnitude)
        require(">= 0", count=self.count, magnitude=self.magnitude)
        if self.magnitude > self.max_magnitude:
            rule = f"in [0, {self.max_magnitude:g}], as max_magnitude={self.max_magnitude:g}"
            top = f"max_magnitude={TORCHVISION}, torchvision's scale"
            hint = top if self.magnitude <= TORCHVISION else f"magnitude={self.max_magnitude:g}"
            raise ValueError(f"magnitude must be {rule}, got {self.magnitude}; try aug.randaugment.{hint}")

    def calibrate(self, images: Tensor) -> None:
        """Take the mean colour of training images (B, C, H, W) in [0, 1]."""
        require_images(images)
        self.fill = mean_color(images)

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        require_images(images)
        fill = mean_color(images) if self.fill is None else self.fill
        levels = torch.full((len(images),), self.magnitude / self.max_magnitude, device=images.device)
        for _ in range(self.count):
            images = apply_random_operation(images, self.operations, RANGES, levels, fill, rng)
        return images, targets
