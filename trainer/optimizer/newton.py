"""Newton's method and its quasi-Newton kin, for the gradient of the whole training split."""

import math
import warnings

import torch
from torch import Tensor
from torch.optim import Optimizer

from trainer.base.checks import require
from trainer.optimizer.base import Closure, evaluated, weights_of


class Newton(Optimizer):
    """Newton's method: jump to the minimum of the local quadratic (Newton, 1685; damping: Levenberg, 1944).

    w = w - lr (H + damping I)^-1 g,  H the full Hessian; where that is singular, by its pseudo-inverse (flat directions are left).
    Without damping and away from a minimum it goes as gladly to a saddle point; absolute=true takes |H|, H with the signs of its
    eigenvalues dropped, which every saddle point repels (Dauphin et al., 2014).

    Args:
        params: weights, or groups of them, together 2000 at most: H has that many rows, a backward pass each.
        lr: share of the step taken, > 0. Newton: 1.
        damping: added to H's diagonal, >= 0. Newton: 0.
        absolute: take the absolute values of H's eigenvalues.
    Errors: ValueError. Source: Nocedal & Wright, "Numerical Optimization", 2006, eq. (2.15); arXiv:1406.2572, algorithm 1.
    Differs from the papers: |H| of the full Hessian, not in a Krylov subspace.
    """

    create_graph = True  # the closure's gradients are differentiated again
    limit = 2000

    def __init__(self, params, *, lr: float = 1.0, damping: float = 1e-2, absolute: bool = False) -> None:
        require("> 0", lr=lr)
        require(">= 0", damping=damping)
        self.damping, self.absolute = damping, absolute
        super().__init__(params, {"lr": lr})
        require_small("newton needs a Hessian", self.limit, self)

    def step(self, closure: Closure) -> Tensor:
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "Using backward\\(\\) with create_graph=True"
            )  # the cycle is broken below
            loss = closure()
        weights = [weight for weight in weights_of(self) if weight.grad is not None]
        rates = [-group["lr"] for group in self.param_groups for weight in group["params"] if weight.grad is not None]
        grad = flat_grad(weights)
        update = self._solved(hessian(grad, weights), grad.detach())
        for weight in weights:
            weight.grad = None  # with it goes the graph
        move(weights, update, rates)
        return loss.detach()

    def _solved(self, matrix: Tensor, grad: Tensor) -> Tensor:
        if not matrix.isfinite().all():
            return torch.full_like(grad, torch.nan)  # the loop calls that diverged
        values, vectors = torch.linalg.eigh(matrix)
        curvature = (values.abs() if self.absolute else values) + self.damping
        flat = curvature.abs() <= len(curvature) * torch.finfo(curvature.dtype).eps * curvature.abs().max()
        return vectors @ (torch.where(flat, 0, 1 / curvature) * (vectors.T @ grad))


