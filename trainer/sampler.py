"""The order of the samples in an epoch: `(epoch, losses (N,), rng) -> indices (N,)` on the losses' device.

`losses` holds each training sample's most recent loss, 0 before its first.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Shuffle:
    """A new random permutation in every epoch: each sample once."""

    def __call__(self, epoch: int, losses: Tensor, rng: torch.Generator) -> Tensor:
        return torch.randperm(len(losses), generator=rng, device=losses.device)


@dataclass(frozen=True, kw_only=True)
class Sequential:
    """0, 1, ..., N - 1 in every epoch."""

    def __call__(self, epoch: int, losses: Tensor, rng: torch.Generator) -> Tensor:
        return torch.arange(len(losses), device=losses.device)
