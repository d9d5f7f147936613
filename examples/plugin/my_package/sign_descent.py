"""Optimizers of one's own."""

from collections.abc import Callable

import torch
from torch import Tensor


class SignDescent(torch.optim.Optimizer):
    """w <- w - lr sign(gradient).

    `step` always gets a closure, which computes loss and gradient anew at each call.
    """

    def __init__(self, params, lr: float = 0.001) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        with torch.enable_grad():
            loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    weight.sub_(weight.grad.sign(), alpha=group["lr"])
        return loss
