"""Gradient clipping."""

from dataclasses import dataclass

import torch
from torch import nn

from trainer.base.checks import require
from trainer.base.clock import Clock


@dataclass(frozen=True, kw_only=True)
class GradClip:
    """Gradient clipping by norm (Pascanu et al., 2013): g <- g limit / |g| when |g|_2 exceeds the limit.

    The norm is that over all parameters.

    Args:
        limit: largest L2 norm of the whole gradient, > 0.
    Errors: ValueError. Source: arXiv:1211.5063, algorithm 1. Differs from the paper: 1e-6 is added to |g|, as in
    torch's clip_grad_norm_, which on a CPU takes the tensors one by one.
    """

    limit: float = 1.0

    def __post_init__(self) -> None:
        require("> 0", limit=self.limit)

    @torch.no_grad()
    def __call__(self, model: nn.Module, now: Clock) -> None:
        gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
        norm = torch.stack(torch._foreach_norm(gradients)).norm()
        torch._foreach_mul_(gradients, (self.limit / (norm + 1e-6)).clamp(max=1))
