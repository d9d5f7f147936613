"""Samplers of one's own."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ThereAndBack:
    """A random order in every even epoch, and in the odd one after it the same order backwards."""

    seed: int = 0

    def __call__(self, epoch: int, targets: Tensor, losses: Tensor, rng: torch.Generator) -> Tensor:
        own = torch.Generator().manual_seed(self.seed + epoch // 2)
        order = torch.randperm(len(targets), generator=own).to(losses.device)
        return order.flip(0) if epoch % 2 else order
