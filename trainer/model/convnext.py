"""ConvNeXt."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainer.base.checks import require
from trainer.base.layer_factory import LayerFactory, block
from trainer.base.layers import Residual, with_linear_input
from trainer.model.blocks import Along, average_head, norm_along, patchify, require_patch


class ConvNext(nn.Sequential):
    """ConvNeXt (Liu et al., 2022) for small images: depthwise convolutions and dense layers at each pixel.

    A linear map of patches and a norm; stages of blocks, a norm and a 2x2 convolution of stride 2 before each but the
    first; the average over the image, a norm, one dense layer. A block is x + scale * mlp(norm(depthwise(x))): a
    convolution of each channel by itself, then, at each pixel, norm, dense, activation, dense, and a learned factor for
    each channel. Sides that a patch does not divide get zeros on the right and below. With norm=layer, 10 classes and
    3x32x32 1.60 million parameters.

    Args:
        channels: of each stage, each >= 1. Paper: 96, 192, 384, 768 (ConvNeXt-T and -S).
        blocks: of each stage, each >= 1. Paper: 3, 3, 9, 3 (T).
        patch: side of the first patches in pixels, >= 1, at most that of the images. Paper: 4.
        kernel: side of the depthwise kernels, odd, >= 1. Paper: 7.
        expansion: units between the dense layers of a block, as a multiple of its channels, >= 1. Paper: 4.
        scale: of the branches at the start, >= 0. Paper: 1e-6, in nets of 18 blocks and more; for shallower ones 0.1
            (arXiv:2103.17239, section 2).
    Shapes: (B, C, H, W) -> (B, K); the kit's pooling is not used, and its norms stand where they do here, whatever
    their `place`. Errors: ValueError, also on inputs that are not images.
    Source: arXiv:2201.03545, section 2. Differs from the paper: sizes for small images; the kit's dropout behind the
        activations and before the last layer.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        kit: LayerFactory,
        *,
        channels: Sequence[int] = (64, 128, 256),
        blocks: Sequence[int] = (2, 2, 2),
        patch: int = 2,
        kernel: int = 7,
        expansion: int = 4,
        scale: float = 0.1,
    ) -> None:
        require_patch(patch, input_shape)
        require(">= 1", channels=min(channels, default=0), blocks=min(blocks, default=0), expansion=expansion)
        require(">= 1", kernel=kernel)
        require(">= 0", scale=scale)
        if len(blocks) != len(channels):
            raise ValueError(f"blocks must name each of the {len(channels)} stages of channels, got {len(blocks)}")
        if kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, to have a centre, got {kernel}; try model.kernel={kernel - 1}")
        layers, inputs, shape = [], input_shape[0], tuple(input_shape)
        for width, count in zip(channels, blocks):
            first = not layers
            patches, shape = patchify(inputs, width, patch if first else 2, shape)
            layers += [*patches, *norm_along(kit, 1, width)] if first else [*norm_along(kit, 1, inputs), *patches]
            layers += [convnext_block(kit, width, kernel, expansion, scale) for _ in range(count)]
            inputs = width
        average, flatten, *drops, head = average_head(kit, inputs, outputs)
        super().__init__(*layers, average, flatten, *block(kit.norm(inputs)), *drops, with_linear_input(head))


def convnext_block(kit: LayerFactory, channels: int, kernel: int, expansion: int, scale: float) -> Residual:
    """Make x + scale * mlp(norm(depthwise(x))): (B, channels, H, W) -> (B, channels, H, W)."""
    depthwise = with_linear_input(nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels))
    mlp = Along(1, *block(kit.norm(channels)), *kit.feed_forward(channels, expansion * channels))
    branch = nn.Sequential(Scaled(channels, scale, depthwise, mlp, *kit.drop_maps()))
    return Residual(branch, nn.Identity(), nn.Identity())


class Scaled(nn.Module):
    """Layers in order, then a learned factor for each channel: (B, C, H, W) -> (B, C, H, W).

    Args:
        channels: of the last layer, C.
        scale: of all channels at the start.
        layers: in order.
    """

    def __init__(self, channels: int, scale: float, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.scale = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) * self.scale[:, None, None]
