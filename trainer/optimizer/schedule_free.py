"""Schedule-free AdamW."""

import torch

from trainer.base.checks import require
from trainer.optimizer.base import FirstOrder


class ScheduleFree(FirstOrder):
    """Schedule-free AdamW: averaging in place of a falling learning rate (Defazio et al., 2024).

    The gradient g is taken at y; z takes the step; x, the weighted mean of all z, is the point to evaluate:
        v = beta2 v + (1 - beta2) g^2
        z = z - lr (g / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay y)
        x = (1 - c) x + c z,  c = lr_t^2 / (lr_1^2 + ... + lr_t^2)
        y = (1 - beta1) z + beta1 x
    With beta1 = 0 the gradient is taken at z, and x is its average (Polyak & Juditsky, 1992).
    Train with sched=constant; a warm-up helps, and its steps weigh less in the mean.

    Args:
        params: weights, or groups of them.
        lr: learning rate, > 0. The paper's code: 2.5e-3.
        betas: weight of x in y, and decay of the mean square, each in [0, 1). Paper: 0.9 and 0.999.
        eps: added to the root, >= 0. Paper: 1e-8.
        weight_decay: at y, >= 0. Paper: tuned.
    Errors: ValueError. Source: arXiv:2405.15682, algorithm 1.
    Differs from the paper: the bias of v is corrected under the root, as in Adam, not in lr and so in c.
    """

    holds_weights = True

    def __init__(
        self,
        params,
        *,
        lr: float = 2.5e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        require("> 0", lr=lr)
        require(">= 0", eps=eps, weight_decay=weight_decay)
        require("in [0, 1)", betas=betas)
        self.betas, self.eps = betas, eps
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "step": 0, "lr_squares": 0.0})

    def _update(self, group: dict) -> None:
        (beta1, beta2), lr = self.betas, group["lr"]
        weights = [weight for weight in group["params"] if weight.grad is not None]
        if not weights or lr == 0:
            return
        for weight in weights:
            if not self.state[weight]:
                self.state[weight].update(z=weight.clone(), square=torch.zeros_like(weight))
                if beta1 == 0:  # y is z then, and does not hold x
                    self.state[weight]["x"] = weight.clone()
        zs, squares = ([self.state[weight][name] for weight in weights] for name in ("z", "square"))
        group["step"] += 1
        group["lr_squares"] += lr**2
        c = lr**2 / group["lr_squares"]
        grads = [weight.grad for weight in weights]
        torch._foreach_lerp_(squares, torch._foreach_mul(grads, grads), 1 - beta2)
        roots = torch._foreach_sqrt(torch._foreach_div(squares, 1 - beta2 ** group["step"]))
        torch._foreach_add_(roots, self.eps)
        steps = torch._foreach_div(grads, roots)
        if group["weight_decay"]:
            torch._foreach_add_(steps, weights, alpha=group["weight_decay"])
        # y from the new x and z, without computing x: edits of the weights by a regulariser stay.
        torch._foreach_lerp_(weights, zs, c)
        torch._foreach_add_(weights, steps, alpha=lr * (beta1 * (1 - c) - 1))
        torch._foreach_add_(zs, steps, alpha=-lr)
        if beta1 == 0:
            torch._foreach_lerp_([self.state[weight]["x"] for weight in weights], zs, c)

    @torch.no_grad()
    def eval(self) -> None:
        """Put x into the model in place of y; y is kept, so that evaluation changes nothing."""
        for weight, state in self.state.items():
            if "y" not in state:
                state["y"] = weight.clone()
                weight.copy_(state["x"]) if "x" in state else weight.lerp_(state["z"], 1 - 1 / self.betas[0])

    @torch.no_grad()
    def train(self) -> None:
        """Put y back."""
        for weight, state in self.state.items():
            if "y" in state:
                weight.copy_(state.pop("y"))
