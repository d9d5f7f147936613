"""Max-norm constraint."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Optimizer

from trainer.base.checks import require
from trainer.base.clock import Clock
from trainer.base.layers import decay_parameters


@dataclass(frozen=True, kw_only=True)
class MaxNorm:
    """Max-norm constraint after each step: w <- w limit / |w| for every unit or filter with incoming |w|_2 > limit.

    Args:
        limit: largest L2 norm of the weights entering one unit, > 0. Paper: 3 to 4.
    Errors: ValueError. Source: arXiv:1207.0580, appendix A. Differs from the paper: no.
    """

    limit: float = 3.0

    def __post_init__(self) -> None:
        require("> 0", limit=self.limit)

    @torch.no_grad()
    def __call__(self, model: nn.Module, optimizer: Optimizer, now: Clock) -> None:
        for weight in decay_parameters(model):
            weight.renorm_(p=2, dim=0, maxnorm=self.limit)
