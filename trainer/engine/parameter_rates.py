"""Learning rates by parameter, where the initialisation asks for them."""

from collections.abc import Callable, Mapping

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from trainer.base.errors import ConfigError
from trainer.base.hooks import needs_graph
from trainer.base.layers import parameter_groups
from trainer.base.protocols import ScalesRates, WatchesModel
from trainer.config.hydra_context import Invocation
from trainer.config.instantiate import factory

STEPS = 13  # RAdam begins as SGD for five; lookahead's own steps are the multiples of 5 or 6
SIZE = 0.01  # of the gradients in a trial
CURVATURE = 1e-6  # too little for those who do not look for it
CLOSE = 0.05  # of a ratio to a whole power of two, and of two steps to one another

MakeOptimizer = Callable[[list[dict]], torch.optim.Optimizer]


def with_factors_of_init(
    factors: Mapping[str, float], cfg: DictConfig, model: nn.Module, make: MakeOptimizer, invocation: Invocation
) -> Mapping[str, float]:
    """Return factors on the learning rate, by the names of parameters, times those of the initialisation.

    Args:
        make: makes the optimizer from groups.
    Errors: ConfigError where the initialisation scales rates, but does not know how for this optimizer.
    """
    init = factory(cfg, "init", invocation)()
    if not isinstance(init, ScalesRates):
        return factors
    if (degree := degree_of_steps(make)) is None:
        other = "neither proportional to a weight's gradient (SGD) nor independent of its size (Adam)"
        steps = f"the steps of {invocation.describe('optimizer')}, which are {other}"
        raise ConfigError(
            f"{invocation.describe('init')}: has no learning rates for {steps}; try optimizer=adam, optimizer=momentum"
        )
    names = {weight: name for name, weight in model.named_parameters()}
    own = {names[weight]: factor for weight, factor in init.rate_factors(model, degree).items() if factor != 1}
    return {name: factors.get(name, 1.0) * own.get(name, 1.0) for name in names.values()} if own else factors


def degree_of_steps(make: MakeOptimizer) -> int | None:
    """Return 1 for steps proportional to each weight's own gradients, 0 for steps independent of their size, else None.

    Found on two small matrices, whose gradients do not depend on them: in one trial those of a row are doubled, in
    another the weights. A step that depends on other rows, or on the weights, as of Muon, LARS or K-FAC, is neither.
    """
    gradients = torch.linspace(0.5, 1, 32, dtype=torch.float64).view(2, 4, 4) * SIZE
    gradients.view(-1)[::3] *= -1
    doubled = gradients.clone()
    doubled[:, 0] *= 2
    try:
        step = last_step(make, gradients, 0.1)
        of_doubled, of_other_weights = last_step(make, doubled, 0.1), last_step(make, gradients, 0.2)
    except Exception:  # it needs more of a model than gradients
        return None
    if not bool(step.abs().min() > 0) or not are_close(of_other_weights, step):
        return None
    if not are_close(of_doubled[:, 1:], step[:, 1:]):
        return None
    return next((degree for degree in (0, 1) if are_close(of_doubled[:, 0], 2**degree * step[:, 0])), None)


def last_step(make: MakeOptimizer, gradients: Tensor, size: float) -> Tensor:
    """Return the last of some steps of two matrices of weights of this size, (2, 4, 4).

    The gradients are those given, each a little larger or smaller from step to step; those who look for it find a
    curvature that joins all weights.
    Errors: ValueError where the optimizer differentiates the gradient; its own.
    """
    layers = nn.Sequential(*(nn.Linear(4, 4, bias=False, dtype=torch.float64) for _ in gradients))
    weights = [layer.weight for layer in layers]
    with torch.no_grad():
        for weight in weights:
            weight.copy_(torch.linspace(-size, size, 16).view(4, 4))
        start = sum(weight.sum() for weight in weights)
    optimizer, unit = make(parameter_groups(layers)), torch.eye(4, dtype=torch.float64)
    if needs_graph(optimizer):
        raise ValueError("differentiates the gradient")
    if isinstance(optimizer, WatchesModel):
        optimizer.watch(layers)
    for step in range(STEPS):
        changes = 1 + 0.1 * torch.arange(gradients.numel()).add(step).sin().view_as(gradients)

        def closure(gradients: Tensor = gradients * changes) -> Tensor:
            layers.zero_grad()
            linear = sum((layer(unit).T * gradient).sum() for layer, gradient in zip(layers, gradients))
            loss = linear + CURVATURE / 2 * (sum(weight.sum() for weight in weights) - start).square()
            loss.backward()
            return loss.detach()

        before = torch.stack([weight.detach().clone() for weight in weights])
        optimizer.step(closure)
    return torch.stack([weight.detach() for weight in weights]) - before


def are_close(steps: Tensor, others: Tensor) -> bool:
    """Return whether steps are equal up to a small fraction of them: weight decay may differ."""
    return bool(((steps - others).norm() <= CLOSE * others.norm()).item())
