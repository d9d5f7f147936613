"""Cautious steps, around any optimizer."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Optimizer

from trainer.base.checks import require
from trainer.optimizer.base import Closure, Wrapper, decoupled_decay, evaluate_closure


class Cautious(Wrapper):
    """Cautious optimizer: only those parts of a step that agree with the gradient are taken (Liang et al., 2024).

    With u the step that the base would take, w - u, and g the gradient:
        mask = 1 where u g > 0, else 0;  w = w - u mask / max(mean(mask), floor), the mean over each tensor
    Decoupled weight decay is no part of u, as in C-AdamW; L2 regularisation by the gradient is. Where the base takes
    several gradients a step (SAM), g is the last one.

    Args:
        params: weights, or groups of them.
        base: makes the optimizer whose step is masked.
        lr: learning rate, > 0, or None for the base's own.
        floor: smallest mean of the mask that is divided by, in (0, 1]; 1 leaves the step unscaled. Authors' code: 1e-3.
    Errors: ValueError; also around an optimizer that holds weights of its own (lookahead, ranger, schedule_free, ftrl).
    Source: arXiv:2411.16085, algorithm 1. Differs from the paper: u is taken from the weights, and so is exact to the
    last digits of the weights, not of u; the paper adds a small number to the mean instead of the floor of its code.
    """

    def __init__(self, params, base: Callable[..., Optimizer], *, lr: float | None = None, floor: float = 1e-3) -> None:
        require("in (0, 1]", floor=floor)
        super().__init__(params, base, lr)
        if self.holds_weights:
            reason = "holds weights of its own, to which a masked step would be lost"
            raise ValueError(f"base={type(self.base).__name__} {reason}; try optimizer.base=adam")
        self.floor = floor

    def step(self, closure: Closure) -> Tensor:
        grads: dict[Tensor, Tensor] = {}

        def observed() -> Tensor:
            loss = evaluate_closure(closure)
            moving = [weight for group in self.param_groups for weight in group["params"] if weight.grad is not None]
            grads.update({weight: weight.grad.detach().clone() for weight in moving})  # the base may change them
            return loss

        starts = {weight: weight.detach().clone() for group in self.param_groups for weight in group["params"]}
        strengths = [group.get("weight_decay") for group in self.param_groups]
        decays = [decoupled_decay(group) for group in self.param_groups]
        try:
            for group, decay in zip(self.param_groups, decays):
                if decay:
                    group["weight_decay"] = 0.0
            loss = self.base.step(observed)
        finally:
            for group, decay, strength in zip(self.param_groups, decays, strengths):
                if decay:
                    group["weight_decay"] = strength
        for group, decay in zip(self.param_groups, decays):
            moved = [weight for weight in group["params"] if weight in grads]
            self._mask(moved, [starts[weight] for weight in moved], [grads[weight] for weight in moved], decay)
        return loss

    @torch.no_grad()
    def _mask(self, weights: list[Tensor], starts: list[Tensor], grads: list[Tensor], decay: float) -> None:
        """Take the base's steps back where they disagree with the gradients, scale the rest, and let weights decay."""
        if not weights:
            return
        steps = torch._foreach_sub(starts, weights)
        masks = [(product > 0).to(product.dtype) for product in torch._foreach_mul(steps, grads)]
        means = torch.stack([mask.mean() for mask in masks]).clamp(min=self.floor)
        torch._foreach_mul_(steps, masks)
        torch._foreach_div_(steps, list(means.unbind()))
        torch._foreach_mul_(starts, 1 - decay)
        torch._foreach_sub_(starts, steps)
        torch._foreach_copy_(weights, starts)
