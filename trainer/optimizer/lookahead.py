"""Lookahead, around any optimizer."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Optimizer

from trainer.base.checks import require
from trainer.optimizer.base import Closure, Wrapper, parameters_of


class Lookahead(Wrapper):
    """Lookahead: k steps of the base, then a step back towards the weights before them (Zhang et al., 2019).

    After each k steps of the fast weights w:  s = s + alpha (w - s),  w = s. The slow weights s are those to evaluate.

    Args:
        params: weights, or groups of them.
        base: makes the optimizer of the fast weights.
        lr: learning rate, > 0, or None for the base's own.
        k: steps of the base between two of the slow weights, >= 1. Paper: 5.
        alpha: step size of the slow weights, in (0, 1]. Paper: 0.5.
    Errors: ValueError. Source: arXiv:1907.08610, algorithm 1.
    Differs from the paper: no; the base keeps its momentum when the fast weights are set to the slow ones.
    """

    def __init__(
        self, params, base: Callable[..., Optimizer], *, lr: float | None = None, k: int = 5, alpha: float = 0.5
    ) -> None:
        require(">= 1", k=k)
        require("in (0, 1]", alpha=alpha)
        super().__init__(params, base, lr)
        self.k, self.alpha, self.holds_weights = k, alpha, True
        self.steps = 0
        self.slow: list[Tensor] = []
        self.fast: list[Tensor] = []  # kept while the model holds the slow weights

    def step(self, closure: Closure | None = None) -> Tensor:
        weights = self._weights()
        slow = self.slow or [weight.clone() for weight in weights]
        loss = self.base.step(closure)
        self.slow = slow
        self.steps += 1
        if self.steps % self.k == 0:
            torch._foreach_lerp_(self.slow, weights, self.alpha)
            torch._foreach_copy_(weights, self.slow)
        return loss

    def eval(self) -> None:
        """Put the slow weights into the model; the fast ones are kept."""
        super().eval()
        if self.slow and not self.fast:
            weights = self._weights()
            self.fast = [weight.clone() for weight in weights]
            torch._foreach_copy_(weights, self.slow)

    def train(self) -> None:
        """Put the fast weights back."""
        if self.fast:
            torch._foreach_copy_(self._weights(), self.fast)
            self.fast = []
        super().train()

    def state_dict(self) -> dict:
        return {"base": super().state_dict(), "steps": self.steps, "slow": list(self.slow), "fast": list(self.fast)}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state["base"])
        self.steps = state["steps"]
        weights = parameters_of(self)
        self.slow, self.fast = (
            [kept.detach().to(weight, copy=True) for kept, weight in zip(state[name], weights)]
            for name in ("slow", "fast")
        )

    def _weights(self) -> list[Tensor]:
        return [weight.detach() for weight in parameters_of(self)]
