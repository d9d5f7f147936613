"""SGD with momentum, the learning rate inside the velocity."""

import torch

from trainer.base.checks import require
from trainer.optimizer.base import FirstOrder, gather_state


class MomentumVelocity(FirstOrder):
    """SGD with heavy-ball momentum, the rate inside the velocity: v = m v - lr g, w += v (Sutskever et al., 2013).

    At a constant rate the weights are those of v = m v + g, w -= lr v. Where the rate changes they differ: this
    velocity keeps what it gained at the old rate.

    Args:
        params: weights, or groups of them.
        lr: learning rate, > 0.
        momentum: m, fraction of the velocity kept, in [0, 1). Paper: 0.9 to 0.999.
    Errors: ValueError. Source: Sutskever et al., ICML 2013, eq. (1) and (2). Differs from the paper: no.
    """

    def __init__(self, params, *, lr: float = 0.05, momentum: float = 0.9) -> None:
        require("> 0", lr=lr)
        require("in [0, 1)", momentum=momentum)
        super().__init__(params, {"lr": lr, "momentum": momentum})

    def _update(self, group: dict) -> None:
        weights, grads, velocities = gather_state(self, group, "velocity")
        if weights:
            torch._foreach_mul_(velocities, group["momentum"])
            torch._foreach_add_(velocities, grads, alpha=-group["lr"])
            torch._foreach_add_(weights, velocities)
