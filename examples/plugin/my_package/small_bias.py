"""Initialisers of biases of one's own."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.base.layers import weight_layers
from trainer.base.protocols import Criterion


@dataclass(frozen=True, kw_only=True)
class SmallBias:
    """Biases drawn from a normal distribution; torch's generator is seeded before the call."""

    std: float = 0.01

    @torch.no_grad()
    def __call__(self, model: nn.Module, targets: Tensor, criterion: Criterion) -> None:
        for layer in weight_layers(model):
            if layer.bias is not None:
                layer.bias.normal_(0, self.std)
