"""Residual networks: those of He et al. for CIFAR and ImageNet, and wide ones with pre-activation."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from trainer.base.checks import require
from trainer.base.layer_factory import LayerFactory
from trainer.base.layers import Residual
from trainer.model.blocks import average_head, blocks_per_stage, require_image_shape


class CifarResNet(nn.Sequential):
    """ResNet for CIFAR, without parameters in its shortcuts (He et al., 2016).

    A 3x3 convolution of 16 channels, then three stages of n blocks of two 3x3 convolutions with 16, 32 and 64 channels;
    the second and the third stage begin with stride 2, where the shortcut takes every other pixel and zeros for the new
    channels (option A). The average over the image, one dense layer. With norm=batch and 10 classes 0.27 million
    parameters at depth 20, 0.85 at 56.

    Args:
        depth: layers with weights, 6n + 2, >= 8. Paper: 20, 32, 44, 56, 110.
    Shapes: (B, C, H, W) -> (B, K); the kit's pooling is not used. Errors: ValueError on another depth, or inputs that
    are not images.
    Source: arXiv:1512.03385, section 4.2. Differs from the paper: no; with maxout a 1x1 convolution precedes the
    activation of a sum.
    """

    def __init__(self, input_shape: tuple[int, ...], outputs: int, kit: LayerFactory, *, depth: int) -> None:
        require_image_shape(input_shape)
        blocks = blocks_per_stage(depth, 2)
        layers, inputs = [*kit.conv(input_shape[0], 16)], 16
        for width in (16, 32, 64):
            for _ in range(blocks):
                shortcut = nn.Identity() if width == inputs else EveryOtherPixel(width - inputs)
                layers.append(basic_block(kit, inputs, width, 1 if width == inputs else 2, shortcut))
                inputs = width
        super().__init__(*layers, *average_head(kit, inputs, outputs))


class ResNet(nn.Sequential):
    """ResNet for ImageNet (He et al., 2016): stages of 64, 128, 256 and 512 channels.

    A block has two 3x3 convolutions. Images of side above 64 begin with a 7x7 convolution of stride 2 and a 3x3 max
    pooling of stride 2, smaller ones with a 3x3 convolution. Every stage but the first has stride 2; there the shortcut
    is a 1x1 convolution (option B). With blocks [2,2,2,2], norm=batch and 1000 classes at 3x224x224 11,689,512
    parameters, as torchvision's.

    Args:
        blocks: of each stage, one to four stages, each >= 1. Paper: [2,2,2,2] is ResNet-18, [3,4,6,3] ResNet-34.
    Shapes: (B, C, H, W) -> (B, K); the kit's pooling is not used. Errors: ValueError, also on inputs that are not
    images.
    Source: arXiv:1512.03385, table 1. Differs from the paper: the beginning for small images; with maxout a 1x1
        convolution precedes the activation of a sum.
    """

    def __init__(
        self, input_shape: tuple[int, ...], outputs: int, kit: LayerFactory, *, blocks: Sequence[int] = (2, 2, 2, 2)
    ) -> None:
        require_image_shape(input_shape)
        require(">= 1", blocks=min(blocks, default=0))
        if len(blocks) > 4:
            raise ValueError(f"blocks must name four stages at most, got {len(blocks)}")
        large = min(input_shape[1:]) > 64
        stem = [*kit.conv(input_shape[0], 64, 7, 2), nn.MaxPool2d(3, 2, 1)] if large else kit.conv(input_shape[0], 64)
        layers, inputs = [*stem], 64
        for width, count in zip((64, 128, 256, 512), blocks):
            for _ in range(count):
                stride = 1 if width == inputs else 2
                shortcut = nn.Identity() if width == inputs else kit.conv(inputs, width, 1, stride, act=False)
                layers.append(basic_block(kit, inputs, width, stride, shortcut))
                inputs = width
        super().__init__(*layers, *average_head(kit, inputs, outputs))


class WideResNet(nn.Sequential):
    """Wide residual network with pre-activation (Zagoruyko & Komodakis, 2016): WRN-depth-widen.

    A 3x3 convolution of 16 channels, three stages of n blocks with 16, 32 and 64 times `widen` channels, norm and
    activation, the average over the image, one dense layer. A block: norm, activation, 3x3 convolution, norm,
    activation, drop, 3x3 convolution, added to the shortcut. Where the channels change (and from the second stage on
    the stride is 2) the shortcut is a 1x1 convolution, and the first norm and activation precede both ways. WRN-16-4
    with norm=batch and 10 classes: 2.75 million parameters.

    Args:
        depth: layers with weights, the 1x1 ones left out, 6n + 4, >= 10. Paper: 16 to 40.
        widen: factor on the channels, >= 1. Paper: 1 to 12.
    Shapes: (B, C, H, W) -> (B, K); the kit's pooling is not used. Errors: ValueError on another depth, or inputs that
    are not images.
    Source: arXiv:1605.07146, table 1 and section 2.4 (dropout). Differs from the paper: no.
    """

    def __init__(
        self, input_shape: tuple[int, ...], outputs: int, kit: LayerFactory, *, depth: int = 16, widen: int = 4
    ) -> None:
        require_image_shape(input_shape)
        require(">= 1", widen=widen)
        blocks = blocks_per_stage(depth, 4)
        layers, inputs = [kit.bare_conv(input_shape[0], 16)], 16
        for stage, width in enumerate((16 * widen, 32 * widen, 64 * widen)):
            for block in range(blocks):
                layers.append(wide_block(kit, inputs, width, 2 if stage and not block else 1))
                inputs = width
        super().__init__(*layers, *kit.preact(inputs), nn.AdaptiveAvgPool2d(1), nn.Flatten(), kit.head(inputs, outputs))


def basic_block(kit: LayerFactory, inputs: int, outputs: int, stride: int, shortcut: nn.Module) -> Residual:
    """Make act(convolutions(x) + shortcut(x)), the stride in the first of two convolutions.

    (B, inputs, H, W) -> (B, outputs, H / stride, W / stride).
    """
    branch = nn.Sequential(*kit.conv(inputs, outputs, 3, stride), *kit.conv(outputs, outputs, act=False))
    return Residual(branch, shortcut, kit.activation(outputs))


def wide_block(kit: LayerFactory, inputs: int, outputs: int, stride: int) -> nn.Module:
    """Make convolutions(act(x)) + x; where channels or stride change, convolutions(a) + projection(a), a = act(x)."""
    preact = kit.preact(inputs)
    branch = nn.Sequential(*kit.conv(inputs, outputs, 3, stride), *kit.drop(), kit.bare_conv(outputs, outputs))
    if inputs == outputs and stride == 1:
        return Residual(nn.Sequential(*preact, *branch), nn.Identity(), nn.Identity())
    return nn.Sequential(*preact, Residual(branch, kit.bare_conv(inputs, outputs, 1, stride), nn.Identity()))


class EveryOtherPixel(nn.Module):
    """Shortcut of option A: pixels 0, 2, 4, ... of rows and columns, and channels of zeros behind the others.

    Args:
        channels: of zeros, >= 0.
    Shapes: (B, C, H, W) -> (B, C + channels, ceil(H / 2), ceil(W / 2)).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.channels))

    def extra_repr(self) -> str:
        return f"channels={self.channels}"
