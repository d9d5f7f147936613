"""First-order methods that torch does not have, written with torch._foreach so that a step is a few kernels over all weights."""

import torch
from torch import Tensor

from trainer.base.checks import require
from trainer.optimizer.base import FirstOrder


def gathered(optimizer: torch.optim.Optimizer, group: dict, *names: str) -> list[list[Tensor]]:
    """The weights of a group that have a gradient, their gradients, and what is remembered of each under each name (at first 0)."""
    weights = [weight for weight in group["params"] if weight.grad is not None]
    for weight in weights:
        if weight not in optimizer.state:
            optimizer.state[weight] |= {name: torch.zeros_like(weight) for name in names}
    return [
        weights,
        [weight.grad for weight in weights],
        *([optimizer.state[weight][name] for weight in weights] for name in names),
    ]


def track(means: list[Tensor], squares: list[Tensor], grads: list[Tensor], betas: tuple[float, float]) -> None:
    """Adam's two running means, in place: m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) g^2."""
    torch._foreach_lerp_(means, grads, 1 - betas[0])
    torch._foreach_mul_(squares, betas[1])
    torch._foreach_addcmul_(squares, grads, grads, 1 - betas[1])


def ratios(weights: list[Tensor], denominators: Tensor) -> list[Tensor]:
    """|w| over a denominator, one number a tensor; 1 where either is 0, so that a weight that starts at 0 can leave it."""
    norms = torch.stack(torch._foreach_norm(weights))
    return list(torch.where((norms > 0) & (denominators > 0), norms / denominators, 1.0).unbind())


class MomentumVelocity(FirstOrder):
    """SGD with heavy-ball momentum, the rate inside the velocity: v = m v - lr g, w += v (Sutskever et al., 2013).

    At a constant rate the weights are those of v = m v + g, w -= lr v; where the rate changes they differ, for this velocity keeps
    what it gained at the old rate.

    Args:
        lr: learning rate, > 0.
        momentum: m, share of the velocity kept, in [0, 1). Paper: 0.9 to 0.999.
    Errors: ValueError. Source: Sutskever et al., ICML 2013, eq. (1) and (2). Differs from the paper: no.
    """

    def __init__(self, params, *, lr: float = 0.05, momentum: float = 0.9) -> None:
        require("> 0", lr=lr)
        require("in [0, 1)", momentum=momentum)
        super().__init__(params, {"lr": lr, "momentum": momentum})

    def _move(self, group: dict) -> None:
        weights, grads, velocities = gathered(self, group, "velocity")
        if weights:
            torch._foreach_mul_(velocities, group["momentum"])
            torch._foreach_add_(velocities, grads, alpha=-group["lr"])
            torch._foreach_add_(weights, velocities)


class AdamUncorrected(FirstOrder):
    """Adam without the correction of its means for having started at 0 (the "almost Adam" of the cs231n lectures).

    m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;  w -= lr m / (sqrt(v) + eps)
    It shows what the correction is for: the first step is (1 - beta1) / sqrt(1 - beta2) = 3.16 times lr, whatever the gradient.

    Args:
        lr: learning rate, > 0. cs231n: 1e-3 or 5e-4.
        betas: decay of the mean and of the mean square, in [0, 1). cs231n: 0.9, 0.999.
        eps: added to the root, > 0. cs231n: 1e-7.
    Errors: ValueError. Source: cs231n, Training Neural Networks II; cf. arXiv:1412.6980, algorithm 1. Differs from that paper: m and v
    are used as they are.
    """

    def __init__(
        self, params, *, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-7
    ) -> None:
        require("> 0", lr=lr, eps=eps)
        require("in [0, 1)", betas=betas)
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "eps": eps})

    def _move(self, group: dict) -> None:
        weights, grads, means, squares = gathered(self, group, "mean", "square")
        if weights:
            track(means, squares, grads, group["betas"])
            roots = torch._foreach_sqrt(squares)
            torch._foreach_add_(roots, group["eps"])
            torch._foreach_addcdiv_(weights, means, roots, -group["lr"])


