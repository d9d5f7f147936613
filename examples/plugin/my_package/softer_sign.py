"""Activations of one's own."""

from torch import Tensor, nn


class SofterSign(nn.Module):
    """f(x) = x / sqrt(1 + slope x^2)."""

    def __init__(self, slope: float = 1.0) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        return x / (1 + self.slope * x * x).sqrt()
