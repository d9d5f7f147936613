"""Newton's method, for the gradient of the whole training split."""

import warnings

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector
from torch.optim import Optimizer

from trainer.base.checks import require
from trainer.optimizer.base import (
    Closure,
    add_direction,
    evaluate_closure,
    flat_gradient,
    parameters_of,
    require_few_parameters,
)


class Newton(Optimizer):
    """Newton's method: a step to the minimum of the local quadratic (Newton, 1685; damping: Levenberg, 1944).

    w = w - lr (H + damping I)^-1 g,  H the full Hessian; a singular H is inverted by its pseudo-inverse, so that flat
    directions are left. Without damping and away from a minimum the step may lead to a saddle point. absolute=true
    takes |H|, H with its eigenvalues' absolute values, which every saddle point repels (Dauphin et al., 2014).

    Args:
        params: weights, or groups of them, together 2000 at most: H has that many rows, a backward pass each.
        lr: fraction of the step taken, > 0. Newton: 1.
        damping: added to H's diagonal, >= 0. Newton: 0.
        absolute: take the absolute values of H's eigenvalues.
    Errors: ValueError.
    Source: Nocedal & Wright, "Numerical Optimization", 2006, eq. (2.15); arXiv:1406.2572, algorithm 1.
    Differs from the papers: |H| of the full Hessian, not in a Krylov subspace.
    """

    create_graph = True  # the closure's gradients are differentiated again
    limit = 2000

    def __init__(self, params, *, lr: float = 1.0, damping: float = 1e-2, absolute: bool = False) -> None:
        require("> 0", lr=lr)
        require(">= 0", damping=damping)
        self.damping, self.absolute = damping, absolute
        super().__init__(params, {"lr": lr})
        require_few_parameters(self, self.limit, "newton needs a Hessian")

    def step(self, closure: Closure) -> Tensor:
        with warnings.catch_warnings():  # of a reference cycle, which is broken below
            warnings.filterwarnings("ignore", "Using backward\\(\\) with create_graph=True")
            loss = evaluate_closure(closure)
        weights = [weight for weight in parameters_of(self) if weight.grad is not None]
        rates = [-group["lr"] for group in self.param_groups for weight in group["params"] if weight.grad is not None]
        grad = flat_gradient(weights)
        direction = self._solve(hessian(grad, weights), grad.detach())
        for weight in weights:
            weight.grad = None  # with it goes the graph
        add_direction(weights, direction, rates)
        return loss.detach()

    def _solve(self, matrix: Tensor, grad: Tensor) -> Tensor:
        """Return (H + damping I)^-1 g, or NaN for a Hessian that is not finite: the loop calls that diverged."""
        if not matrix.isfinite().all():
            return torch.full_like(grad, torch.nan)
        values, vectors = torch.linalg.eigh(matrix)
        curvature = (values.abs() if self.absolute else values) + self.damping
        flat = curvature.abs() <= len(curvature) * torch.finfo(curvature.dtype).eps * curvature.abs().max()
        return vectors @ (torch.where(flat, 0, 1 / curvature) * (vectors.T @ grad))


def hessian(grad: Tensor, weights: list[Tensor]) -> Tensor:
    """Return the derivative of each entry of the gradient (N,) as a row (N, N); symmetric to the last bit."""
    if not grad.requires_grad:  # the loss is linear in the weights
        return grad.new_zeros(len(grad), len(grad))
    rows = [torch.autograd.grad(entry, weights, retain_graph=True, materialize_grads=True) for entry in grad.unbind()]
    matrix = torch.stack([parameters_to_vector(part.contiguous() for part in row) for row in rows])
    return (matrix + matrix.T) / 2
