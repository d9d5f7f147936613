"""Additive Gaussian noise."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.base.checks import require


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Add normal noise: x <- x + e, e ~ N(0, std^2) for every pixel and channel (Sietsma & Dow, 1991).

    Args:
        std: in the unit of the preprocessed images, >= 0: features of a table have no other unit in common. Usual: 0.1.
    Shapes: images (B, ...), tables as well. Errors: ValueError. Source: Neural Networks 4(1), 1991, p. 67.
    Differs from the paper: no.
    """

    std: float = 0.1

    def __post_init__(self) -> None:
        require(">= 0", std=self.std)

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        draws = torch.randn(images.shape, generator=rng, device=images.device, dtype=images.dtype)
        return images.add(draws, alpha=self.std), targets
