"""Models of one's own."""

import math

import torch
from torch import Tensor, nn

from trainer.base.layer_factory import LayerFactory


class TwoBranches(nn.Module):
    """Two hidden layers side by side; the last layer sees both.

    The kit makes layers with the chosen norm, activation and dropout. Without it, `outputs` alone is enough:
    def __init__(self, num_classes: int).
    """

    def __init__(self, input_shape: tuple[int, ...], outputs: int, kit: LayerFactory, width: int = 32) -> None:
        super().__init__()
        inputs = math.prod(input_shape)
        self.left, self.right = kit.dense(inputs, width), kit.dense(inputs, width)
        self.head = kit.head(2 * width, outputs)

    def forward(self, images: Tensor) -> Tensor:
        flat = images.flatten(1)
        return self.head(torch.cat([self.left(flat), self.right(flat)], dim=1))
