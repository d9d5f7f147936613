"""ADOPT, Adam that converges with any beta2."""

import torch

from trainer.base.checks import require
from trainer.optimizer.base import FirstOrder


class Adopt(FirstOrder):
    """ADOPT: Adam whose mean square leaves out the newest gradient (Taniguchi et al., 2024).

    The first step, t = 0, sets v = g^2 and moves no weight. Then, for t = 1, 2, ...
        m = beta1 m + (1 - beta1) clip(g / max(sqrt(v), eps), -t^(1/4), t^(1/4))
        w = w - lr (m + weight_decay w)
        v = beta2 v + (1 - beta2) g^2

    Args:
        params: weights, or groups of them.
        lr: learning rate, > 0. Paper: 1e-3.
        betas: decay of the mean and of the mean square, each in [0, 1). Paper: 0.9 and 0.9999.
        eps: smallest root, > 0. Paper: 1e-6.
        weight_decay: decoupled, a step multiplies the weights by 1 - lr weight_decay, >= 0. Paper: 0.
    Errors: ValueError. Source: arXiv:2411.02853, algorithm 2, with the clipping of its later versions.
    Differs from the paper: no. Differs from pytorch_optimizer.ADOPT: that one clips at (t + 1)^(1/4) and lets the
    weights decay in the first step.
    """

    def __init__(
        self,
        params,
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.9999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        require("> 0", lr=lr, eps=eps)
        require("in [0, 1)", betas=betas)
        require(">= 0", weight_decay=weight_decay)
        self.betas, self.eps = betas, eps
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "decoupled_weight_decay": True, "step": 0})

    def _update(self, group: dict) -> None:
        weights = [weight for weight in group["params"] if weight.grad is not None]
        moving = [weight for weight in weights if weight in self.state]
        for weight in weights:
            if weight not in self.state:
                self.state[weight].update(mean=torch.zeros_like(weight), square=weight.grad.square())
        if not moving:
            return
        group["step"] += 1
        bound, (beta1, beta2) = group["step"] ** 0.25, self.betas
        grads = [weight.grad for weight in moving]
        means, squares = ([self.state[weight][name] for weight in moving] for name in ("mean", "square"))
        roots = torch._foreach_sqrt(squares)
        torch._foreach_clamp_min_(roots, self.eps)
        steps = torch._foreach_div(grads, roots)
        torch._foreach_clamp_min_(steps, -bound)
        torch._foreach_clamp_max_(steps, bound)
        torch._foreach_lerp_(means, steps, 1 - beta1)
        torch._foreach_mul_(moving, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(moving, means, alpha=-group["lr"])
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, grads, grads, 1 - beta2)
