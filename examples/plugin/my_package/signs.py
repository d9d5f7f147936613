"""Initialisations of one's own."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.base.layers import weight_layers
from trainer.base.protocols import Act


@dataclass(frozen=True, kw_only=True)
class Signs:
    """Weights of one size and a random sign: gain / sqrt(inputs); torch's generator is seeded before the call."""

    gain: float = 1.0

    @torch.no_grad()
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act: Act) -> None:
        for layer in weight_layers(model):
            size = self.gain / layer.weight[0].numel() ** 0.5
            layer.weight.uniform_(-1, 1).sign_().mul_(size)
