"""Linear model."""

import math

from torch import nn

from trainer.base.layer_factory import LayerFactory


class Linear(nn.Sequential):
    """Linear model, one dense layer: softmax, logistic or linear regression, by the loss.

    Shapes: (B, *input_shape) -> (B, K).
    """

    def __init__(self, input_shape: tuple[int, ...], outputs: int, kit: LayerFactory) -> None:
        super().__init__(nn.Flatten(), kit.head(math.prod(input_shape), outputs))
