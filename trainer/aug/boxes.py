"""Random boxes in images: their sizes, and the pixels inside."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from trainer.base.checks import require

TRIES = 10  # boxes drawn until one fits


def require_range(rule: str, **fields: Sequence[float]) -> None:
    """Require fields to be two numbers [low, high] that each keep a rule. Errors: ValueError."""
    require(rule, **fields)
    for name, value in fields.items():
        if len(value) != 2 or value[0] > value[1]:
            raise ValueError(f"{name} must be two numbers [low, high] with low <= high, got {list(value)}")


def box_sizes(
    scale: Sequence[float], ratio: Sequence[float], images: Tensor, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw heights and widths in pixels, (B,) each, until they fit into the image.

    area ~ U(scale) H W and log(height / width) ~ U(log ratio). All tries are drawn at once; where none fits, the first
    is cut at the image's size.
    """
    count, (height, width) = len(images), images.shape[2:]
    areas, ratios = torch.rand(2, count, TRIES, generator=rng, device=images.device)
    areas = (scale[0] + areas * (scale[1] - scale[0])) * height * width
    low, high = (math.log(bound) for bound in ratio)
    # Counted from the middle, so that [1 / r, r] is symmetric to the bit.
    ratios = ((2 * ratios - 1) * ((high - low) / 2) + (high + low) / 2).exp()
    heights, widths = (areas * ratios).sqrt(), (areas / ratios).sqrt()
    first = ((heights <= height) & (widths <= width)).byte().argmax(1, keepdim=True)
    return heights.gather(1, first).squeeze(1).clamp(max=height), widths.gather(1, first).squeeze(1).clamp(max=width)


def box_mask(top: Tensor, bottom: Tensor, left: Tensor, right: Tensor, images: Tensor) -> Tensor:
    """Return the pixels in each image's box, (B, 1, H, W); the bounds (B,) at the bottom and the right are outside."""
    rows, columns = (torch.arange(size, device=images.device) for size in images.shape[2:])
    top, bottom, left, right = (bound.view(-1, 1) for bound in (top, bottom, left, right))
    high, wide = (rows >= top) & (rows < bottom), (columns >= left) & (columns < right)
    return (high.unsqueeze(2) & wide.unsqueeze(1)).unsqueeze(1)


def centered_box_mask(height: Tensor, width: Tensor, images: Tensor, rng: torch.Generator) -> Tensor:
    """Return the pixels in a box about a pixel drawn from the whole image, (B, 1, H, W); sizes (B,) in whole pixels."""
    top, left = (
        torch.randint(0, side, (len(images),), generator=rng, device=images.device)
        - torch.div(size, 2, rounding_mode="floor")
        for side, size in zip(images.shape[2:], (height, width))
    )
    return box_mask(top, top + height, left, left + width, images)
