"""A claim of the lectures as a check, and what checks are made of: options of conf/, paths of optimizers, seeds."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from torch.optim import Optimizer

from trainer.base.layer_factory import LayerFactory
from trainer.base.rng import derive, preserved_generators, seed_default
from trainer.config import catalog
from trainer.config.hydra_context import Invocation
from trainer.config.instantiate import factory

CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Result of a check.

    Args:
        predicted: by the closed form of the claim.
        measured: on the project's own techniques.
        holds: whether the two agree.
    """

    predicted: str
    measured: str
    holds: bool


@dataclass(frozen=True)
class Claim:
    """A statement of the lectures, with its check.

    Args:
        number: Y1 to Y22.
        lectures: that make it.
        statement: in one line.
        check: a function whose arguments are what it tests, by default the project's own.
    """

    number: str
    lectures: str
    statement: str
    check: Callable[..., Finding]

    def measure(self, **replaced: object) -> Finding:
        """Do the check, with random numbers of its own.

        Args:
            replaced: arguments of the check, in place of the project's techniques.
        """
        with preserved_generators(CPU), torch.enable_grad():
            seed_default(CPU, derive(0, self.number))
            return self.check(**replaced)


@dataclass(frozen=True)
class Option:
    """Option of a group as a factory, with the keys that conf/ gives it: `Option("optimizer", "adam")(weights, lr=1)`.

    The file is read at each call.
    """

    group: str
    name: str

    def __call__(self, *arguments: object, **changes: object) -> object:
        node, path = OmegaConf.load(catalog.file(self.group, self.name)), self.group
        node = node[path] if path in node else node  # an option that also sets keys of other groups
        while "_target_" not in node:  # a regulariser: its slot, and its name
            (key,) = node
            node, path = node[key], f"{path}.{key}"
        cfg: DictConfig = OmegaConf.create()
        OmegaConf.update(cfg, path, node)
        return factory(cfg, path, Invocation(choices={self.group: self.name}))(*arguments, **changes)


def kit(act: Callable = Option("act", "relu"), norm: Option = Option("norm", "none")) -> LayerFactory:
    """Return the layers that a model is built of."""
    return LayerFactory(act, norm(), Option("pool", "max"))


def path_of(
    optimizer: Callable[[list[Tensor]], Optimizer],
    start: Tensor,
    loss: Callable[[Tensor], Tensor],
    steps: int,
    rate: Callable[[int], float] | None = None,
) -> Tensor:
    """Return the weights (steps + 1, ...) on an optimizer's path, from the start on.

    Args:
        rate: learning rate of each step, from 0; None for the optimizer's own.
    """
    weight = start.clone().requires_grad_()
    made, points, closure = optimizer([weight]), [start], closure_of(weight, loss)
    for step in range(steps):
        for group in made.param_groups if rate else ():
            group["lr"] = rate(step)
        made.step(closure)
        points.append(weight.detach().clone())
    return torch.stack(points)


def closure_of(weight: Tensor, loss: Callable[[Tensor], Tensor]) -> Callable[[], Tensor]:
    """Return a closure that differentiates a loss and returns it, as the loop gives it to an optimizer."""

    def closure() -> Tensor:
        weight.grad = None
        value = loss(weight)
        value.backward()
        return value.detach()

    return closure


def largest(difference: Tensor) -> float:
    """Return the largest absolute value."""
    return float(difference.detach().abs().max())
