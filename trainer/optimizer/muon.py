"""Muon, with AdamW for weights that are no hidden matrix."""

import torch
from torch import Tensor

from trainer.base.checks import require
from trainer.optimizer.base import FirstOrder, gather_state, matrices

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic, chosen by Jordan for the slope at 0


class Muon(FirstOrder):
    """Orthogonalised momentum (Jordan et al., 2024), and AdamW (Loshchilov & Hutter, 2019) for the rest.

    Hidden matrices:  b = m b + (1 - m) g,  u = (1 - m) g + m b (or b without nesterov),
        w = w - lr (weight_decay w + sqrt(max(1, rows / columns)) orthogonal(u))
    where orthogonal(U S V^T) is nearly U V^T, by ns_steps of a Newton-Schulz iteration. Kernels of convolutions are
    matrices with one row an output channel. Biases, norm scales and the last matrix, which gives the outputs, go to
    AdamW with a rate of their own; in a model of one layer these are all the weights.

    Args:
        params: weights, or groups of them, in the model's order.
        lr: learning rate of the matrices, > 0. Jordan: 0.02.
        momentum: m, in [0, 1). Jordan: 0.95.
        nesterov: take the momentum one step ahead. Jordan: yes.
        ns_steps: Newton-Schulz iterations, >= 1. Jordan: 5.
        weight_decay: a step multiplies the weights by 1 - lr weight_decay, in both parts, >= 0. Jordan: 0.
        adamw_lr: learning rate of the rest, > 0. Jordan: 3e-4.
        adamw_betas: AdamW's decay of the mean and of the mean square, each in [0, 1). Jordan: 0.9 and 0.95.
        adamw_eps: added to AdamW's root, >= 0. Jordan: 1e-10.
    Errors: ValueError. Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.
    Differs from the source: bfloat16 in the iteration on CUDA devices only; the first layer counts as hidden.
    """

    def __init__(
        self,
        params,
        *,
        lr: float = 0.02,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        weight_decay: float = 0.0,
        adamw_lr: float = 3e-4,
        adamw_betas: tuple[float, float] = (0.9, 0.95),
        adamw_eps: float = 1e-10,
    ) -> None:
        require("> 0", lr=lr, adamw_lr=adamw_lr)
        require("in [0, 1)", momentum=momentum)
        require(">= 1", ns_steps=ns_steps)
        require(">= 0", weight_decay=weight_decay, adamw_eps=adamw_eps)
        require("in [0, 1)", adamw_betas=adamw_betas)
        self.momentum, self.nesterov, self.ns_steps = momentum, nesterov, ns_steps
        self.betas, self.eps = adamw_betas, adamw_eps
        super().__init__(
            split_groups(params, lr, adamw_lr),
            {"weight_decay": weight_decay, "decoupled_weight_decay": True, "step": 0},
        )

    def _update(self, group: dict) -> None:
        if any(weight.grad is not None for weight in group["params"]):
            group["step"] += 1
            weights, directions = self._orthogonal(group) if group["orthogonal"] else self._adamw(group)
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(weights, directions, alpha=-group["lr"])

    def _orthogonal(self, group: dict) -> tuple[list[Tensor], list[Tensor]]:
        """Return the weights with a gradient and their orthogonal directions."""
        weights, grads, means = gather_state(self, group, "momentum")
        torch._foreach_lerp_(means, grads, 1 - self.momentum)
        ahead = torch._foreach_lerp(grads, means, self.momentum) if self.nesterov else means
        flat = [each.flatten(1) for each in ahead]
        directions: list[Tensor] = [None] * len(weights)
        for shape in dict.fromkeys(matrix.shape for matrix in flat):  # matrices of one shape are iterated together
            alike = [index for index, matrix in enumerate(flat) if matrix.shape == shape]
            scale = max(1, shape[0] / shape[1]) ** 0.5
            batch = orthogonalized(torch.stack([flat[index] for index in alike]), self.ns_steps)
            for index, direction in zip(alike, batch):
                directions[index] = direction.to(weights[index].dtype).view_as(weights[index]) * scale
        return weights, directions

    def _adamw(self, group: dict) -> tuple[list[Tensor], list[Tensor]]:
        """Return the weights with a gradient and their AdamW directions."""
        weights, grads, means, squares = gather_state(self, group, "mean", "square")
        torch._foreach_lerp_(means, grads, 1 - self.betas[0])
        torch._foreach_lerp_(squares, torch._foreach_mul(grads, grads), 1 - self.betas[1])
        roots = torch._foreach_sqrt(torch._foreach_div(squares, 1 - self.betas[1] ** group["step"]))
        torch._foreach_add_(roots, self.eps)
        return weights, torch._foreach_div(torch._foreach_div(means, 1 - self.betas[0] ** group["step"]), roots)


def split_groups(params, lr: float, adamw_lr: float) -> list[dict]:
    """Return groups for the hidden matrices and groups for the rest; a group's own keys stay with its weights."""
    params = list(params)
    groups = params if isinstance(params[0], dict) else [{"params": params}]
    groups = [{**group, "params": list(group["params"])} for group in groups]
    hidden = {id(weight) for weight in matrices(groups)[:-1]}
    found = []
    for group in groups:
        for orthogonal, rate in ((True, lr), (False, adamw_lr)):
            chosen = [weight for weight in group["params"] if (id(weight) in hidden) == orthogonal]
            if chosen:
                found.append({"lr": rate, **group, "params": chosen, "orthogonal": orthogonal})
    return found


def orthogonalized(matrices: Tensor, steps: int) -> Tensor:
    """Return nearly U V^T for each U S V^T of a batch (N, rows, columns).

    From norm 1, x = a x + (b x x^T + c (x x^T)^2) x.
    """
    a, b, c = COEFFICIENTS
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x
