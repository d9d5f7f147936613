"""Adam without bias correction."""

import torch

from trainer.base.checks import require
from trainer.optimizer.base import FirstOrder, gather_state, update_moments


class AdamUncorrected(FirstOrder):
    """Adam without bias correction of its means, which start at 0 (the "almost Adam" of the cs231n lectures).

    m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;  w -= lr m / (sqrt(v) + eps)
    It shows the use of the correction: the first step is (1 - beta1) / sqrt(1 - beta2) = 3.16 times lr, whatever the
    gradient.

    Args:
        params: weights, or groups of them.
        lr: learning rate, > 0. cs231n: 1e-3 or 5e-4.
        betas: decay of the mean and of the mean square, in [0, 1). cs231n: 0.9, 0.999.
        eps: added to the root, >= 0. cs231n: 1e-7.
    Errors: ValueError. Source: cs231n, Training Neural Networks II; cf. arXiv:1412.6980, algorithm 1.
    Differs from that paper: m and v are not corrected.
    """

    def __init__(
        self, params, *, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-7
    ) -> None:
        require("> 0", lr=lr)
        require(">= 0", eps=eps)
        require("in [0, 1)", betas=betas)
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "eps": eps})

    def _update(self, group: dict) -> None:
        weights, grads, means, squares = gather_state(self, group, "mean", "square")
        if weights:
            update_moments(means, squares, grads, group["betas"])
            roots = torch._foreach_sqrt(squares)
            torch._foreach_add_(roots, group["eps"])
            torch._foreach_addcdiv_(weights, means, roots, -group["lr"])
