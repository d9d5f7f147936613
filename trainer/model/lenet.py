"""LeNet-5."""

from collections.abc import Sequence

from torch import nn

from trainer.base.layer_factory import LayerFactory
from trainer.model.blocks import fully_connected, output_shape, pooling, require_image_shape


class LeNet(nn.Sequential):
    """LeNet-5 (LeCun et al., 1998): 5x5 convolutions of 6 and 16 channels, a pooling behind each, dense layers.

    61,706 parameters on 1x32x32 and, padded to that size, on MNIST's 1x28x28 with 10 classes.

    Args:
        hidden: units of the dense layers, each >= 1. Paper: 120, 84.
    Shapes: (B, C, H, W) -> (B, K); a convolution whose image is smaller than the paper's (32, then 14) is padded by 2.
    Errors: ValueError on inputs that are not images.
    Source: "Gradient-based learning applied to document recognition", section II.B. Differs from the paper: every
        channel of the second convolution sees all 6; the poolings learn nothing; a dense layer in place of radial basis
        functions.
    """

    def __init__(
        self, input_shape: tuple[int, ...], outputs: int, kit: LayerFactory, *, hidden: Sequence[int] = (120, 84)
    ) -> None:
        require_image_shape(input_shape)
        layers, shape = [], tuple(input_shape)
        for width, side in ((6, 32), (16, 14)):
            conv = kit.conv(shape[0], width, 5, padding=2 if min(shape[1:]) < side else 0)
            pool, shape = pooling(kit, output_shape(conv, shape))
            layers += [*conv, *pool]
        super().__init__(*layers, *fully_connected(kit, shape, hidden, outputs))
