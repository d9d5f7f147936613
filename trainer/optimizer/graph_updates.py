"""Updates of torch's optimizers by torch's own functions, in the form that a graph can hold: rates are tensors."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from trainer.base.statistics import exact_type
from trainer.optimizer.fused_step import has_step_of

SGD_KEYS = ("weight_decay", "momentum", "dampening", "nesterov", "maximize")
ADAM_KEYS = ("amsgrad", "weight_decay", "eps", "maximize")


@dataclass(frozen=True, kw_only=True)
class GroupUpdate:
    """Update of the weights of a group from their gradients.

    Args:
        kind: Sgd or Adam, as a function of weights, gradients, state, rate and settings.
        group: of the optimizer; its rate changes from step to step.
        weights: of the group.
        state: the optimizer's own tensors, lists by name in the order of the weights.
        rate: learning rate, a scalar that is filled before each step.
        settings: what else the group has, fixed.
    """

    kind: Callable
    group: Mapping
    weights: Sequence[Tensor]
    state: Mapping[str, Sequence[Tensor]]
    rate: Tensor
    settings: Mapping[str, object]

    def __call__(self) -> None:
        self.kind(self.weights, [weight.grad for weight in self.weights], self.state, self.rate, self.settings)

    def of(self, used: Collection[Tensor]) -> "GroupUpdate":
        """Return the update of those weights of the group that have a gradient."""
        places = [place for place, weight in enumerate(self.weights) if weight in used]
        state = {name: [values[place] for place in places] for name, values in self.state.items()}
        return replace(self, weights=[self.weights[place] for place in places], state=state)

    def tensors(self) -> list[Tensor]:
        """Return the tensors of the state."""
        return [tensor for values in self.state.values() for tensor in values]


def group_updates(optimizer: Optimizer) -> list[GroupUpdate] | None:
    """Return the updates of an optimizer's groups; None where it is no torch.optim.SGD, Adam or AdamW as they are.

    State that the first step would make is made here, zeros as there.
    """
    makers = {SGD: sgd_group, Adam: adam_group}  # AdamW differs from Adam in a setting
    make = next((make for kind, make in makers.items() if has_step_of(optimizer, kind)), None)
    if make is None:
        return None
    updates = [make(optimizer, group) for group in optimizer.param_groups]
    return None if None in updates else updates


def sgd_group(optimizer: Optimizer, group: dict) -> GroupUpdate | None:
    """Return the update of a group of SGD; None with dampening, whose first step is another."""
    weights, state = group["params"], {}
    if group["momentum"] and group["dampening"]:
        return None
    if group["momentum"]:
        for weight in weights:
            if optimizer.state[weight].get("momentum_buffer") is None:
                optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
        state["momentum_buffer"] = [optimizer.state[weight]["momentum_buffer"] for weight in weights]
    return group_update(update_by_sgd, group, state, SGD_KEYS)


def adam_group(optimizer: Optimizer, group: dict) -> GroupUpdate | None:
    """Return the update of a group of Adam or AdamW; None where its rates of decay are tensors."""
    weights = group["params"]
    if any(isinstance(beta, Tensor) for beta in group["betas"]):
        return None
    names = ["exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if group["amsgrad"] else [])]
    for weight in weights:
        if not optimizer.state[weight]:
            place = weight.device if group["capturable"] or group["fused"] else torch.device("cpu")
            optimizer.state[weight]["step"] = torch.zeros((), dtype=torch.float32, device=place)
            optimizer.state[weight] |= {name: torch.zeros_like(weight) for name in names}
    state = {name: [optimizer.state[weight][name] for weight in weights] for name in ("step", *names)}
    update = group_update(update_by_adam, group, state, ADAM_KEYS)
    beta1, beta2 = group["betas"]
    decoupled = group["decoupled_weight_decay"]
    return replace(update, settings={**update.settings, "beta1": beta1, "beta2": beta2, "decoupled": decoupled})


def group_update(kind: Callable, group: dict, state: Mapping, names: Sequence[str]) -> GroupUpdate:
    """Return the update of a group, with a rate of its own in float64: float32 would round it."""
    weights = group["params"]
    rate = torch.zeros((), dtype=exact_type(weights[0].device), device=weights[0].device)
    settings = {name: group[name] for name in names}
    return GroupUpdate(kind=kind, group=group, weights=weights, state=state, rate=rate, settings=settings)


def update_by_sgd(weights: Sequence[Tensor], grads: Sequence[Tensor], state: Mapping, rate: Tensor, settings: Mapping):
    """Make a step of SGD, momentum or Nesterov momentum, in place."""
    buffers = [*state.get("momentum_buffer", [None] * len(weights))]
    if settings["nesterov"]:  # for which torch adds the momentum to the gradients, in place
        grads = [grad.clone() for grad in grads]
    sgd([*weights], [*grads], buffers, lr=rate, has_sparse_grad=False, foreach=True, fused=False, **settings)


def update_by_adam(weights: Sequence[Tensor], grads: Sequence[Tensor], state: Mapping, rate: Tensor, settings: Mapping):
    """Make a step of Adam or AdamW, in place. The corrections 1 - beta^t are those of float64, as without a graph."""
    settings = dict(settings)
    decoupled = settings.pop("decoupled")
    steps = [step.to(rate.dtype) for step in state["step"]]
    adam(
        [*weights],
        [*grads],
        [*state["exp_avg"]],
        [*state["exp_avg_sq"]],
        [*state.get("max_exp_avg_sq", ())],
        steps,
        lr=rate,
        foreach=True,
        fused=False,
        capturable=True,  # the number of the step stays a tensor
        differentiable=False,
        has_complex=False,
        decoupled_weight_decay=decoupled,
        **settings,
    )
    for step, counted in zip(state["step"], steps):
        step.copy_(counted)
