"""Image operations that augmentation policies (RandAugment, TrivialAugment) draw from."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from trainer.aug.pixels import grey_weights, select
from trainer.base.checks import require_one_of
from trainer.base.warp import rotation, shearing, translation, warp

OPERATIONS = (
    "identity", "auto_contrast", "equalize", "rotate", "solarize", "color", "posterize", "contrast", "brightness",
    "sharpness", "shear_x", "shear_y", "translate_x", "translate_y",
)  # fmt: skip
UNGRADED = ("auto_contrast", "equalize")  # they have no magnitude
ROUNDING = 1e-4  # of a pixel in float32, which is a 40th of an 8-bit level


def require_operations(operations: Sequence[str]) -> None:
    """Require a policy's list to name OPERATIONS, at least one. Errors: ValueError."""
    for name in operations:
        require_one_of(*OPERATIONS, operations=name)
    if not operations:
        raise ValueError("operations must name at least one, got none")


def apply_random_operation(
    images: Tensor,
    operations: Sequence[str],
    ranges: Mapping[str, float],
    levels: Tensor,
    fill: Tensor,
    rng: torch.Generator,
) -> Tensor:
    """Apply to each image one of the operations, drawn with a sign.

    At level 0 nothing changes, but for UNGRADED operations, which have no level.

    Args:
        images: (B, C, H, W) in [0, 1].
        ranges: amount of an operation at level 1; 1 where it is not named.
        levels: (B,), from 0 to 1.
        fill: colour beyond the edges, (C, 1, 1).
    """
    count, device = len(images), images.device
    drawn = torch.randint(0, len(operations), (count,), generator=rng, device=device)
    signs = torch.randint(0, 2, (count,), generator=rng, device=device) * 2 - 1
    images, moved = images.clone(), torch.zeros_like(drawn, dtype=torch.bool)
    matrices = torch.eye(3, device=device).expand(count, 3, 3)
    for number, name in enumerate(operations):
        chosen, amounts = drawn == number, levels * signs * ranges.get(name, 1)
        chosen = chosen if name in UNGRADED else chosen & (levels > 0)
        if name in MOTIONS:
            motion = MOTIONS[name](amounts, *images.shape[2:])
            matrices, moved = torch.where(chosen.view(-1, 1, 1), motion, matrices), moved | chosen
        elif name in COLORS:
            images = apply_where(chosen, COLORS[name], images, amounts.view(-1, 1, 1, 1))
    if not MOTIONS.keys() & set(operations):
        return images
    return apply_where(moved, lambda pixels, motion: warp(pixels - fill, motion) + fill, images, matrices)


def apply_where(mask: Tensor, operation: Callable[[Tensor, Tensor], Tensor], images: Tensor, amounts: Tensor) -> Tensor:
    """Apply an operation to the images in the mask (B,); the images passed in may be overwritten."""
    if images.device.type != "cpu":
        return select(mask.view(-1, 1, 1, 1), operation(images, amounts), images)
    indices = mask.nonzero().squeeze(1)  # no host sync on the CPU, and no work on the other images
    return images.index_copy_(0, indices, operation(images[indices], amounts[indices])) if len(indices) else images


def grey(pixels: Tensor) -> Tensor:
    """Return the grey values, (B, 1, H, W)."""
    return (pixels * grey_weights(pixels.shape[1], pixels.device).view(1, -1, 1, 1)).sum(1, keepdim=True)


def smoothed(pixels: Tensor) -> Tensor:
    """Return the mean of the 3x3 about each pixel, itself counted five times; the outermost pixels as they are."""
    result = pixels.clone()
    if min(pixels.shape[2:]) > 2:
        rows = pixels[:, :, :-2] + pixels[:, :, 1:-1] + pixels[:, :, 2:]
        squares = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
        result[:, :, 1:-1, 1:-1] = (squares + 4 * pixels[:, :, 1:-1, 1:-1]) / 13
    return result


def auto_contrast(pixels: Tensor, amounts: Tensor) -> Tensor:
    """Stretch each channel to the range from 0 to 1."""
    low, high = pixels.amin((2, 3), keepdim=True), pixels.amax((2, 3), keepdim=True)
    return torch.where(high > low, (pixels - low) / (high - low), pixels)


def equalize(pixels: Tensor, amounts: Tensor) -> Tensor:
    """Spread each channel's 256 levels so that each is about as frequent.

    Level v becomes floor((step / 2 + count of pixels below v) / step), step = floor(count below the brightest level /
    255). Counts are floats, exact up to 2^23 pixels: integers divide several times slower.
    """
    levels = (pixels.clamp(0, 1) * 255).round().long().flatten(2)
    counts = pixels.new_zeros(*levels.shape[:2], 256)
    counts.scatter_add_(2, levels, torch.ones_like(levels, dtype=pixels.dtype))
    step = ((levels.shape[2] - counts.gather(2, levels.amax(2, keepdim=True))) / 255).floor()
    table = ((step / 2 + counts.cumsum(2) - counts) / step.clamp(min=1)).floor().clamp(max=255) / 255
    return torch.where((step > 0).unsqueeze(3), table.gather(2, levels).view(pixels.shape), pixels)


def solarize(pixels: Tensor, amounts: Tensor) -> Tensor:
    """Invert the pixels from 1 - |amount| on: all of them at an amount of 1."""
    return torch.where(pixels >= 1 - amounts.abs() - ROUNDING, 1 - pixels, pixels).clamp_(0, 1)


def posterize(pixels: Tensor, amounts: Tensor) -> Tensor:
    """Round down to fewer of the 8 bits: 2^|amount| levels become one."""
    width = 2 ** amounts.abs().round()
    return torch.where(width > 1, torch.floor((pixels * 255).round() / width) * width / 255, pixels)


def enhanced(pixels: Tensor, extreme: Tensor, amounts: Tensor) -> Tensor:
    """Return the extreme at a factor 1 + amount of 0, the pixels at 1, the line through both elsewhere; clipped."""
    return torch.lerp(extreme, pixels, 1 + amounts).clamp_(0, 1)


COLORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # pixels from 0 to 1, amounts (B, 1, 1, 1)
    "auto_contrast": auto_contrast,
    "equalize": equalize,
    "solarize": solarize,
    "posterize": posterize,
    "brightness": lambda pixels, amounts: (pixels * (1 + amounts)).clamp_(0, 1),
    "contrast": lambda pixels, amounts: enhanced(pixels, grey(pixels).mean((2, 3), keepdim=True), amounts),
    "color": lambda pixels, amounts: enhanced(pixels, grey(pixels), amounts),
    "sharpness": lambda pixels, amounts: enhanced(pixels, smoothed(pixels), amounts),
}
MOTIONS: dict[str, Callable[[Tensor, int, int], Tensor]] = {  # amounts (B,), height, width -> matrices (B, 3, 3)
    "rotate": lambda amounts, height, width: rotation(amounts * math.radians(1)),
    "shear_x": lambda amounts, height, width: shearing(amounts, torch.zeros_like(amounts)),
    "shear_y": lambda amounts, height, width: shearing(torch.zeros_like(amounts), amounts),
    "translate_x": lambda amounts, height, width: translation(amounts * width, torch.zeros_like(amounts)),
    "translate_y": lambda amounts, height, width: translation(torch.zeros_like(amounts), amounts * height),
}
