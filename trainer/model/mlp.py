"""Fully connected networks."""

import math
from collections.abc import Sequence

from torch import nn

from trainer.base.checks import require
from trainer.base.layer_factory import LayerFactory
from trainer.model.blocks import dense_part


class Mlp(nn.Sequential):
    """A multi-layer perceptron: dense blocks of the kit, then the head.

    Args:
        hidden: units of each hidden layer, each >= 1.
    Shapes: (B, *input_shape) -> (B, K). Errors: ValueError.
    """

    def __init__(
        self, input_shape: tuple[int, ...], outputs: int, kit: LayerFactory, *, hidden: Sequence[int] = (128, 128)
    ) -> None:
        super().__init__(*dense_part(kit, input_shape, hidden, outputs))


class DeepMlp(nn.Sequential):
    """Many hidden layers of one width: the net on which lectures show how initialisations let activations fade or saturate.

    Args:
        width: units of each hidden layer, >= 1. Lecture: 4096 (CS231n).
        depth: hidden layers, >= 1; the head comes on top. Lecture: 6.
    Shapes: (B, *input_shape) -> (B, K). Errors: ValueError.
    Source: CS231n, lecture "Training neural networks I" (statistics of the activations of six layers).
    """

    def __init__(
        self, input_shape: tuple[int, ...], outputs: int, kit: LayerFactory, *, width: int = 256, depth: int = 6
    ) -> None:
        require(">= 1", width=width, depth=depth)
        super().__init__(*dense_part(kit, input_shape, [width] * depth, outputs))


class LinearChain(nn.Sequential):
    """A product of matrices: y = x w_1 w_2 ... w_l, no bias and no activation, the kit's norm behind all but the last.

    A linear function, but a deep one: a step that changes all w at once changes y by terms of every order up to l. With a norm
    the layers below it cannot change its output's mean and spread. With width 1 every w but the first and the last is a scalar.

    Args:
        width: units between the layers, >= 1. Book: 1.
        depth: l, the number of matrices, >= 1; the last one gives the outputs.
    Shapes: (B, *input_shape) -> (B, K). Errors: ValueError.
    Source: Goodfellow et al., "Deep Learning", 2016, section 8.7.1. Differs: widths above 1 (x, w and y are scalars there).
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