class Lars(FirstOrder):
    """Momentum whose rate follows, tensor by tensor, the norm of the weights over that of the gradient (You et al., 2017).

    ratio = coefficient |w| / (|g| + weight_decay |w|);  v = m v + lr ratio (g + weight_decay w);  w -= v

    Args:
        lr: learning rate, > 0.
        momentum: m, share of the velocity kept, in [0, 1). Paper: 0.9.
        weight_decay: in the gradient, >= 0. Paper: 5e-4.
        coefficient: trust coefficient, > 0. Paper: 1e-3.
    Errors: ValueError. Source: arXiv:1708.03888, eq. (6) and algorithm 1. Differs from the paper: ratio is 1 where |w| or the
    denominator is 0. As there, each tensor is a layer of its own, biases too; what stands in a group of weight_decay 0 keeps its ratio.
    """

    def __init__(
        self, params, *, lr: float = 0.1, momentum: float = 0.9, weight_decay: float = 5e-4, coefficient: float = 0.02
    ) -> None:
        require("> 0", lr=lr, coefficient=coefficient)
        require("in [0, 1)", momentum=momentum)
        require(">= 0", weight_decay=weight_decay)
        super().__init__(
            params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "coefficient": coefficient}
        )

    def _move(self, group: dict) -> None:
        weights, grads, velocities = gathered(self, group, "velocity")
        if weights:
            decay = group["weight_decay"]
            norms = torch.stack(torch._foreach_norm(weights))
            denominators = (torch.stack(torch._foreach_norm(grads)) + decay * norms) / group["coefficient"]
            steps = torch._foreach_add(grads, weights, alpha=decay)
            torch._foreach_mul_(steps, ratios(weights, denominators))
            torch._foreach_mul_(velocities, group["momentum"])
            torch._foreach_add_(velocities, steps, alpha=group["lr"])
            torch._foreach_sub_(weights, velocities)


class Lamb(FirstOrder):
    """Adam with decay, each tensor's step brought to the norm of its weights (You et al., 2020).

    r = (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay w;  w -= lr (|w| / |r|) r,  m and v as in Adam

    Args:
        lr: learning rate, > 0.
        betas: decay of the mean and of the mean square, in [0, 1). Paper: 0.9, 0.999.
        eps: added to the root, > 0. Paper: 1e-6.
        weight_decay: >= 0. Paper: 0.01.
    Errors: ValueError. Source: arXiv:1904.00962, algorithm 2, with phi(x) = x. Differs from the paper: |w| / |r| is 1 where either
    is 0. As there, each tensor is a layer of its own, biases too; what stands in a group of weight_decay 0 keeps its ratio.
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
        require("> 0", lr=lr, eps=eps)
        require(">= 0", weight_decay=weight_decay)
        require("in [0, 1)", betas=betas)
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay, "step": 0})

    def _move(self, group: dict) -> None:
        group["step"] += 1
        weights, grads, means, squares = gathered(self, group, "mean", "square")
        if weights:
            track(means, squares, grads, group["betas"])
            first, second = (1 - beta ** group["step"] for beta in group["betas"])
            roots = torch._foreach_sqrt(squares)
            torch._foreach_div_(roots, second**0.5)
            torch._foreach_add_(roots, group["eps"])
            torch._foreach_mul_(roots, first)
            steps = torch._foreach_div(means, roots)
            torch._foreach_add_(steps, weights, alpha=group["weight_decay"])
            torch._foreach_mul_(steps, ratios(weights, torch.stack(torch._foreach_norm(steps))))
            torch._foreach_add_(weights, steps, alpha=-group["lr"])


class Ftrl(FirstOrder):
    """Follow the proximally regularised leader, with a rate for each weight (McMahan et al., 2013).

    n += g^2;  c' = (beta + sqrt(n)) / lr;  z += g - (c' - c) w;  c = c';  w = -(z - clip(z, -l1, l1)) / (c + l2)
    Without penalties this is w -= lr g / (beta + sqrt(n)), Adagrad; with l1, weights become exactly 0.

    Args:
        lr: alpha, > 0. Paper: depends on the data.
        beta: > 0. Paper: 1.
        l1_strength: of the penalty l1 |w|, >= 0; once, not once an update.
        l2_strength: of the penalty l2 w^2 / 2, >= 0; once, not once an update.
    Errors: ValueError. Source: McMahan et al., KDD 2013, algorithm 1. Differs from the paper: weights start where init put them, so
    c starts as beta / lr and z as -c w (the paper's z = 0 where w = 0); c is kept, so that a change of lr does not move the weights.
    """

    def __init__(
        self, params, *, lr: float = 0.1, beta: float = 1.0, l1_strength: float = 0.0, l2_strength: float = 0.0
    ) -> None:
        require("> 0", lr=lr, beta=beta)
        require(">= 0", l1_strength=l1_strength, l2_strength=l2_strength)
        super().__init__(params, {"lr": lr, "beta": beta, "l1_strength": l1_strength, "l2_strength": l2_strength})

    def _move(self, group: dict) -> None:
        if group["lr"] == 0:
            return  # an infinite curvature: nothing moves
        new = [weight for weight in group["params"] if weight.grad is not None and weight not in self.state]
        weights, grads, squares, curvatures, leaders = gathered(self, group, "square_sum", "curvature", "z")
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
            kept = torch._foreach_clamp_min(leaders, -group["l1_strength"])
            torch._foreach_clamp_max_(kept, group["l1_strength"])
            torch._foreach_sub_(kept, leaders)
            torch._foreach_div_(kept, grown)
            torch._foreach_copy_(weights, kept)
