"""Shampoo, a preconditioner for each dimension of a tensor."""

import torch
from torch import Tensor

from trainer.base.checks import require
from trainer.optimizer.base import FirstOrder


class Shampoo(FirstOrder):
    """Shampoo: a preconditioner for each dimension of a tensor (Gupta, Koren & Singer, 2018).

    For a gradient of order k, with G_i the gradient unfolded along dimension i:
        H_i = H_i + G_i G_i^T, from H_i = eps I
        u = the gradient times H_i^(-1/(2k)) along every dimension i; for a matrix L^(-1/4) G R^(-1/4)
        v = momentum v + u,  w = w - lr v
    For a vector this is full-matrix AdaGrad. A dimension longer than max_size has no preconditioner; k counts the
    others.

    Args:
        params: weights, or groups of them.
        lr: learning rate, > 0.
        momentum: fraction of the velocity kept, in [0, 1).
        eps: of the first H_i, > 0.
        update_every: steps between two roots (an eigendecomposition of each H_i), >= 1. Algorithm 1: 1.
        max_size: longest dimension with a preconditioner, >= 1.
    Errors: ValueError. Source: arXiv:1802.09568, algorithms 1 and 2.
    Differs from the paper: long dimensions are not preconditioned, where the paper takes the diagonal.
    """

    def __init__(
        self,
        params,
        *,
        lr: float = 0.01,
        momentum: float = 0.9,
        eps: float = 1e-4,
        update_every: int = 10,
        max_size: int = 1024,
    ) -> None:
        require("> 0", lr=lr, eps=eps)
        require("in [0, 1)", momentum=momentum)
        require(">= 1", update_every=update_every, max_size=max_size)
        self.momentum, self.eps, self.update_every, self.max_size = momentum, eps, update_every, max_size
        super().__init__(params, {"lr": lr})

    def _update(self, group: dict) -> None:
        for weight in group["params"]:
            if weight.grad is not None:
                state = self.state[weight]
                if not state:
                    state.update(step=0, velocity=torch.zeros_like(weight))
                state["velocity"].mul_(self.momentum).add_(self._preconditioned(weight))
                weight.add_(state["velocity"], alpha=-group["lr"])

    def _preconditioned(self, weight: Tensor) -> Tensor:
        """Return u of a weight, and update its preconditioners."""
        state, grad = self.state[weight], weight.grad
        direction = grad = grad.reshape(1) if grad.dim() == 0 else grad
        sides = [side for side in range(grad.dim()) if grad.shape[side] <= self.max_size]
        for side in sides:
            unfolded = grad.movedim(side, 0).flatten(1) if grad.dim() > 1 else grad[:, None]
            if f"second_{side}" not in state:
                state[f"second_{side}"] = self.eps * torch.eye(len(unfolded), device=grad.device, dtype=grad.dtype)
            second = state[f"second_{side}"].addmm_(unfolded, unfolded.T)
            if state["step"] % self.update_every == 0:
                state[f"root_{side}"] = inverse_root(second, 2 * len(sides), self.eps)
            direction = torch.tensordot(direction, state[f"root_{side}"], dims=([side], [0])).movedim(-1, side)
        state["step"] += 1
        return direction.reshape(weight.shape)


def inverse_root(matrix: Tensor, order: int, floor: float) -> Tensor:
    """Return M^(-1/order) of a symmetric matrix whose eigenvalues are >= floor but for rounding.

    NaN where it is not finite: the loop calls that diverged.
    """
    try:
        values, vectors = torch.linalg.eigh(matrix)
    except torch.linalg.LinAlgError:
        return torch.full_like(matrix, torch.nan)
    return vectors * values.clamp(min=floor) ** (-1 / order) @ vectors.T