class Bfgs(Optimizer):
    """BFGS: an estimate of the inverse Hessian, from the gradients met (Broyden, Fletcher, Goldfarb & Shanno, 1970).

    d = -H g;  w = w + t d;  with s = t d, y the change of the gradient and r = 1 / y^T s, the rank-2 update
        H = (I - r s y^T) H (I - r y s^T) + r s s^T
    from H = (y^T s / y^T y) I. The line search halves and doubles t from lr until the Wolfe conditions hold:
        f(w + t d) <= f(w) + 1e-4 t g^T d  and  g(w + t d)^T d >= 0.9 g^T d
    Where no t lowers the loss the weights stay, and the estimate starts anew.

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
        self.max_eval = max_eval
        super().__init__(params, {"lr": lr})
        require_small("bfgs needs an inverse Hessian", self.limit, self)

    @torch.no_grad()
    def step(self, closure: Closure) -> Tensor:
        weights = weights_of(self)
        state = self.state[weights[0]]
        loss, grad = look(closure, weights)
        if not grad.any():
            return loss
        lr = self.param_groups[0]["lr"]
        if "inverse" in state:
            direction = -state["inverse"] @ grad
        else:
            direction, lr = -grad, lr * min(1.0, 1 / grad.abs().sum().item())
        t, new_grad = self._search(closure, weights, direction, lr, loss.item(), grad)
        if t == 0:
            state.pop("inverse", None)
        else:
            remember(state, t * direction, new_grad - grad)
        return loss

    def _search(
        self, closure: Closure, weights: list[Tensor], direction: Tensor, t: float, start: float, grad: Tensor
    ) -> tuple[float, Tensor]:
        """The t where the search ended, 0 if nowhere lower, and the gradient there; the weights are left there."""
        origin = [weight.clone() for weight in weights]
        slope = grad.dot(direction).item()
        low, high, at_low = 0.0, math.inf, grad
        for _ in range(self.max_eval):
            torch._foreach_copy_(weights, origin)
            move(weights, direction, t)
            loss, new_grad = look(closure, weights)
            if not loss.item() <= start + 1e-4 * t * slope:
                high = t
            elif new_grad.dot(direction).item() < 0.9 * slope:
                low, at_low = t, new_grad
            else:
                return t, new_grad
            t = (low + high) / 2 if high < math.inf else 2 * low
        torch._foreach_copy_(weights, origin)
        move(weights, direction, low)
        return low, at_low


class Lbfgs(torch.optim.LBFGS):
    """L-BFGS as torch has it (Liu & Nocedal, 1989), for weights that come in groups: it takes them as one.

    Args: torch.optim.LBFGS's. Errors: ValueError. Source: Nocedal & Wright, 2006, algorithm 7.5. Differs from torch's: no.
    """

    def __init__(
        self,
        params,
        *,
        lr: float = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 10,
        line_search_fn: str | None = "strong_wolfe",
    ) -> None:
        require("> 0", lr=lr)
        require(">= 1", max_iter=max_iter, history_size=history_size)
        if max_eval is not None:
            require(">= 1", max_eval=max_eval)
        require(">= 0", tolerance_grad=tolerance_grad, tolerance_change=tolerance_change)
        if line_search_fn not in ("strong_wolfe", None):
            raise ValueError(f"line_search_fn must be strong_wolfe or null, got {line_search_fn}")
        params = list(params)
        weights = [weight for group in params for weight in group["params"]] if isinstance(params[0], dict) else params
        super().__init__(
            weights, lr, max_iter, max_eval, tolerance_grad, tolerance_change, history_size, line_search_fn
        )


def require_small(need: str, limit: int, optimizer: Optimizer) -> None:
    """Hold a method with an N x N matrix to what memory and time allow. Errors: ValueError."""
    count = sum(weight.numel() for weight in weights_of(optimizer))
    if count > limit:
        raise ValueError(
            f"{need} of N x N numbers: at most {limit} parameters, the model has {count}; try optimizer=lbfgs, model=linear"
        )


def flat_grad(weights: list[Tensor]) -> Tensor:
    return torch.cat(
        [(torch.zeros_like(weight) if weight.grad is None else weight.grad).flatten() for weight in weights]
    )


def look(closure: Closure, weights: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Loss and gradient where the weights stand."""
    loss = evaluated(closure)
    return loss.detach(), flat_grad(weights).detach()


@torch.no_grad()
def move(weights: list[Tensor], direction: Tensor, t: float | list[float]) -> None:
    """w = w + t d, t one number or one for each weight."""
    parts = direction.split([weight.numel() for weight in weights])
    for index, (weight, part) in enumerate(zip(weights, parts)):
        weight.add_(part.view_as(weight), alpha=t[index] if isinstance(t, list) else t)


def hessian(grad: Tensor, weights: list[Tensor]) -> Tensor:
    """The derivative of each entry of the gradient (N,), a row each; symmetric to the last bit."""
    if not grad.requires_grad:  # of a loss that is linear in the weights
        return grad.new_zeros(len(grad), len(grad))
    rows = [torch.autograd.grad(entry, weights, retain_graph=True, materialize_grads=True) for entry in grad.unbind()]
    matrix = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
    return (matrix + matrix.T) / 2


def remember(state: dict, s: Tensor, y: Tensor) -> None:
    """Update the inverse Hessian in the state by a step and the change of the gradient along it."""
    ys = y.dot(s).item()
    if not ys > torch.finfo(s.dtype).tiny:
        return  # a search that ran out before the slope had risen
    if "inverse" not in state:
        state["inverse"] = ys / y.dot(y) * torch.eye(len(s), device=s.device, dtype=s.dtype)
    inverse = state["inverse"]
    hy = inverse @ y
    inverse.addr_(s, s, alpha=(1 + y.dot(hy).item() / ys) / ys).addr_(hy, s, alpha=-1 / ys).addr_(s, hy, alpha=-1 / ys)
