"""Building blocks of several models: shapes between layers, pooling, fully connected layers and the head."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainer.base.checks import require
from trainer.base.layer_factory import LayerFactory, block
from trainer.base.layers import Residual, with_linear_input

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


def patchify(inputs: int, channels: int, patch: int, shape: Shape) -> tuple[list[nn.Module], Shape]:
    """Return a convolution of the patches of an image, side by side, and the shape behind it: a place for each patch.

    (B, inputs, H, W) -> (B, channels, ceil(H / patch), ceil(W / patch)). Zeros on the right and below fill the last
    patches of sides that the patch does not divide.
    """
    height, width = shape[1:]
    below, right = -height % patch, -width % patch
    padding = [nn.ZeroPad2d((0, right, 0, below))] if below or right else []
    conv = with_linear_input(nn.Conv2d(inputs, channels, patch, patch))
    return [*padding, conv], (channels, (height + below) // patch, (width + right) // patch)


def require_patch(patch: int, input_shape: Shape) -> None:
    """Check that a patch fits into the images. Errors: ValueError."""
    require_image_shape(input_shape)
    require(">= 1", patch=patch)
    side = min(input_shape[1:])
    if patch > side:
        fitting = max(1, side // 4)
        raise ValueError(f"patch must be <= {side}, the side of the images, got {patch}; try model.patch={fitting}")


class Along(nn.Module):
    """Layers for vectors (B, D), applied along one dimension of tokens or maps, at each place of the others.

    Along dimension 1 of maps (B, C, H, W) they see B H W vectors of C channels: norm=layer takes the mean over the
    channels of one place, norm=batch over the batch and all places.

    Args:
        dim: the dimension of the vectors, >= 1.
        layers: (B, D) -> (B, D'), in order.
    Shapes: (B, ..., D, ...) -> (B, ..., D', ...).
    """

    def __init__(self, dim: int, *layers: nn.Module) -> None:
        super().__init__()
        self.dim = dim
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        last = x.movedim(self.dim, -1)
        rows = self.layers(last.flatten(0, -2))  # sample after sample
        return rows.unflatten(0, last.shape[:-1]).movedim(-1, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


def norm_along(kit: LayerFactory, dim: int, channels: int) -> list[nn.Module]:
    """Return the kit's norm of the vectors along a dimension, or nothing where the kit has none."""
    norm = block(kit.norm(channels))
    return [Along(dim, *norm)] if len(norm) else []


def with_residual(kit: LayerFactory, channels: int, layer: nn.Module) -> nn.Module:
    """Return x + layer(norm(x)) for a layer on (B, channels, ...), the norm along the channels."""
    return Residual(nn.Sequential(*norm_along(kit, 1, channels), layer), nn.Identity(), nn.Identity())


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
