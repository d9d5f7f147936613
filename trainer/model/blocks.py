"""Building blocks of several models: shapes between layers, pooling, fully connected layers and the head."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from trainer.base.checks import require
from trainer.base.layer_factory import LayerFactory

Shape = tuple[int, ...]


def require_image_shape(input_shape: Shape, side: int = 1) -> None:
    """Check that the data's shape is (C, H, W), H and W no smaller than `side`. Errors: ValueError."""
    shape = tuple(input_shape)
    if len(shape) != 3:
        raise ValueError(f"needs images (C, H, W), the data has shape {shape}; try model=mlp, model=linear")
    if min(shape[1:]) < side:
        raise ValueError(f"needs images of {side}x{side} pixels or more, the data has shape {shape}; try model=cnn")


def blocks_per_stage(depth: int, other_layers: int) -> int:
    """Return n for a net of three stages of n two-layer blocks and some other layers.

    Errors: ValueError unless depth = 6n + other_layers.
    """
    blocks = (depth - other_layers) // 6
    if depth != 6 * blocks + other_layers or blocks < 1:
        nearest = 6 * max(1, round((depth - other_layers) / 6)) + other_layers
        raise ValueError(f"depth must be 6n + {other_layers}, n >= 1, got {depth}; try {nearest}")
    return blocks


@torch.no_grad()
def output_shape(layer: nn.Module, shape: Shape) -> Shape:
    """Return the shape that a new layer makes of inputs of `shape`, both without the batch: measured on zeros.

    Errors: ValueError where the layer cannot take such inputs.
    """
    try:
        return tuple(layer.eval()(torch.zeros(1, *shape)).shape[1:])
    except RuntimeError as error:
        raise ValueError(f"image of shape {shape} is too small for a layer ({str(error).splitlines()[0]})") from error
    finally:
        layer.train()


def pooling(kit: LayerFactory, shape: Shape) -> tuple[list[nn.Module], Shape]:
    """Return the kit's pooling, or none for an image (C, H, W) less than 2 pixels wide, and the shape behind it.

    The shape is measured: not every pooling halves.
    """
    if min(shape[1:]) < 2:
        return [], shape
    pool = kit.pool()
    return [pool], output_shape(pool, shape)


def fully_connected(kit: LayerFactory, shape: Shape, hidden: Sequence[int], outputs: int) -> list[nn.Module]:
    """Return layers (B, *shape) -> (B, outputs): the kit's dense blocks of `hidden` units, then its head.

    Errors: ValueError where a layer has no units.
    """
    require(">= 1", hidden=min(hidden, default=1))
    widths = [math.prod(shape), *hidden]
    blocks = [layer for inputs, units in zip(widths, widths[1:]) for layer in kit.dense(inputs, units)]
    return [nn.Flatten(), *blocks, kit.head(widths[-1], outputs)]


def average_head(kit: LayerFactory, channels: int, outputs: int) -> list[nn.Module]:
    """Return layers (B, channels, H, W) -> (B, outputs): global average pooling, the kit's drop, its head."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), *kit.drop(), kit.head(channels, outputs)]
