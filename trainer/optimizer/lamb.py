"""LAMB, Adam with a learning rate for each layer."""

import torch

from trainer.base.checks import require
from trainer.optimizer.base import FirstOrder, gather_state, trust_ratios, update_moments


class Lamb(FirstOrder):
    """Adam with weight decay, each tensor's step scaled to the norm of its weights (You et al., 2020).

    r = (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay w;  w -= lr (|w| / |r|) r
    with m and v as in Adam.

    Args:
        params: weights, or groups of them.
        lr: learning rate, > 0.
        betas: decay of the mean and of the mean square, in [0, 1). Paper: 0.9, 0.999.
        eps: added to the root, >= 0. Paper: 1e-6.
        weight_decay: >= 0. Paper: 0.01.
    Errors: ValueError. Source: arXiv:1904.00962, algorithm 2, with phi(x) = x.
    Differs from the paper: |w| / |r| is 1 where either is 0. As there, each tensor is a layer of its own, biases too; a
    tensor in a group of weight_decay 0 keeps its ratio.
    """

    def __init__(
        self,
        params,
        *,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
    ) -> None:
        require("> 0", lr=lr)
        require(">= 0", eps=eps, weight_decay=weight_decay)
        require("in [0, 1)", betas=betas)
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay, "step": 0})

    def _update(self, group: dict) -> None:
        group["step"] += 1
        weights, grads, means, squares = gather_state(self, group, "mean", "square")
        if weights:
            update_moments(means, squares, grads, group["betas"])
            first, second = (1 - beta ** group["step"] for beta in group["betas"])
            roots = torch._foreach_sqrt(squares)
            torch._foreach_div_(roots, second**0.5)
            torch._foreach_add_(roots, group["eps"])
            torch._foreach_mul_(roots, first)
            steps = torch._foreach_div(means, roots)
            torch._foreach_add_(steps, weights, alpha=group["weight_decay"])
            torch._foreach_mul_(steps, trust_ratios(weights, torch.stack(torch._foreach_norm(steps))))
            torch._foreach_add_(weights, steps, alpha=-group["lr"])
