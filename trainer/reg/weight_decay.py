"""Decoupled weight decay, beside any optimizer."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Optimizer

from trainer.base.checks import require
from trainer.base.clock import Clock
from trainer.base.layers import decaying_by_rate


@dataclass(kw_only=True)
class WeightDecay:
    """Decoupled weight decay (Loshchilov & Hutter, 2019): w' = w - lr strength w + (the optimizer's own update).

    With plain SGD that is the L2 penalty of the same strength; with momentum or adaptive rates it is not: the decay of
    a weight does not depend on the history or the size of its gradient. It acts on matrices and kernels: no biases, no
    scales of norms. Between `before` and the call, within one step, the decay lr strength w is kept.

    Args:
        strength: lambda, >= 0. torch's AdamW: 0.01.
    Errors: ValueError. Source: arXiv:1711.05101, algorithms 1 and 2, in torch's scaling: their eta alpha is the step's
    lr. Differs from the paper: no.
    """

    strength: float = 0.01

    def __post_init__(self) -> None:
        require(">= 0", strength=self.strength)

    @torch.no_grad()
    def before(self, model: nn.Module, optimizer: Optimizer, now: Clock) -> None:
        """Compute the decay from the weights before the step."""
        self._pending = [
            (weights, torch._foreach_mul(weights, lr * self.strength))
            for weights, lr in decaying_by_rate(model, optimizer)
        ]

    @torch.no_grad()
    def __call__(self, model: nn.Module, optimizer: Optimizer, now: Clock) -> None:
        for weights, decay in self._pending:
            torch._foreach_sub_(weights, decay)
        del self._pending
