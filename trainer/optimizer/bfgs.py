"""BFGS, for the gradient of the whole training split."""

import math

import torch
from torch import Tensor
from torch.optim import Optimizer

from trainer.base.checks import require
from trainer.optimizer.base import (
    Closure,
    add_direction,
    evaluate_closure,
    flat_gradient,
    parameters_of,
    require_few_parameters,
    require_one_rate,
)


class Bfgs(Optimizer):
    """BFGS: an estimate of the inverse Hessian from past gradients (Broyden, Fletcher, Goldfarb & Shanno, 1970).

    d = -H g;  w = w + t d;  with s = t d, y the change of the gradient and r = 1 / y^T s, the rank-2 update
        H = (I - r s y^T) H (I - r y s^T) + r s s^T
    from H = (y^T s / y^T y) I. The line search halves and doubles t from lr until the Wolfe conditions hold:
        f(w + t d) <= f(w) + 1e-4 t g^T d  and  g(w + t d)^T d >= 0.9 g^T d
    If no t lowers the loss, the weights do not move and the estimate starts anew.

    Args:
        params: weights, or groups of them, together 5000 at most: H has that many rows and columns.
        lr: first t, > 0, the same for all groups. BFGS: 1 (the very first step: lr min(1, 1 / sum |g|)).
        max_eval: evaluations in a line search, >= 1.
    Errors: ValueError. Source: Nocedal & Wright, "Numerical Optimization", 2006, algorithm 6.1 and eq. (6.20), (3.6).
    Differs from the book: t by bisection (Lewis & Overton, 2013) instead of interpolation.
    """

    limit = 5000

    def __init__(self, params, *, lr: float = 1.0, max_eval: int = 25) -> None:
        require("> 0", lr=lr)
        require(">= 1", max_eval=max_eval)
        params = list(params)
        require_one_rate(params)
        self.max_eval = max_eval
        super().__init__(params, {"lr": lr})
        require_few_parameters(self, self.limit, "bfgs needs an inverse Hessian")

    @torch.no_grad()
    def step(self, closure: Closure) -> Tensor:
        weights = parameters_of(self)
        loss, grad = loss_and_gradient(closure, weights)
        if not grad.any():
            return loss
        state = self.state[weights[0]]
        lr = self.param_groups[0]["lr"]
        if "inverse" in state:
            direction = -state["inverse"] @ grad
        else:
            direction, lr = -grad, lr * min(1.0, 1 / grad.abs().sum().item())
        t, new_grad = self._search(closure, weights, direction, lr, loss.item(), grad)
        if t == 0:
            state.pop("inverse", None)
        else:
            update_inverse(state, t * direction, new_grad - grad)
        return loss

    def _search(
        self, closure: Closure, weights: list[Tensor], direction: Tensor, t: float, start: float, grad: Tensor
    ) -> tuple[float, Tensor]:
        """Move the weights along a direction; return t and the gradient there. t is 0 if none lowers the loss."""
        origin = [weight.clone() for weight in weights]
        slope = grad.dot(direction).item()
        low, high, at_low = 0.0, math.inf, grad
        for _ in range(self.max_eval):
            torch._foreach_copy_(weights, origin)
            add_direction(weights, direction, t)
            loss, new_grad = loss_and_gradient(closure, weights)
            if not loss.item() <= start + 1e-4 * t * slope:
                high = t
            elif new_grad.dot(direction).item() < 0.9 * slope:
                low, at_low = t, new_grad
            else:
                return t, new_grad
            t = (low + high) / 2 if high < math.inf else 2 * low
        torch._foreach_copy_(weights, origin)
        add_direction(weights, direction, low)
        return low, at_low


def loss_and_gradient(closure: Closure, weights: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the loss and the gradient (N,) at the current weights."""
    loss = evaluate_closure(closure)
    return loss.detach(), flat_gradient(weights).detach()


def update_inverse(state: dict, s: Tensor, y: Tensor) -> None:
    """Update the inverse Hessian in the state by a step s and the change y of the gradient along it."""
    ys = y.dot(s).item()
    if not ys > torch.finfo(s.dtype).tiny:
        return  # the search ran out of evaluations before the slope had risen
    if "inverse" not in state:
        state["inverse"] = ys / y.dot(y) * torch.eye(len(s), device=s.device, dtype=s.dtype)
    inverse = state["inverse"]
    hy = inverse @ y
    inverse.addr_(s, s, alpha=(1 + y.dot(hy).item() / ys) / ys).addr_(hy, s, alpha=-1 / ys).addr_(s, hy, alpha=-1 / ys)
