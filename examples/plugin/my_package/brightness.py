"""Test-time augmentations of one's own."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Brightness:
    """Outputs on the images, on darker and on brighter ones; the loss makes one prediction of them."""

    change: float = 0.1

    def __call__(self, model: nn.Module, images: Tensor) -> Tensor:
        return torch.stack([model(images + change) for change in (0.0, -self.change, self.change)])
