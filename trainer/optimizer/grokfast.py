"""Grokfast, a filter of the gradient before any optimizer."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Optimizer

from trainer.base.checks import require
from trainer.optimizer.base import Closure, Wrapper, evaluate_closure, parameters_of


class Grokfast(Wrapper):
    """Grokfast-EMA: the slow part of the gradient is amplified before the step of the base (Lee et al., 2024).

    h = alpha h + (1 - alpha) g, from h = g;  the base steps with g + strength h.
    Where the base takes several gradients a step, each is filtered with the h before it, and the last one stays in h.

    Args:
        params: weights, or groups of them.
        base: makes the optimizer that takes the step.
        lr: learning rate, > 0, or None for the base's own.
        alpha: decay of the mean, in [0, 1). Paper: 0.98 (of 0.8 to 0.99).
        strength: lambda, factor of the slow part, >= 0; 0 is the base alone. Paper: 2 (of 0.1 to 5).
    Errors: ValueError; also around an optimizer that differentiates the gradient.
    Source: arXiv:2405.20233, algorithm 2. Differs from the paper: no.
    """

    def __init__(
        self,
        params,
        base: Callable[..., Optimizer],
        *,
        lr: float | None = None,
        alpha: float = 0.98,
        strength: float = 2.0,
    ) -> None:
        require("in [0, 1)", alpha=alpha)
        require(">= 0", strength=strength)
        super().__init__(params, base, lr)
        if self.create_graph:
            reason = "differentiates the gradient, of which the slow part is no function"
            raise ValueError(f"base={type(self.base).__name__} {reason}; try optimizer.base=adam")
        self.alpha, self.strength = alpha, strength
        self.means: dict[int, Tensor] = {}  # by the weight's number

    def step(self, closure: Closure) -> Tensor:
        means: dict[int, Tensor] = {}

        def filtered() -> Tensor:
            loss = evaluate_closure(closure)
            weights = parameters_of(self)
            grads = {index: weight.grad for index, weight in enumerate(weights) if weight.grad is not None}
            with torch.no_grad():
                for index, grad in grads.items():
                    before = self.means.get(index, grad)
                    means[index] = torch.lerp(before, grad, 1 - self.alpha)
                torch._foreach_add_([*grads.values()], [means[index] for index in grads], alpha=self.strength)
            return loss

        loss = self.base.step(filtered)
        self.means |= means
        return loss

    def state_dict(self) -> dict:
        return {"base": super().state_dict(), "means": dict(self.means)}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state["base"])
        weights = parameters_of(self)
        self.means = {index: mean.detach().to(weights[index], copy=True) for index, mean in state["means"].items()}
