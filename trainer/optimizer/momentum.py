"""Momentum and Nesterov momentum as torch has them, with the option to raise momentum in stages."""

import torch
from torch import Tensor

from trainer.base.checks import require
from trainer.optimizer.base import evaluate_closure


class Momentum(torch.optim.SGD):
    """SGD with heavy-ball momentum, the rate outside the velocity: v = m v + g, w -= lr v (Polyak, 1964).

    With `anneal` the momentum rises in stages (Sutskever et al., 2013, eq. 5): in step t from 0
    m_t = min(1 - 2^(-1 - log2(floor(t / anneal) + 1)), momentum), which is 1/2, 3/4, 5/6, 7/8, ... up to `momentum`.

    Args:
        params: weights, or groups of them.
        lr: learning rate, > 0.
        momentum: m, fraction of the velocity kept, in [0, 1). Paper: 0.9 to 0.999.
        dampening: fraction of the new gradient left out of the velocity, v = m v + (1 - dampening) g, in [0, 1); not in
            the first step, where v = g, as in torch. Paper: 0.
        anneal: steps of a stage, >= 0; 0 for a constant momentum. Paper: 250.
        fused: one kernel for all weights.
    Errors: ValueError. Source: Sutskever et al., ICML 2013, section 3.
    Differs from the paper: torch's form, whose velocity does not hold the rate (see optimizer=momentum_velocity).
    """

    def __init__(
        self,
        params,
        *,
        lr: float = 0.05,
        momentum: float = 0.9,
        dampening: float = 0.0,
        anneal: int = 0,
        fused: bool = True,
    ) -> None:
        require("> 0", lr=lr)
        require("in [0, 1)", momentum=momentum, dampening=dampening)
        require(">= 0", anneal=anneal)
        super().__init__(params, lr=lr, momentum=momentum, dampening=dampening, fused=fused)
        if anneal:
            for group in self.param_groups:  # in the groups, so that checkpoints hold it
                group |= {"anneal": anneal, "final_momentum": momentum, "step": 0}
            self.register_step_pre_hook(anneal_momentum)


class Nesterov(torch.optim.SGD):
    """SGD with Nesterov momentum, v = m v + g, w -= lr (g + m v) (Nesterov, 1983; Sutskever et al., 2013).

    Args:
        params: weights, or groups of them.
        lr: learning rate, > 0.
        momentum: m, fraction of the velocity kept, in [0, 1). Paper: 0.9 to 0.999.
        nesterov: take the gradient as if one step ahead; without it, heavy-ball momentum.
        fused: one kernel for all weights.
    Errors: ValueError. Source: Sutskever et al., ICML 2013, eq. (3) and (4), whose velocity holds the rate.
    Differs from torch: m = 0, where both forms are plain SGD, is no error.
    """

    def __init__(
        self, params, *, lr: float = 0.05, momentum: float = 0.9, nesterov: bool = True, fused: bool = True
    ) -> None:
        require("> 0", lr=lr)
        require("in [0, 1)", momentum=momentum)
        super().__init__(params, lr=lr, momentum=momentum, nesterov=nesterov and momentum > 0, fused=fused)


def anneal_momentum(optimizer: Momentum, arguments: tuple, keywords: dict) -> tuple[tuple, dict]:
    """Have the step's closure raise the momentum after its evaluation, which may skip the step (a step pre-hook)."""
    _, *rest = arguments
    closure = rest[0] if rest else keywords.get("closure")

    def annealed() -> Tensor | None:
        loss = evaluate_closure(closure) if closure else None
        for group in optimizer.param_groups:
            stage = group["step"] // group["anneal"] + 1
            group["momentum"] = min(1 - 1 / (2 * stage), group["final_momentum"])  # 2^(-1 - log2 s) is 1 / (2 s)
            group["step"] += 1
        return loss

    return (optimizer, annealed), {}
