"""TrivialAugment: one random operation on each image, at a random magnitude."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trainer.aug.operations import LEVELS, OPERATIONS, apply_random_operation, require_operations
from trainer.aug.pixels import color_range
from trainer.base.checks import require_images

# The paper's wide ones: degrees, tangents, fractions of the side, changes of the factor 1, bits.
RANGES = {"rotate": 135, "shear_x": 0.99, "shear_y": 0.99, "translate_x": 1, "translate_y": 1}
RANGES |= {"color": 0.99, "contrast": 0.99, "brightness": 0.99, "sharpness": 0.99, "posterize": 6}


@dataclass(kw_only=True)
class TrivialAugment:
    """Change each image by one operation drawn from the list, at a magnitude 0, 1, ..., 30 (Mueller & Hutter, 2021).

    Magnitude 30 is a turn of 135 degrees, a shear of 0.99, a shift of the whole side, a colour, contrast, brightness or
    sharpness factor of 1 +- 0.99, 2 of 8 bits, or inversion of everything; the sign is drawn. Beyond the edges images
    are 0. Black and white are the range of each channel in the training images given to `calibrate`, else in the batch.

    Args:
        operations: list to draw from, each as likely; names of OPERATIONS. Paper: all 14.
    Shapes: images (B, C, H, W). Errors: ValueError. Source: arXiv:2103.10158, with its wide ranges.
    Differs from the paper: bilinear, fills with the mean of standardised images, and shifts by the side (there 32
    pixels, of 32 on CIFAR).
    """

    operations: Sequence[str] = OPERATIONS
    black_and_white: tuple[Tensor, Tensor] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        require_operations(self.operations)

    def calibrate(self, images: Tensor) -> None:
        """Take black and white from preprocessed training images (B, C, H, W)."""
        require_images(images)
        self.black_and_white = color_range(images)

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        require_images(images)
        levels = torch.randint(0, LEVELS + 1, (len(images),), generator=rng, device=images.device) / LEVELS
        black_and_white = self.black_and_white or color_range(images)
        return apply_random_operation(images, self.operations, RANGES, levels, black_and_white, rng), targets
