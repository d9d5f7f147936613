"""Drawing an operation for each image from a list."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trainer.base.checks import require, require_images, require_one_of
from trainer.base.warp import choose, color_range, luma, rotation, shearing, shifting, warp

OPERATIONS = (
    "identity", "auto_contrast", "equalize", "rotate", "solarize", "color", "posterize", "contrast", "brightness", "sharpness",
    "shear_x", "shear_y", "translate_x", "translate_y",
)  # fmt: skip
LEVELS = 30  # magnitudes are counted from 0 to 30
MIDDLING = {"rotate": 30, "color": 0.9, "contrast": 0.9, "brightness": 0.9, "sharpness": 0.9, "posterize": 4}
MIDDLING |= {"shear_x": 0.3, "shear_y": 0.3, "translate_x": 0.45, "translate_y": 0.45}
WIDE = {"rotate": 135, "color": 0.99, "contrast": 0.99, "brightness": 0.99, "sharpness": 0.99, "posterize": 6}
WIDE |= {"shear_x": 0.99, "shear_y": 0.99, "translate_x": 1, "translate_y": 1}


@dataclass(kw_only=True)
class RandAugment:
    """Change each image by `count` operations drawn from the list, all at one magnitude (Cubuk et al., 2020).

    Magnitude 30 is a turn of 30 degrees, a slant of 0.3, a shift of 0.45 of the side, a colour, contrast, brightness or sharpness
    factor of 1 +- 0.9, 4 of 8 bits, or inversion of everything; the sign is drawn. What comes in from outside is 0.

    Args:
        operations: drawn from, each as likely; words of OPERATIONS. Paper: all 14.
        count: operations an image (N in the paper), >= 1. Paper: 2 on ImageNet, 3 on CIFAR-10.
        magnitude: of all of them (M in the paper), in [0, 30]. Paper: 9 for ResNet-50 on ImageNet, 5 on CIFAR-10.
    Shapes: images (B, C, H, W). Errors: ValueError. Source: arXiv:1909.13719, with the ranges of AutoAugment
    (arXiv:1805.09501). Differs from the paper: bilinear, and fills with the mean of standardised images.
    """

    operations: Sequence[str] = OPERATIONS
    count: int = 2
    magnitude: float = 9.0
    range: tuple[Tensor, Tensor] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        require_operations(self.operations)
        require(">= 1", count=self.count)
        require("in [0, 30]", magnitude=self.magnitude)

    def calibrate(self, images: Tensor) -> None:
        """Take black and white from preprocessed training images (B, C, H, W)."""
        require_images(images)
        self.range = color_range(images)

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        require_images(images)
        black_and_white = self.range or color_range(images)
        levels = torch.full((len(images),), self.magnitude / LEVELS, device=images.device)
        for _ in range(self.count):
            images = operate(images, self.operations, MIDDLING, levels, black_and_white, rng)
        return images, targets


@dataclass(kw_only=True)
class TrivialAugment:
    """Change each image by one operation drawn from the list, at a magnitude drawn from 0, 1, ..., 30 (Mueller & Hutter, 2021).

    Magnitude 30 is a turn of 135 degrees, a slant of 0.99, a shift of the whole side, a colour, contrast, brightness or sharpness
    factor of 1 +- 0.99, 2 of 8 bits, or inversion of everything; the sign is drawn. What comes in from outside is 0.

    Args:
        operations: drawn from, each as likely; words of OPERATIONS. Paper: all 14.
    Shapes: images (B, C, H, W). Errors: ValueError. Source: arXiv:2103.10158, with its wide ranges.
    Differs from the paper: bilinear, fills with the mean of standardised images, and shifts by the side (there 32 pixels, of 32 on CIFAR).
    """

    operations: Sequence[str] = OPERATIONS
    range: tuple[Tensor, Tensor] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        require_operations(self.operations)

    def calibrate(self, images: Tensor) -> None:
        """Take black and white from preprocessed training images (B, C, H, W)."""
        require_images(images)
        self.range = color_range(images)

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        require_images(images)
        levels = torch.randint(0, LEVELS + 1, (len(images),), generator=rng, device=images.device) / LEVELS
        return operate(images, self.operations, WIDE, levels, self.range or color_range(images), rng), targets


def require_operations(operations: Sequence[str]) -> None:
    for word in operations:
        require_one_of(*OPERATIONS, operations=word)
    if not operations:
        raise ValueError("operations must name at least one, got none")


def operate(
    images: Tensor,
    operations: Sequence[str],
    reach: dict[str, float],
    levels: Tensor,
    black_and_white: tuple[Tensor, Tensor],
    rng: torch.Generator,
) -> Tensor:
    """Each image after one operation, at a level (B,) from 0 to 1 of its reach."""
    count, device = len(images), images.device
    chosen = torch.randint(0, len(operations), (count,), generator=rng, device=device)
    signs = torch.randint(0, 2, (count,), generator=rng, device=device) * 2 - 1
    low, high = black_and_white
    pixels, moved = (images - low) / (high - low), torch.zeros_like(chosen, dtype=torch.bool)
    matrices = torch.eye(3, device=device).expand(count, 3, 3)
    for number, word in enumerate(operations):
        these, amounts = chosen == number, levels * signs * reach.get(word, 1)
        if word in MOVES:
            matrices, moved = (
                torch.where(these.view(-1, 1, 1), MOVES[word](amounts, *images.shape[2:]), matrices),
                moved | these,
            )
        else:
            pixels = on(these, COLORS[word], pixels, amounts.view(-1, 1, 1, 1))
    images = pixels.clamp_(0, 1) * (high - low) + low
    return on(moved, warp, images, matrices) if MOVES.keys() & set(operations) else images


def on(chosen: Tensor, operation: Callable[[Tensor, Tensor], Tensor], images: Tensor, amounts: Tensor) -> Tensor:
    """Images after an operation on those chosen (B,); the images that came in may be written over."""
    if images.device.type != "cpu":
        return choose(chosen.view(-1, 1, 1, 1), operation(images, amounts), images)
    which = chosen.nonzero().squeeze(1)  # here it waits for no device, and spares the work on all others
    return images.index_copy_(0, which, operation(images[which], amounts[which])) if len(which) else images


def grey(pixels: Tensor) -> Tensor:
    return (pixels * luma(pixels.shape[1], pixels.device).view(1, -1, 1, 1)).sum(1, keepdim=True)


def smoothed(pixels: Tensor) -> Tensor:
    """Each pixel the mean of the 3x3 about it, itself counted five times; the outermost ones as they are."""
    result = pixels.clone()
    if min(pixels.shape[2:]) > 2:
        rows = pixels[:, :, :-2] + pixels[:, :, 1:-1] + pixels[:, :, 2:]
        squares = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
        result[:, :, 1:-1, 1:-1] = (squares + 4 * pixels[:, :, 1:-1, 1:-1]) / 13
    return result


def auto_contrast(pixels: Tensor, amounts: Tensor) -> Tensor:
    low, high = pixels.amin((2, 3), keepdim=True), pixels.amax((2, 3), keepdim=True)
    return torch.where(high > low, (pixels - low) / (high - low), pixels)


def equalize(pixels: Tensor, amounts: Tensor) -> Tensor:
    """Each channel's 256 levels spread so that each is about as frequent: level v becomes (step / 2 + how many are below v) / step.

    Counts are floats, exact up to 2^23 pixels: whole numbers divide several times slower.
    """
    levels = (pixels.clamp(0, 1) * 255).round().long().flatten(2)
    counts = pixels.new_zeros(*levels.shape[:2], 256).scatter_add_(
        2, levels, torch.ones_like(levels, dtype=pixels.dtype)
    )
    step = (
        (levels.shape[2] - counts.gather(2, levels.amax(2, keepdim=True))) / 255
    ).floor()  # of all but the brightest level
    table = ((step / 2 + counts.cumsum(2) - counts) / step.clamp(min=1)).floor().clamp(max=255) / 255
    return torch.where((step > 0).unsqueeze(3), table.gather(2, levels).view(pixels.shape), pixels)


def posterize(pixels: Tensor, amounts: Tensor) -> Tensor:
    width = 2 ** amounts.abs().round()  # of the levels that become one
    return torch.floor((pixels * 255).round() / width) * width / 255


COLORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # pixels from 0 to 1, amounts (B, 1, 1, 1)
    "identity": lambda pixels, amounts: pixels,
    "auto_contrast": auto_contrast,
    "equalize": equalize,
    "solarize": lambda pixels, amounts: torch.where(pixels >= 1 - amounts.abs(), 1 - pixels, pixels),
    "posterize": posterize,
    "brightness": lambda pixels, amounts: pixels * (1 + amounts),
    "contrast": lambda pixels, amounts: torch.lerp(grey(pixels).mean((2, 3), keepdim=True), pixels, 1 + amounts),
    "color": lambda pixels, amounts: torch.lerp(grey(pixels), pixels, 1 + amounts),
    "sharpness": lambda pixels, amounts: torch.lerp(smoothed(pixels), pixels, 1 + amounts),
}
MOVES: dict[str, Callable[[Tensor, int, int], Tensor]] = {  # amounts (B,), height, width
    "rotate": lambda amounts, height, width: rotation(amounts * math.radians(1)),
    "shear_x": lambda amounts, height, width: shearing(amounts, torch.zeros_like(amounts)),
    "shear_y": lambda amounts, height, width: shearing(torch.zeros_like(amounts), amounts),
    "translate_x": lambda amounts, height, width: shifting(amounts * width, torch.zeros_like(amounts)),
    "translate_y": lambda amounts, height, width: shifting(torch.zeros_like(amounts), amounts * height),
}
