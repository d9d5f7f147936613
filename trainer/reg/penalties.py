"""Parameter norm penalties: L2, L1 and both, added to the loss.

They act on matrices and kernels (base/layers.py: decay_parameters).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from trainer.base.checks import require
from trainer.base.layers import decay_parameters


class WeightPenalty(torch.autograd.Function):
    """Sum of l2 w^2 / 2 + l1 |w|, with the gradient l2 w + l1 sign(w), sign(0) = 0.

    The same formula written out for autograd takes more than twice as long.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, l2: float, l1: float, *weights: Tensor) -> Tensor:
        ctx.l2, ctx.l1 = l2, l1
        ctx.save_for_backward(*weights)
        norms = torch.stack(torch._foreach_norm(weights)) if l2 else weights[0].new_zeros(1)
        total = l2 / 2 * norms.dot(norms)
        ctx.signs = torch._foreach_sign(weights) if l1 else ()
        for weight, sign in zip(weights, ctx.signs):
            total += l1 * weight.flatten().dot(sign.flatten())
        return total

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        if not ctx.l1:
            return None, None, *(weight * (grad * ctx.l2) for weight in ctx.saved_tensors)
        slopes = ctx.signs
        if ctx.l2:
            slopes = [sign.add(weight, alpha=ctx.l2 / ctx.l1) for sign, weight in zip(slopes, ctx.saved_tensors)]
        return None, None, *(slope * (grad * ctx.l1) for slope in slopes)


@torch.no_grad()
def add_penalty_gradient(weights: Sequence[Tensor], l2: float, l1: float) -> Tensor:
    """Add the gradient of the sum of l2 w^2 / 2 + l1 |w| to the weights' `.grad`, in place, and return the sum."""
    for weight in weights:
        if weight.grad is None:  # a part of the model that this batch did not pass through
            weight.grad = torch.zeros_like(weight)
    grads = [weight.grad for weight in weights]
    total = weights[0].new_zeros(())
    if l2:
        torch._foreach_add_(grads, weights, alpha=l2)
        norms = torch.stack(torch._foreach_norm(weights))
        total = l2 / 2 * norms.dot(norms)
    if l1:
        signs = torch._foreach_sign(weights)
        torch._foreach_add_(grads, signs, alpha=l1)
        # A fifth of the time of the L1 norm.
        sums = [weight.flatten().dot(sign.flatten()) for weight, sign in zip(weights, signs)]
        total = total + l1 * torch.stack(sums).sum()
    return total


def penalty(model: nn.Module, l2: float, l1: float) -> Tensor:
    """Return the sum of l2 w^2 / 2 + l1 |w| over the weights that decay, a scalar."""
    return WeightPenalty.apply(l2, l1, *decay_parameters(model))


@dataclass(frozen=True, kw_only=True)
class L2:
    """L2 penalty, ridge (Hoerl & Kennard, 1970): strength / 2 * sum of w^2.

    With the factor 1/2 its gradient is strength * w, so that one SGD step shrinks w by (1 - lr strength). Without it,
    as in cs231n, the same strength would shrink twice as much.

    Args:
        strength: lambda, >= 0. cs231n: 1e-4.
    Errors: ValueError.
    """

    strength: float = 1e-4

    def __post_init__(self) -> None:
        require(">= 0", strength=self.strength)

    def __call__(self, model: nn.Module, images: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
        return penalty(model, self.strength, 0.0)

    def add_gradient(self, weights: Sequence[Tensor]) -> Tensor:
        return add_penalty_gradient(weights, self.strength, 0.0)


@dataclass(frozen=True, kw_only=True)
class L1:
    """L1 penalty, lasso (Tibshirani, 1996): strength * sum of |w|, with the gradient strength * sign(w), sign(0) = 0.

    Gradient steps make weights small, but hardly ever exactly 0: they jump across it (see l1_proximal).

    Args:
        strength: lambda, >= 0. cs231n: 1e-4 for penalties in general.
    Errors: ValueError.
    """

    strength: float = 1e-4

    def __post_init__(self) -> None:
        require(">= 0", strength=self.strength)

    def __call__(self, model: nn.Module, images: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
        return penalty(model, 0.0, self.strength)

    def add_gradient(self, weights: Sequence[Tensor]) -> Tensor:
        return add_penalty_gradient(weights, 0.0, self.strength)


@dataclass(frozen=True, kw_only=True)
class ElasticNet:
    """Elastic net, both penalties (Zou & Hastie, 2005), weighed as in cs231n: strength * sum of (beta w^2 + |w|).

    There is no factor 1/2: its gradient is strength * (2 beta w + sign(w)).

    Args:
        strength: lambda, >= 0. cs231n: 1e-4 for penalties in general.
        beta: weight of the squares beside the absolute values, >= 0.
    Errors: ValueError.
    """

    strength: float = 1e-4
    beta: float = 1.0

    def __post_init__(self) -> None:
        require(">= 0", strength=self.strength, beta=self.beta)

    def __call__(self, model: nn.Module, images: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
        return penalty(model, 2 * self.strength * self.beta, self.strength)

    def add_gradient(self, weights: Sequence[Tensor]) -> Tensor:
        return add_penalty_gradient(weights, 2 * self.strength * self.beta, self.strength)
