"""VGG."""

from collections.abc import Sequence

from torch import nn

from trainer.base.checks import require
from trainer.base.layer_factory import LayerFactory
from trainer.model.blocks import fully_connected, pooling, require_image_shape

STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
WIDTHS = (64, 128, 256, 512, 512)


class Vgg(nn.Sequential):
    """VGG (Simonyan & Zisserman, 2015): 3x3 convolutions in five stages, a pooling behind each stage, dense layers.

    At 3x224x224, 1000 classes, hidden=[4096,4096]: 132,863,336 parameters at depth 11 and 138,357,544 at depth 16.

    Args:
        depth: layers with weights, given two hidden dense layers, one of 11, 13, 16, 19.
        channels: of the five stages, each >= 1. Paper: 64, 128, 256, 512, 512.
        hidden: units of the dense layers, each >= 1. Paper: 4096, 4096; CIFAR-10 (Liu & Deng, 2015): 512.
    Shapes: (B, C, H, W) -> (B, K); a map larger than 7x7 is averaged down to that before the dense layers.
    Errors: ValueError on another depth or number of channels, or inputs that are not images.
    Source: arXiv:1409.1556, table 1, configurations A, B, D and E. Differs from the paper: dense layers of 512 for
        small images; the average, which changes nothing at 224x224; no pooling of maps that are one pixel wide.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        kit: LayerFactory,
        *,
        depth: int,
        channels: Sequence[int] = WIDTHS,
        hidden: Sequence[int] = (512, 512),
    ) -> None:
        require_image_shape(input_shape)
        if depth not in STAGES:
            nearest = min(STAGES, key=lambda known: abs(known - depth))
            raise ValueError(f"depth must be one of {', '.join(map(str, STAGES))}, got {depth}; try {nearest}")
        if len(channels) != len(WIDTHS):
            raise ValueError(f"channels must be a list of {len(WIDTHS)} whole numbers, got {len(channels)}")
        require(">= 1", channels=list(channels))
        layers, shape = [], tuple(input_shape)
        for width, convolutions in zip(channels, STAGES[depth]):
            for _ in range(convolutions):
                layers += kit.conv(shape[0], width)
                shape = (width, *shape[1:])
            pool, shape = pooling(kit, shape)
            layers += pool
        if max(shape[1:]) > 7:
            shape = (shape[0], min(7, shape[1]), min(7, shape[2]))
            layers.append(nn.AdaptiveAvgPool2d(shape[1:]))
        super().__init__(*layers, *fully_connected(kit, shape, hidden, outputs))
