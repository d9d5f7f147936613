"""Normalisations of one's own."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Gain:
    """Layers that multiply each channel by a number that is learnt."""

    start: float = 1.0

    def __call__(self, channels: int) -> nn.Module:
        return GainLayer(channels, self.start)


class GainLayer(nn.Module):
    """y_c = gain_c x_c, for tables (B, C) and images (B, C, H, W)."""

    def __init__(self, channels: int, start: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((channels,), start))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain.view(-1, *[1] * (x.dim() - 2))
