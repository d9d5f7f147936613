"""What several models share: the shapes between their layers, and the dense layers at the end."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from trainer.base.checks import require
from trainer.base.layer_factory import LayerFactory

Shape = tuple[int, ...]


def require_image_shape(input_shape: Shape, side: int = 1) -> None:
    """Hold the data's shape to (C, H, W), H and W no smaller than `side`. Errors: ValueError."""
    if len(input_shape) != 3:
        raise ValueError(
            f"needs images (C, H, W), the data has shape {tuple(input_shape)}; try model=mlp, model=linear"
        )
    if min(input_shape[1:]) < side:
        raise ValueError(
            f"needs images of {side}x{side} pixels or more, the data has shape {tuple(input_shape)}; try model=cnn"
        )


def residual_blocks(depth: int, others: int) -> int:
    """Blocks in each of three stages of blocks of two layers, beside so many other layers. Errors: ValueError unless depth is 6n + others."""
    blocks = (depth - others) // 6
    if depth != 6 * blocks + others or blocks < 1:
        nearest = 6 * max(1, round((depth - others) / 6)) + others
        raise ValueError(f"depth must be 6n + {others}, n >= 1, got {depth}; try {nearest}")
    return blocks


@torch.no_grad()
def after(layer: nn.Module, shape: Shape) -> Shape:
    """The shape, without the batch, that a new layer makes of inputs of `shape`: measured on zeros. Errors: ValueError where it takes none."""
    try:
        return tuple(layer.eval()(torch.zeros(1, *shape)).shape[1:])
    except RuntimeError as error:
        raise ValueError(f"image of shape {shape} is too small for a layer ({str(error).splitlines()[0]})") from error
    finally:
        layer.train()


def pooling(kit: LayerFactory, shape: Shape) -> tuple[list[nn.Module], Shape]:
    """The kit's pooling while the image (C, H, W) is at least 2 pixels wide, then none; and the shape behind it.

    Measured: not every pooling halves.
    """
    if min(shape[1:]) < 2:
        return [], shape
    pool = kit.pool()
    return [pool], after(pool, shape)


def dense_part(kit: LayerFactory, shape: Shape, hidden: Sequence[int], outputs: int) -> list[nn.Module]:
    """(B, *shape) -> (B, outputs): the kit's dense blocks of so many units each, then its head. Errors: ValueError where one has no units."""
    require(">= 1", hidden=min(hidden, default=1))
    widths = [math.prod(shape), *hidden]
    blocks = [layer for inputs, units in zip(widths, widths[1:]) for layer in kit.dense(inputs, units)]
    return [nn.Flatten(), *blocks, kit.head(widths[-1], outputs)]


def average_part(kit: LayerFactory, channels: int, outputs: int) -> list[nn.Module]:
    """(B, channels, H, W) -> (B, outputs): the average over the image, the kit's drop, its head."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), *kit.drop(), kit.head(channels, outputs)]
