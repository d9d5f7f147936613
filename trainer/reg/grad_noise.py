"""Gradient noise."""

from dataclasses import dataclass

import torch
from torch import nn

from trainer.base.checks import require
from trainer.base.clock import Clock


@dataclass(frozen=True, kw_only=True)
class GradNoise:
    """Gradient noise (Neelakantan et al., 2015): g <- g + N(0, eta / (1 + t)^gamma) at step t, from 0.

    Each weight has its own draw.

    Args:
        eta: variance of the noise at the first step, >= 0. Paper: one of 0.01, 0.3, 1; 0.01 is too much for SGD at a
            rate of 0.05 with momentum 0.9, hence the default.
        gamma: exponent of its decay, >= 0. Paper: 0.55.
    Errors: ValueError. Source: arXiv:1511.06807, eq. (1). Differs from the paper: no. Draws from torch's default
    generator, which the loop seeds for each step.
    """

    eta: float = 1e-3
    gamma: float = 0.55

    def __post_init__(self) -> None:
        require(">= 0", eta=self.eta, gamma=self.gamma)

    @torch.no_grad()
    def __call__(self, model: nn.Module, now: Clock) -> None:
        gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
        std = (self.eta / (1 + now.step) ** self.gamma) ** 0.5
        torch._foreach_add_(gradients, [torch.randn_like(gradient) for gradient in gradients], alpha=std)
