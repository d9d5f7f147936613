"""Proximal step of the L1 penalty."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Optimizer

from trainer.base.checks import require
from trainer.base.clock import Clock
from trainer.base.layers import decaying_by_rate


@dataclass(frozen=True, kw_only=True)
class L1Proximal:
    """Soft threshold after each step: w <- sign(w) max(|w| - lr strength, 0).

    It is the proximal step of strength * sum of |w|: forward-backward splitting (Duchi & Singer, 2009; ISTA in Beck &
    Teboulle, 2009). A weight that the loss does not hold away from zero becomes exactly 0 and stays there while
    |gradient| < strength. The threshold does not depend on momentum: where an optimizer's momentum m makes its steps
    1 / (1 - m) times longer, a strength so many times larger gives the zeros of plain SGD. It acts on matrices and
    kernels: no biases, no scales of norms.

    Args:
        strength: lambda, >= 0.
    Errors: ValueError. Source: Duchi & Singer, "Efficient online and batch learning using forward backward splitting",
    2009. Differs from the paper: no.
    """

    strength: float = 1e-3

    def __post_init__(self) -> None:
        require(">= 0", strength=self.strength)

    @torch.no_grad()
    def __call__(self, model: nn.Module, optimizer: Optimizer, now: Clock) -> None:
        for weights, lr in decaying_by_rate(model, optimizer):
            threshold = lr * self.strength
            clamped = torch._foreach_clamp_max(weights, threshold)  # w - clamp(w, -t, t): 0 exactly where |w| <= t
            torch._foreach_clamp_min_(clamped, -threshold)
            torch._foreach_sub_(weights, clamped)
