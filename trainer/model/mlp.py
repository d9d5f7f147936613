"""Fully connected networks."""

import math
from collections.abc import Sequence

from torch import nn

from trainer.errors import require
from trainer.kit import Kit


class Mlp(nn.Sequential):
    """A multi-layer perceptron: dense blocks of the kit, then the head.

    Args:
        hidden: units of each hidden layer, each >= 1.
    Shapes: (B, *input_shape) -> (B, K). Errors: ValueError.
    """

    def __init__(self, input_shape: tuple[int, ...], outputs: int, kit: Kit, *, hidden: Sequence[int] = (128, 128)) -> None:
        for units in hidden:
            require(">= 1", hidden=units)
        widths = [math.prod(input_shape), *hidden]
        layers = [layer for inputs, units in zip(widths, widths[1:]) for layer in kit.dense(inputs, units)]
        super().__init__(nn.Flatten(), *layers, kit.head(widths[-1], outputs))
