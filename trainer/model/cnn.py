"""Plain convolutional network."""

from collections.abc import Sequence

from torch import nn

from trainer.base.checks import require
from trainer.base.layer_factory import LayerFactory
from trainer.model.blocks import average_head, pooling, require_image_shape


class Cnn(nn.Sequential):
    """Convolutional network: 3x3 convolutions, a pooling behind each, global average pooling, one dense layer.

    Images less than 2 pixels wide are not pooled.

    Args:
        channels: of each convolution, each >= 1.
    Shapes: (B, C, H, W) -> (B, K). Errors: ValueError on inputs that are not images.
    """

    def __init__(
        self, input_shape: tuple[int, ...], outputs: int, kit: LayerFactory, *, channels: Sequence[int] = (32, 64, 128)
    ) -> None:
        require_image_shape(input_shape)
        require(">= 1", channels=min(channels, default=1))
        layers, shape = [], tuple(input_shape)
        for width in channels:
            layers += kit.conv(shape[0], width)
            pool, shape = pooling(kit, (width, *shape[1:]))
            layers += pool
        super().__init__(*layers, *average_head(kit, shape[0], outputs))
