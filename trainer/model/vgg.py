"""Convolutional networks with dense layers at the end: LeNet-5, AlexNet, VGG."""

from collections.abc import Sequence

from torch import nn

from trainer.base.layer_factory import LayerFactory
from trainer.model.blocks import after, dense_part, pooling, require_image_shape

VGG_STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
VGG_WIDTHS = (64, 128, 256, 512, 512)


class LeNet(nn.Sequential):
    """LeNet-5 (LeCun et al., 1998): 5x5 convolutions of 6 and 16 channels, a pooling behind each, dense layers.

    61,706 parameters on 1x32x32 and, padded to that size, on MNIST's 1x28x28 with 10 classes.

    Args:
        hidden: units of the dense layers, each >= 1. Paper: 120, 84.
    Shapes: (B, C, H, W) -> (B, K); a convolution whose image is smaller than the paper's (32, then 14) is padded by 2.
    Errors: ValueError on inputs that are not images.
    Source: "Gradient-based learning applied to document recognition", section II.B. Differs from the paper: every channel of the second
        convolution sees all 6; the poolings learn nothing; a dense layer in place of radial basis functions.
    """

    def __init__(
        self, input_shape: tuple[int, ...], outputs: int, kit: LayerFactory, *, hidden: Sequence[int] = (120, 84)
    ) -> None:
        require_image_shape(input_shape)
        layers, shape = [], tuple(input_shape)
        for width, side in ((6, 32), (16, 14)):
            conv = kit.conv(shape[0], width, 5, padding=2 if min(shape[1:]) < side else 0)
            pool, shape = pooling(kit, after(conv, shape))
            layers += [*conv, *pool]
        super().__init__(*layers, *dense_part(kit, shape, hidden, outputs))


class AlexNet(nn.Sequential):
    """Five convolutions and three dense layers (Krizhevsky et al., 2012), in the one-tower form of 2014.

    Channels 64, 192, 384, 256, 256, a pooling behind the first, the second and the last. Images of side 128 and more: a first layer of
    11x11, stride 4, a second of 5x5, and the average over 6x6 fields before the dense layers: 61,100,840 parameters at 3x224x224
    with 1000 classes. Smaller ones: 3x3 everywhere, stride 2 in the first layer, poolings while the image lasts, no average.

    Args:
        hidden: units of the dense layers, each >= 1. Paper: 4096, 4096.
    Shapes: (B, C, H, W) -> (B, K). Errors: ValueError on inputs that are not images.
    Source: "ImageNet classification with deep convolutional neural networks", section 3; channels: arXiv:1404.5997, as in torchvision.
    Differs from the paper: no response normalisation (see norm); dropout behind dense layers, where reg=dropout has it; the kit's pooling
        (pool.kernel_size=3 pool.stride=2 is the paper's overlapping one); the form for small images.
    """

    def __init__(
        self, input_shape: tuple[int, ...], outputs: int, kit: LayerFactory, *, hidden: Sequence[int] = (4096, 4096)
    ) -> None:
        require_image_shape(input_shape)
        large = min(input_shape[1:]) >= 128
        channels = input_shape[0]
        first = kit.conv(channels, 64, 11, 4, padding=2) if large else kit.conv(channels, 64, 3, 2)
        pool, shape = pooling(kit, after(first, tuple(input_shape)))
        layers = [*first, *pool, *kit.conv(64, 192, 5 if large else 3)]
        pool, shape = pooling(kit, (192, *shape[1:]))
        layers += [*pool, *kit.conv(192, 384), *kit.conv(384, 256), *kit.conv(256, 256)]
        pool, shape = pooling(kit, (256, *shape[1:]))
        if large:
            pool, shape = [*pool, nn.AdaptiveAvgPool2d(6)], (256, 6, 6)
        super().__init__(*layers, *pool, *dense_part(kit, shape, hidden, outputs))


class Vgg(nn.Sequential):
    """3x3 convolutions in five stages of 64, 128, 256, 512 and 512 channels, a pooling behind each stage (Simonyan & Zisserman, 2015).

    At 3x224x224, 1000 classes, hidden=[4096,4096]: 132,863,336 parameters at depth 11 and 138,357,544 at depth 16.

    Args:
        depth: layers with weights when two dense ones stand before the head, one of 11, 13, 16, 19.
        hidden: units of the dense layers, each >= 1. Paper: 4096, 4096; CIFAR-10 (Liu & Deng, 2015): 512.
    Shapes: (B, C, H, W) -> (B, K); a map larger than 7x7 is averaged down to that before the dense layers.
    Errors: ValueError on another depth, or inputs that are not images.
    Source: arXiv:1409.1556, table 1, configurations A, B, D and E. Differs from the paper: dense layers of 512 for small images; the
        average, which changes nothing at 224x224; poolings only while the image lasts.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        kit: LayerFactory,
        *,
        depth: int,
        hidden: Sequence[int] = (512, 512),
    ) -> None:
        require_image_shape(input_shape)
        if depth not in VGG_STAGES:
            nearest = min(VGG_STAGES, key=lambda known: abs(known - depth))
            raise ValueError(f"depth must be one of {', '.join(map(str, VGG_STAGES))}, got {depth}; try {nearest}")
        layers, shape = [], tuple(input_shape)
        for width, convolutions in zip(VGG_WIDTHS, VGG_STAGES[depth]):
            for _ in range(convolutions):
                layers += kit.conv(shape[0], width)
                shape = (width, *shape[1:])
            pool, shape = pooling(kit, shape)
            layers += pool
        if max(shape[1:]) > 7:
            shape = (shape[0], min(7, shape[1]), min(7, shape[2]))
            layers.append(nn.AdaptiveAvgPool2d(shape[1:]))
        super().__init__(*layers, *dense_part(kit, shape, hidden, outputs))
