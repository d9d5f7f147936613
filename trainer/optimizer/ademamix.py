"""AdEMAMix as pytorch_optimizer has it, with decoupled weight decay."""

import pytorch_optimizer

from trainer.base.checks import require


class AdEMAMix(pytorch_optimizer.AdEMAMix):
    """AdamW with a second, slow mean of the gradient (Pagliardini, Ablin & Grangier, 2024).

    m1 = beta1 m1 + (1 - beta1) g,  m2 = beta3_t m2 + (1 - beta3_t) g,  v = beta2 v + (1 - beta2) g^2
    w = w - lr ((m1 / (1 - beta1^t) + alpha_t m2) / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay w)
    With T = t_alpha_beta3, alpha_t = min(t / T, 1) alpha, and beta3_t rises from beta1 to beta3 so that the half-life
    of m2 grows linearly. Without T both are constant.

    Args:
        params: weights, or groups of them.
        lr: learning rate, > 0. Paper: 1e-3 and less.
        betas: decay of the fast mean, of the mean square and of the slow mean, each in [0, 1). Paper: 0.9, 0.999 and
            0.9999.
        alpha: weight of the slow mean, >= 0; 0 is AdamW. Paper: 2 to 16.
        t_alpha_beta3: T, steps of the rise, >= 1, or None. Paper: the steps of the run.
        eps: added to the root, >= 0. Paper: 1e-8.
        weight_decay: decoupled, >= 0. Paper: 0.1.
    Errors: ValueError. Source: arXiv:2409.03137, algorithm 1. Differs from the paper: no.
    """

    def __init__(
        self,
        params,
        *,
        lr: float = 1e-3,
        betas: tuple[float, float, float] = (0.9, 0.999, 0.9999),
        alpha: float = 5.0,
        t_alpha_beta3: int | None = None,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        require("> 0", lr=lr)
        require("in [0, 1)", betas=betas)
        require(">= 0", alpha=alpha, eps=eps, weight_decay=weight_decay)
        if t_alpha_beta3 is not None:
            require(">= 1", t_alpha_beta3=t_alpha_beta3)
            if not betas[0] or not betas[2]:  # its rise is between their logarithms
                raise ValueError(f"betas={list(betas)}: beta1 and beta3 must be > 0 with t_alpha_beta3")
        super().__init__(
            params,
            lr,
            tuple(betas),
            weight_decay,
            weight_decouple=True,
            alpha=alpha,
            t_alpha_beta3=t_alpha_beta3,
            eps=eps,
            foreach=True,
        )
