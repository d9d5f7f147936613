"""TrivialAugment: one random operation on each image, at a random magnitude."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from trainer.aug.operations import OPERATIONS, apply_random_operation, require_operations
from trainer.aug.pixels import mean_color
from trainer.base.checks import require_images

LEVELS = 30  # magnitudes are 0, 1, ..., 30
# The paper's wide ones: degrees, tangents, fractions of the side, changes of the factor 1, bits.
RANGES = {"rotate": 135, "shear_x": 0.99, "shear_y": 0.99, "translate_x": 1, "translate_y": 1}
RANGES |= {"color": 0.99, "contrast": 0.99, "brightness": 0.99, "sharpness": 0.99, "posterize": 6}


@dataclass(kw_only=True)
class TrivialAugment:
    """Change each image by one operation drawn from the list, at a magnitude 0, 1, ..., 30 (Mueller & Hutter, 2021).

    Magnitude 30 is a turn of 135 degrees, a shear of 0.99, a shift of the whole side, a colour, contrast, brightness or
    sharpness factor of 1 +- 0.99, 2 of 8 bits, or inversion of everything; the sign is drawn. Magnitude 0 changes
    nothing; auto_contrast and equalize have no magnitude. Beyond the edges images have the mean colour of the training
    images given to `calibrate`, else of the batch.

    Args:
        operations: list to draw from, each as likely; names of OPERATIONS. Paper: all 14.
    Shapes: images (B, C, H, W) in [0, 1]. Errors: ValueError. Source: arXiv:2103.10158, with its wide ranges.
    Differs from the paper: bilinear, fills with the mean colour, and shifts by the side (there 32 pixels, of 32 on
    CIFAR).
    """

    on_pixels: ClassVar = True
    operations: Sequence[str] = OPERATIONS
    fill: Tensor | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        require_operations(self.operations)

    def calibrate(self, images: Tensor) -> None:
        """Take the mean colour of training images (B, C, H, W) in [0, 1]."""
        require_images(images)
        self.fill = mean_color(images)

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        require_images(images)
        levels = torch.randint(0, LEVELS + 1, (len(images),), generator=rng, device=images.device) / LEVELS
        fill = mean_color(images) if self.fill is None else self.fill
        return apply_random_operation(images, self.operations, RANGES, levels, fill, rng), targets
