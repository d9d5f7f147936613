"""A plain convolutional network."""

from collections.abc import Sequence

from torch import nn

from trainer.errors import require
from trainer.kit import Kit


class Cnn(nn.Sequential):
    """3x3 convolutions, each followed by a pooling while the image is at least 2 pixels wide, then the average over the image.

    Args:
        channels: of each convolution, each >= 1.
    Shapes: (B, C, H, W) -> (B, K). Errors: ValueError on inputs that are not images.
    """

    def __init__(self, input_shape: tuple[int, ...], outputs: int, kit: Kit, *, channels: Sequence[int] = (32, 64, 128)) -> None:
        if len(input_shape) != 3:
            raise ValueError(f"needs images (C, H, W), the data has shape {tuple(input_shape)}; nearest: model=mlp, model=linear")
        for width in channels:
            require(">= 1", channels=width)
        widths = [input_shape[0], *channels]
        side = min(input_shape[1:])
        layers: list[nn.Module] = []
        for inputs, width in zip(widths, widths[1:]):
            layers += kit.conv(inputs, width)
            if side >= 2:
                layers.append(kit.pool())
                side //= 2
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), *kit.drop(), kit.head(widths[-1], outputs))
