"""AlexNet."""

from collections.abc import Sequence

from torch import nn

from trainer.base.layer_factory import LayerFactory
from trainer.model.blocks import fully_connected, output_shape, pooling, require_image_shape


class AlexNet(nn.Sequential):
    """AlexNet (Krizhevsky et al., 2012), five convolutions and three dense layers, in the one-tower form of 2014.

    Channels 64, 192, 384, 256, 256, a pooling behind the first, the second and the last. Images of side 128 and more: a
    first layer of 11x11, stride 4, a second of 5x5, and the average over 6x6 fields before the dense layers: 61,100,840
    parameters at 3x224x224 with 1000 classes. Smaller ones: 3x3 everywhere, stride 2 in the first layer, poolings until
    the image is one pixel wide, no average.

    Args:
        hidden: units of the dense layers, each >= 1. Paper: 4096, 4096.
    Shapes: (B, C, H, W) -> (B, K). Errors: ValueError on inputs that are not images.
    Source: "ImageNet classification with deep convolutional neural networks", section 3; channels: arXiv:1404.5997, as
        in torchvision. Differs from the paper: no response normalisation (see norm); dropout behind dense layers, where
        reg=dropout has it; the kit's pooling (pool.kernel_size=3 pool.stride=2 is the paper's overlapping one); the
        form for small images.
    """

    def __init__(
        self, input_shape: tuple[int, ...], outputs: int, kit: LayerFactory, *, hidden: Sequence[int] = (4096, 4096)
    ) -> None:
        require_image_shape(input_shape)
        large = min(input_shape[1:]) >= 128
        channels = input_shape[0]
        first = kit.conv(channels, 64, 11, 4, padding=2) if large else kit.conv(channels, 64, 3, 2)
        pool, shape = pooling(kit, output_shape(first, tuple(input_shape)))
        layers = [*first, *pool, *kit.conv(64, 192, 5 if large else 3)]
        pool, shape = pooling(kit, (192, *shape[1:]))
        layers += [*pool, *kit.conv(192, 384), *kit.conv(384, 256), *kit.conv(256, 256)]
        pool, shape = pooling(kit, (256, *shape[1:]))
        if large:
            pool, shape = [*pool, nn.AdaptiveAvgPool2d(6)], (256, 6, 6)
        super().__init__(*layers, *pool, *fully_connected(kit, shape, hidden, outputs))
