"""Prodigy as pytorch_optimizer has it."""

import pytorch_optimizer

from trainer.base.checks import require


class Prodigy(pytorch_optimizer.Prodigy):
    """Prodigy: Adam that finds its learning rate, from the distance to the first weights (Mishchenko & Defazio, 2024).

    m = beta1 m + (1 - beta1) d g,  v = beta2 v + (1 - beta2) d^2 g^2
    r = sqrt(beta2) r + lr d^2 <g, w_0 - w>,  s = sqrt(beta2) s + lr d^2 g,  d = max(d, d_coef r / |s|_1)
    w = w - lr d m / (sqrt(v) + d eps) - lr d weight_decay w, with the d before this step but for that beside eps
    d is one number for all weights; its norms and products go over all of them. Leave lr at 1; sched= multiplies it.

    Args:
        params: weights, or groups of them.
        lr: factor of the learning rate that is found, > 0. Paper: 1.
        betas: decay of the mean and of the mean square, each in [0, 1). Paper: 0.9 and 0.999.
        d0: first d, > 0, far below the right one. Paper: 1e-6.
        d_coef: factor of the estimate of d, > 0. Paper: 1.
        eps: added to the root, >= 0. Paper: 1e-8.
        weight_decay: decoupled, >= 0. Paper: 0.
        bias_correction: correct the means as Adam does. Paper: no.
        safeguard_warmup: leave lr out of s, for a warm-up. Authors' code: no.
    Errors: ValueError. Source: arXiv:2306.06101, algorithm 4.
    Differs from the paper: eps has the new d for a factor. A step waits for the device once, for d.
    """

    def __init__(
        self,
        params,
        *,
        lr: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        d0: float = 1e-6,
        d_coef: float = 1.0,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        bias_correction: bool = False,
        safeguard_warmup: bool = False,
    ) -> None:
        require("> 0", lr=lr, d0=d0, d_coef=d_coef)
        require("in [0, 1)", betas=betas)
        require(">= 0", eps=eps, weight_decay=weight_decay)
        super().__init__(
            params,
            lr,
            tuple(betas),
            d0=d0,
            d_coef=d_coef,
            weight_decay=weight_decay,
            bias_correction=bias_correction,
            safeguard_warmup=safeguard_warmup,
            eps=eps,
            foreach=True,
        )
