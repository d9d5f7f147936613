"""Ranger: RAdam, Lookahead and gradient centralisation."""

from functools import partial

import torch
from torch import Tensor

from trainer.base.checks import require
from trainer.optimizer.base import Closure, Wrapper, evaluate_closure, matrices
from trainer.optimizer.lookahead import Lookahead


class Ranger(Wrapper):
    """Ranger: Lookahead around RAdam, on centralised gradients (Wright, 2019; centralisation: Yong et al., 2020).

    The gradient of each matrix and kernel is centralised, g = g - mean(g), the mean being that over the inputs of a
    unit.

    Args:
        params: weights, or groups of them.
        lr: learning rate, > 0. Ranger: 1e-3.
        betas: RAdam's decay of the mean and of the mean square, each in [0, 1). Ranger: 0.95 and 0.999.
        eps: added to the root, >= 0. Ranger: 1e-5.
        weight_decay: decoupled; a step multiplies the weights by 1 - lr weight_decay, >= 0. Ranger: 0.
        k: steps of RAdam between two of the slow weights, >= 1. Ranger: 6.
        alpha: step size of the slow weights, in (0, 1]. Ranger: 0.5.
        centralize: centralise the gradients.
    Errors: ValueError. Source: arXiv:1908.03265, algorithm 2; arXiv:1907.08610, algorithm 1; arXiv:2004.01461, eq. (1).
    Differs from the papers: torch's RAdam rectifies from rho > 5 on, the paper from rho > 4.
    """

    def __init__(
        self,
        params,
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.95, 0.999),
        eps: float = 1e-5,
        weight_decay: float = 0.0,
        k: int = 6,
        alpha: float = 0.5,
        centralize: bool = True,
    ) -> None:
        require("> 0", lr=lr)
        require("in [0, 1)", betas=betas)
        require(">= 0", eps=eps, weight_decay=weight_decay)
        fast = partial(
            torch.optim.RAdam, betas=tuple(betas), eps=eps, weight_decay=weight_decay, decoupled_weight_decay=True
        )
        super().__init__(params, partial(Lookahead, base=fast, k=k, alpha=alpha), lr)
        self.centralize = centralize

    def step(self, closure: Closure) -> Tensor:
        def centralized() -> Tensor:
            loss = evaluate_closure(closure)
            for weight in matrices(self.param_groups):
                if weight.grad is not None:
                    weight.grad.sub_(weight.grad.mean(tuple(range(1, weight.dim())), keepdim=True))
            return loss

        return self.base.step(centralized if self.centralize else closure)
