"""Base classes of the project's optimizers, and the computations that several of them share.

Contract of a step: an optimizer changes neither weights nor state before the closure's first evaluation has returned,
so that a closure that raises there (on_nan=skip) leaves both as they were.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector
from torch.optim import Optimizer

from trainer.base.checks import require
from trainer.base.hooks import needs_graph
from trainer.base.protocols import HasEvaluationPoint, WatchesModel

Closure = Callable[[], Tensor]


class FirstOrder(Optimizer):
    """Base class of optimizers with one gradient a step: evaluate the closure, then `_update` each group."""

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Tensor | None:
        loss = evaluate_closure(closure) if closure else None
        for group in self.param_groups:
            self._update(group)
        return loss

    def _update(self, group: dict) -> None:
        """Update the weights of a group from their gradients; autograd is off."""
        raise NotImplementedError


class Wrapper(Optimizer):
    """Base class of optimizers around an optimizer.

    Groups and state are the base's own, so that a learning rate written into the wrapper's groups reaches the base.

    Args:
        params: weights, or groups of them.
        base: makes the wrapped optimizer: (params, **settings) -> Optimizer, as an option of conf/optimizer becomes.
        lr: learning rate, > 0, or None for the base's own.
    Errors: ValueError.
    """

    def __init__(self, params, base: Callable[..., Optimizer], lr: float | None) -> None:
        if lr is None:
            self.base = base(params)
        else:
            require("> 0", lr=lr)
            self.base = base(params, lr=lr)
        super().__init__(self.base.param_groups, self.base.defaults)
        self._share_base()
        self.create_graph, self.holds_weights = needs_graph(self.base), holds_weights(self.base)

    def watch(self, model: nn.Module) -> None:
        if isinstance(self.base, WatchesModel):
            self.base.watch(model)

    def eval(self) -> None:
        if isinstance(self.base, HasEvaluationPoint):
            self.base.eval()

    def train(self) -> None:
        if isinstance(self.base, HasEvaluationPoint):
            self.base.train()

    def state_dict(self) -> dict:
        return self.base.state_dict()

    def load_state_dict(self, state: dict) -> None:
        self.base.load_state_dict(state)
        self._share_base()  # torch has replaced both

    def _share_base(self) -> None:
        self.param_groups, self.state = self.base.param_groups, self.base.state


def holds_weights(optimizer: Optimizer) -> bool:
    """Return whether the state of an optimizer holds weights that it writes into the model: other changes are lost.

    Its class says so by an attribute of this name.
    """
    return getattr(optimizer, "holds_weights", False)


def decoupled_decay(group: dict) -> float:
    """Return the fraction by which a step shrinks the weights of a group besides its update, as AdamW does.

    0 where the decay is part of the gradient or of the update: groups of optimizers say so, torch's by
    `decoupled_weight_decay`, those of pytorch_optimizer by `weight_decouple`. It is also 0 where the step has a size of
    its own beside lr, the `d` of Prodigy.
    """
    decouples = group.get("decoupled_weight_decay") or group.get("weight_decouple")
    if not decouples or "d" in group:
        return 0.0
    return group.get("weight_decay", 0.0) * (1.0 if group.get("fixed_decay") else group["lr"])


def evaluate_closure(closure: Closure) -> Tensor:
    """Return the loss; the gradient is then in the weights."""
    with torch.enable_grad():
        return closure()


def parameters_of(optimizer: Optimizer) -> list[Tensor]:
    """Return the weights of all groups, in order."""
    return [weight for group in optimizer.param_groups for weight in group["params"]]


def matrices(groups: Iterable[dict]) -> list[Tensor]:
    """Return the matrices and kernels among the weights of groups, in order.

    The key `decays` of a group tells (parameter_groups); without it, these are the weights of 2 or more dimensions.
    """
    return [weight for group in groups for weight in group["params"] if group.get("decays", weight.dim() > 1)]


def gather_state(optimizer: Optimizer, group: dict, *names: str) -> list[list[Tensor]]:
    """Return the weights of a group that have a gradient, the gradients, and the state under each name, at first 0."""
    weights = [weight for weight in group["params"] if weight.grad is not None]
    for weight in weights:
        if weight not in optimizer.state:
            optimizer.state[weight] |= {name: torch.zeros_like(weight) for name in names}
    grads = [weight.grad for weight in weights]
    return [weights, grads, *([optimizer.state[weight][name] for weight in weights] for name in names)]


def update_moments(means: list[Tensor], squares: list[Tensor], grads: list[Tensor], betas: tuple[float, float]) -> None:
    """Update Adam's running means in place: m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) g^2."""
    torch._foreach_lerp_(means, grads, 1 - betas[0])
    torch._foreach_mul_(squares, betas[1])
    torch._foreach_addcmul_(squares, grads, grads, 1 - betas[1])


def trust_ratios(weights: list[Tensor], denominators: Tensor) -> list[Tensor]:
    """Return |w| over a denominator for each tensor; 1 where either is 0, so that weights of 0 can move."""
    norms = torch.stack(torch._foreach_norm(weights))
    return list(torch.where((norms > 0) & (denominators > 0), norms / denominators, 1.0).unbind())


def require_few_parameters(optimizer: Optimizer, limit: int, need: str) -> None:
    """Limit the parameters of a method with an N x N matrix to what memory and time allow. Errors: ValueError."""
    count = sum(weight.numel() for weight in parameters_of(optimizer))
    if count > limit:
        size = f"at most {limit} parameters, the model has {count}"
        raise ValueError(f"{need} of N x N numbers: {size}; try optimizer=lbfgs or model=linear")


def require_one_rate(params: Iterable) -> None:
    """Refuse groups with factors on the learning rate, of a method that steps along one line. Errors: ValueError."""
    if any(isinstance(group, dict) and group.get("lr_factor", 1.0) != 1 for group in params):
        raise ValueError("has one learning rate for all layers; leave optimizer.head_lr and optimizer.layer_decay out")


def flat_gradient(weights: list[Tensor]) -> Tensor:
    """Return the gradients as one vector (N,), 0 for weights without one."""
    grads = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
    return parameters_to_vector(grads)


@torch.no_grad()
def add_direction(weights: list[Tensor], direction: Tensor, t: float | list[float]) -> None:
    """Add t times a vector (N,) to the weights, t a number or one for each weight.

    In place: torch's vector_to_parameters would make the weights views of the vector.
    """
    parts = direction.split([weight.numel() for weight in weights])
    for index, (weight, part) in enumerate(zip(weights, parts)):
        weight.add_(part.view_as(weight), alpha=t[index] if isinstance(t, list) else t)
