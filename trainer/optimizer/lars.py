"""LARS, momentum with a learning rate for each layer."""

import torch

from trainer.base.checks import require
from trainer.optimizer.base import FirstOrder, gather_state, trust_ratios


class Lars(FirstOrder):
    """Momentum with each tensor's rate scaled by the norm of its weights over that of its gradient (You et al., 2017).

    ratio = coefficient |w| / (|g| + weight_decay |w|);  v = m v + lr ratio (g + weight_decay w);  w -= v

    Args:
        params: weights, or groups of them.
        lr: learning rate, > 0.
        momentum: m, fraction of the velocity kept, in [0, 1). Paper: 0.9.
        weight_decay: added to the gradient, >= 0. Paper: 5e-4.
        coefficient: trust coefficient, > 0. Paper: 1e-3.
    Errors: ValueError. Source: arXiv:1708.03888, eq. (6) and algorithm 1.
    Differs from the paper: ratio is 1 where |w| or the denominator is 0. As there, each tensor is a layer of its own,
    biases too; a tensor in a group of weight_decay 0 keeps its ratio.
    """

    def __init__(
        self, params, *, lr: float = 0.1, momentum: float = 0.9, weight_decay: float = 5e-4, coefficient: float = 0.02
    ) -> None:
        require("> 0", lr=lr, coefficient=coefficient)
        require("in [0, 1)", momentum=momentum)
        require(">= 0", weight_decay=weight_decay)
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "coefficient": coefficient}
        super().__init__(params, defaults)

    def _update(self, group: dict) -> None:
        weights, grads, velocities = gather_state(self, group, "velocity")
        if weights:
            decay = group["weight_decay"]
            norms = torch.stack(torch._foreach_norm(weights))
            denominators = (torch.stack(torch._foreach_norm(grads)) + decay * norms) / group["coefficient"]
            steps = torch._foreach_add(grads, weights, alpha=decay)
            torch._foreach_mul_(steps, trust_ratios(weights, denominators))
            torch._foreach_mul_(velocities, group["momentum"])
            torch._foreach_add_(velocities, steps, alpha=group["lr"])
            torch._foreach_sub_(weights, velocities)
