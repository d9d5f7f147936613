"""FTRL-Proximal."""

import torch

from trainer.base.checks import require
from trainer.optimizer.base import FirstOrder, gather_state


class Ftrl(FirstOrder):
    """Follow the proximally regularised leader, with a learning rate for each weight (McMahan et al., 2013).

    n += g^2;  c' = (beta + sqrt(n)) / lr;  z += g - (c' - c) w;  c = c';  w = -(z - clip(z, -l1, l1)) / (c + l2)
    Without penalties this is w -= lr g / (beta + sqrt(n)), Adagrad; with l1, weights become exactly 0.

    Args:
        params: weights, or groups of them.
        lr: alpha, > 0. Paper: depends on the data.
        beta: > 0. Paper: 1.
        l1_strength: of the penalty l1 |w|, >= 0; added once, not once a step.
        l2_strength: of the penalty l2 w^2 / 2, >= 0; added once, not once a step.
    Errors: ValueError. Source: McMahan et al., KDD 2013, algorithm 1.
    Differs from the paper: weights start at their initial values, so c starts as beta / lr and z as -c w (the paper's
    z = 0 where w = 0); c is kept, so that a change of lr does not move the weights.
    """

    holds_weights = True

    def __init__(
        self, params, *, lr: float = 0.1, beta: float = 1.0, l1_strength: float = 0.0, l2_strength: float = 0.0
    ) -> None:
        require("> 0", lr=lr, beta=beta)
        require(">= 0", l1_strength=l1_strength, l2_strength=l2_strength)
        super().__init__(params, {"lr": lr, "beta": beta, "l1_strength": l1_strength, "l2_strength": l2_strength})

    def _update(self, group: dict) -> None:
        if group["lr"] == 0:
            return  # an infinite curvature: no weight moves
        new = [weight for weight in group["params"] if weight.grad is not None and weight not in self.state]
        weights, grads, squares, curvatures, leaders = gather_state(self, group, "square_sum", "curvature", "z")
        for weight in new:
            self.state[weight]["curvature"].fill_(group["beta"] / group["lr"])
            self.state[weight]["z"].copy_(weight * (-group["beta"] / group["lr"]))
        if weights:
            torch._foreach_addcmul_(squares, grads, grads)
            grown = torch._foreach_sqrt(squares)
            torch._foreach_add_(grown, group["beta"])
            torch._foreach_div_(grown, group["lr"])
            torch._foreach_sub_(curvatures, grown)
            torch._foreach_addcmul_(leaders, curvatures, weights)
            torch._foreach_add_(leaders, grads)
            torch._foreach_copy_(curvatures, grown)
            torch._foreach_add_(grown, group["l2_strength"])
            clipped = torch._foreach_clamp_min(leaders, -group["l1_strength"])
            torch._foreach_clamp_max_(clipped, group["l1_strength"])
            torch._foreach_sub_(clipped, leaders)
            torch._foreach_div_(clipped, grown)
            torch._foreach_copy_(weights, clipped)
