"""Augmentations of one's own."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Invert:
    """Change the sign of a sample with probability p.

    It gets a batch behind the preprocessing, and draws from `rng` alone, so that a run repeats bit for bit.
    """

    p: float = 0.1

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        chosen = torch.rand(len(images), generator=rng, device=images.device) < self.p
        sign = 1 - 2 * chosen.to(images.dtype)
        return images * sign.view(-1, *[1] * (images.dim() - 1)), targets
