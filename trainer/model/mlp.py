"""Multi-layer perceptrons, and a deep linear network."""

import math
from collections.abc import Sequence

from torch import nn

from trainer.base.checks import require
from trainer.base.layer_factory import LayerFactory
from trainer.model.blocks import fully_connected


class Mlp(nn.Sequential):
    """Multi-layer perceptron: dense blocks of the kit, then the head.

    Args:
        hidden: units of each hidden layer, each >= 1.
    Shapes: (B, *input_shape) -> (B, K). Errors: ValueError.
    """

    def __init__(
        self, input_shape: tuple[int, ...], outputs: int, kit: LayerFactory, *, hidden: Sequence[int] = (128, 128)
    ) -> None:
        super().__init__(*fully_connected(kit, input_shape, hidden, outputs))


class DeepMlp(nn.Sequential):
    """Deep multi-layer perceptron of one width, on which lectures show initialisations that fade or saturate.

    Args:
        width: units of each hidden layer, >= 1. Lecture: 4096 (CS231n).
        depth: hidden layers, >= 1, without the head. Lecture: 6.
    Shapes: (B, *input_shape) -> (B, K). Errors: ValueError.
    Source: CS231n, lecture "Training neural networks I" (statistics of the activations of six layers).
    """

    def __init__(
        self, input_shape: tuple[int, ...], outputs: int, kit: LayerFactory, *, width: int = 256, depth: int = 6
    ) -> None:
        require(">= 1", width=width, depth=depth)
        super().__init__(*fully_connected(kit, input_shape, [width] * depth, outputs))


class LinearChain(nn.Sequential):
    """Deep linear network, y = x w_1 w_2 ... w_l: no bias, no activation, the kit's norm behind all but the last.

    The function is linear, but a step that changes all w at once changes y by terms of every order up to l. With a norm
    the layers below it cannot change the mean and spread of its output. With width 1 every w but the first and the last
    is a scalar.

    Args:
        width: units between the layers, >= 1. Book: 1.
        depth: l, the number of matrices, >= 1; the last one gives the outputs.
    Shapes: (B, *input_shape) -> (B, K). Errors: ValueError.
    Source: Goodfellow et al., "Deep Learning", 2016, section 8.7.1. Differs: widths above 1 (x, w and y are scalars
    there).
    """

    def __init__(
        self, input_shape: tuple[int, ...], outputs: int, kit: LayerFactory, *, width: int = 16, depth: int = 10
    ) -> None:
        require(">= 1", width=width, depth=depth)
        widths = [math.prod(input_shape), *[width] * (depth - 1)]
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, units in zip(widths, widths[1:]):
            norm = kit.norm(units)
            layers += [nn.Linear(inputs, units, bias=False), *([] if isinstance(norm, nn.Identity) else [norm])]
        super().__init__(*layers, nn.Linear(widths[-1], outputs, bias=False))
