"""What the optimizers of this project stand on."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Optimizer

Closure = Callable[[], Tensor]


class FirstOrder(Optimizer):
    """A method that asks for the gradient once a step and then moves each group of weights with `_move`, unseen by autograd."""

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Tensor | None:
        loss = evaluated(closure) if closure else None
        for group in self.param_groups:
            self._move(group)
        return loss

    def _move(self, group: dict) -> None:
        raise NotImplementedError


def evaluated(closure: Closure) -> Tensor:
    """The loss, with the gradient in the weights."""
    with torch.enable_grad():
        return closure()


def weights_of(optimizer: Optimizer) -> list[Tensor]:
    return [weight for group in optimizer.param_groups for weight in group["params"]]
