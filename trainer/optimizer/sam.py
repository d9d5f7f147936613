"""Sharpness-aware minimisation, around any optimizer."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from trainer.base.checks import require
from trainer.optimizer.base import Closure, Wrapper, evaluate_closure, parameters_of


class Sam(Wrapper):
    """SAM: a step by the gradient at the worst point nearby (sharpness-aware minimisation; Foret et al., 2021).

    e = rho g(w) / ||g(w)||, the norm over all weights; then the base's step from w with the gradient g(w + e).
    Two passes a step. The loss returned is that at w. Batch-norm statistics see both passes.

    Args:
        params: weights, or groups of them.
        base: makes the optimizer that takes the step.
        lr: learning rate, > 0, or None for the base's own.
        rho: radius of the neighbourhood, >= 0; 0 is the base alone, at twice its cost. Paper: 0.05.
    Errors: ValueError; also around an optimizer that differentiates the gradient.
    Source: arXiv:2010.01412, eq. (2) with p = 2 and eq. (3). Differs from the paper: no.
    """

    def __init__(self, params, base: Callable[..., Optimizer], *, lr: float | None = None, rho: float = 0.05) -> None:
        require(">= 0", rho=rho)
        super().__init__(params, base, lr)
        if self.create_graph:
            reason = "differentiates the gradient, which SAM's second pass would overwrite"
            raise ValueError(f"base={type(self.base).__name__} {reason}; try optimizer.base=momentum")
        self.rho = rho

    def step(self, closure: Closure) -> Tensor:
        def sharp() -> Tensor:
            loss = evaluate_closure(closure)
            with torch.no_grad():
                moved = [weight for weight in parameters_of(self) if weight.grad is not None]
                origin = [weight.clone() for weight in moved]
                grads = [weight.grad for weight in moved]
                scale = self.rho / (get_total_norm(grads) + 1e-12)
                torch._foreach_add_(moved, torch._foreach_mul(grads, scale))
            evaluate_closure(closure)
            with torch.no_grad():
                torch._foreach_copy_(moved, origin)
            return loss

        return self.base.step(sharp)
