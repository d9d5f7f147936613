"""Steps of the jobs' optimizers, each with its own settings: torch's kernel alone, where the optimizer is torch's own.

The state is the optimizer's, so that a checkpoint holds it as ever.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from trainer.engine.run import Run
from trainer.optimizer.momentum import Momentum, Nesterov


class JobOptimizer:
    """The optimizer of a job. Its first step here is its own, which makes its state; then come bare kernels.

    Args:
        run: the job's.
        weights: its trained parameters.
    """

    def __init__(self, run: Run, weights: Sequence[Tensor]) -> None:
        self.optimizer, self.weights = run.optimizer, weights
        self.has_kernel = has_kernel(run.optimizer, weights)
        self._places = {id(weight): place for place, weight in enumerate(weights)}
        self._kernels: list[tuple[dict, Sequence[int], Callable]] = []

    @property
    def needs_loss(self) -> bool:
        """True if the next step is the optimizer's own, which asks for the loss."""
        return not self._kernels

    def step(self, gradients: Sequence[Tensor | None], loss: Tensor | None) -> None:
        """Step at the learning rates of the groups, without a gradient of its own to record.

        Args:
            gradients: of the weights.
            loss: None for a step that does not need it.
        """
        if self._kernels:
            for group, places, kernel in self._kernels:
                kernel([gradients[place] for place in places], group["lr"])
            return

        def closure() -> Tensor:
            for weight, gradient in zip(self.weights, gradients):
                weight.grad = gradient
            return loss

        self.optimizer.step(closure)
        if self.has_kernel and not any(part is None for part in gradients):
            self._kernels = [self._kernel_of(group) for group in self.optimizer.param_groups]

    def _kernel_of(self, group: dict) -> tuple[dict, Sequence[int], Callable]:
        weights = group["params"]
        states = [self.optimizer.state[weight] for weight in weights]
        make = adam_kernel if isinstance(self.optimizer, Adam) else sgd_kernel
        return group, [self._places[id(weight)] for weight in weights], make(group, weights, states)


def has_kernel(optimizer: Optimizer, weights: Sequence[Tensor]) -> bool:
    """Return whether an optimizer is a fused one of torch, whose settings stay as they are, over all of the weights."""
    known = type(optimizer) in (SGD, Momentum, Nesterov, Adam, AdamW)
    plain = not (optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks)
    every = sum(len(group["params"]) for group in optimizer.param_groups) == len(weights)
    return known and plain and every and all(group.get("fused") for group in optimizer.param_groups)


def sgd_kernel(group: dict, weights: Sequence[Tensor], states: Sequence[dict]) -> Callable[[list[Tensor], float], None]:
    """Return the step of SGD for a group, of gradients and the learning rate."""
    names = ("momentum", "dampening", "nesterov", "weight_decay", "maximize")
    settings = {name: group[name] for name in names}
    velocities = [state["momentum_buffer"] for state in states] if group["momentum"] else []

    def step(gradients: list[Tensor], lr: float) -> None:
        torch._fused_sgd_(weights, gradients, velocities, lr=lr, is_first_step=False, **settings)

    return step


def adam_kernel(
    group: dict, weights: Sequence[Tensor], states: Sequence[dict]
) -> Callable[[list[Tensor], float], None]:
    """Return the step of Adam or AdamW for a group, of gradients and the learning rate."""
    settings = {name: group[name] for name in ("weight_decay", "eps", "maximize", "amsgrad")}
    settings |= dict(zip(("beta1", "beta2"), group["betas"]))
    kernel = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
    steps = [state["step"] for state in states]
    means, squares = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq"))
    largest = [state["max_exp_avg_sq"] for state in states] if group["amsgrad"] else []

    def step(gradients: list[Tensor], lr: float) -> None:
        torch._foreach_add_(steps, 1)
        kernel(weights, gradients, means, squares, largest, steps, lr=lr, **settings)

    return step
