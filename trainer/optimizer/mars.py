"""MARS-AdamW as pytorch_optimizer has it, for all weights."""

import pytorch_optimizer

from trainer.base.checks import require


class Mars(pytorch_optimizer.MARS):
    """MARS: AdamW on a gradient whose variance the last gradient reduces (Yuan et al., 2024).

    c = g_t + gamma beta1 / (1 - beta1) (g_t - g_(t-1)), with g_0 = 0, divided by its norm where that is above 1
    m = beta1 m + (1 - beta1) c,  v = beta2 v + (1 - beta2) c^2
    w = w - lr ((m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay w)
    This is MARS-approx: g_(t-1) is the gradient of the batch before, at the weights before, so that a step needs one
    gradient. The norm is that of each tensor.

    Args:
        params: weights, or groups of them.
        lr: learning rate, > 0. Paper: 3e-3.
        betas: decay of the mean and of the mean square, each in [0, 1). Paper: 0.95 and 0.99.
        gamma: strength of the correction, >= 0; 0 is AdamW with clipping. Paper: 0.025.
        eps: added to the root, >= 0. Paper: 1e-8.
        weight_decay: decoupled, >= 0. Paper: 0.01.
    Errors: ValueError. Source: arXiv:2411.10438, algorithms 1 and 2.
    Differs from the paper: the authors' code and the library divide eps by sqrt(1 - beta2^t), and the library adds
    1e-15 to v. Biases and norms are corrected as well; the authors' code can leave them to AdamW.
    """

    def __init__(
        self,
        params,
        *,
        lr: float = 3e-3,
        betas: tuple[float, float] = (0.95, 0.99),
        gamma: float = 0.025,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        require("> 0", lr=lr)
        require("in [0, 1)", betas=betas)
        require(">= 0", gamma=gamma, eps=eps, weight_decay=weight_decay)
        super().__init__(
            params, lr, tuple(betas), gamma, optimize_1d=True, weight_decay=weight_decay, eps=eps, foreach=True
        )
