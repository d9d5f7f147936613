"""The wide teacher and the thin student of FitNets."""

from collections.abc import Sequence

from torch import nn

from trainer.errors import require
from trainer.kit import Kit
from trainer.model.parts import dense_part, pooling, require_image_shape


class FitNet(nn.Sequential):
    """3x3 convolutions, poolings behind some of them, a dense layer (Romero et al., 2015); meant for act=maxout.

    The teacher is wide and shallow: 96, 192, 192 channels, a pooling behind each. The student, FitNet 4, is thin and deep: 17 convolutions
    of 32 to 128 channels, poolings behind the 5th and the 11th and, as none stands behind the 17th, the maximum over the image there;
    2.5 million parameters with maxout and 10 classes.

    Args:
        channels: of each convolution, each >= 1.
        pools: numbers of the convolutions, from 1, behind which a pooling stands while the image lasts.
        hidden: units of the dense layer, >= 1. Paper: 500.
    Shapes: (B, C, H, W) -> (B, K). Errors: ValueError, also on inputs that are not images.
    Source: arXiv:1412.6550 and the authors' configuration cifar10_fitnet19. Differs from the paper: one number of maxout pieces for
        all layers (the paper has 2, and 5 in the dense layer); 3x3 convolutions and the kit's pooling in the teacher too, where
        the maxout net it is taken from has larger ones.
    """

    def __init__(
        self, input_shape: tuple[int, ...], outputs: int, kit: Kit, *, channels: Sequence[int], pools: Sequence[int], hidden: int = 500
    ) -> None:
        require_image_shape(input_shape)
        require(">= 1", channels=min(channels, default=0), hidden=hidden)
        for number in pools:
            require(f"in [1, {len(channels)}]", pools=number)
        layers, shape = [], tuple(input_shape)
        for number, width in enumerate(channels, start=1):
            layers += kit.conv(shape[0], width)
            shape = (width, *shape[1:])
            if number in pools:
                pool, shape = pooling(kit, shape)
                layers += pool
        if len(channels) not in pools:
            layers.append(nn.AdaptiveMaxPool2d(1))
            shape = (shape[0], 1, 1)
        super().__init__(*layers, *dense_part(kit, shape, [hidden], outputs))
