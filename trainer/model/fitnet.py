"""FitNets: the wide teacher and the thin student."""

from collections.abc import Sequence
from itertools import cycle

from torch import nn

from trainer.base.checks import require
from trainer.base.layer_factory import LayerFactory
from trainer.model.blocks import fully_connected, output_shape, pooling, require_image_shape


class FitNet(nn.Sequential):
    """FitNet (Romero et al., 2015): convolutions, poolings behind some of them, a dense layer; meant for act=maxout.

    The teacher is wide and shallow, the maxout net of Goodfellow et al. (2013): 96, 192, 192 channels with kernels of
    8x8, 8x8 and 5x5, a pooling behind each. The student, FitNet 4, is thin and deep: 17 convolutions of 3x3 with 32 to
    128 channels, poolings behind the 5th and the 11th and, as the 17th has none, the maximum over the image there; 2.5
    million parameters with maxout and 10 classes.

    Args:
        channels: of each convolution, each >= 1.
        kernels: side of each convolution's kernel, or one for all, each >= 1; images are padded by half of it.
        pools: numbers of the convolutions, from 1, with a pooling behind them; maps one pixel wide are not pooled.
        hidden: units of the dense layer, >= 1. Paper: 500.
    Shapes: (B, C, H, W) -> (B, K). Errors: ValueError, also on inputs that are not images.
    Source: arXiv:1412.6550 and the authors' configuration cifar10_fitnet19; for the teacher arXiv:1302.4389 and its
    authors' configuration cifar10. Differs from the papers: one number of maxout pieces for all layers (they have 2,
    and 5 in the dense layer); the kit's pooling in the teacher, where theirs overlap (4x4 with stride 2, 4x4 with
    stride 2, 2x2), and half of every kernel as padding (theirs: 4, 3, 3).
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        kit: LayerFactory,
        *,
        channels: Sequence[int],
        kernels: Sequence[int],
        pools: Sequence[int],
        hidden: int = 500,
    ) -> None:
        require_image_shape(input_shape)
        require(">= 1", channels=min(channels, default=0), kernels=min(kernels, default=0), hidden=hidden)
        if len(kernels) not in (1, len(channels)):
            each = f"one for each of the {len(channels)} convolutions"
            raise ValueError(f"kernels must be one for all or {each}, got {len(kernels)}; try model.kernels=[3]")
        for number in pools:
            require(f"in [1, {len(channels)}]", pools=number)
        layers, shape = [], tuple(input_shape)
        for number, (width, side) in enumerate(zip(channels, cycle(kernels)), start=1):
            conv = kit.conv(shape[0], width, side)
            shape = output_shape(conv, shape)
            layers += conv
            if number in pools:
                pool, shape = pooling(kit, shape)
                layers += pool
        if len(channels) not in pools:
            layers.append(nn.AdaptiveMaxPool2d(1))
            shape = (shape[0], 1, 1)
        super().__init__(*layers, *fully_connected(kit, shape, [hidden], outputs))
