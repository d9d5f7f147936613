"""Activations, weights and gradients by layer: rows of statistics from a probe, and values for histograms."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from trainer.base.rng import derive
from trainer.engine.layer_statistics import activation_modules, named_weight_layers
from trainer.engine.probe import Batch
from trainer.engine.run import Run
from trainer.inspection.objective import differentiate, measuring

MOST_VALUES = 20_000  # of a layer that are kept, chosen at random


@dataclass(frozen=True, kw_only=True)
class Signal:
    """A layer with a weight matrix and the activation behind it, or either alone. None where a value is not known.

    Args:
        names: of the modules.
        kind: their classes.
        mean, std: of the activation, or of the outputs where none follows.
        dead: fraction of the units that pass on a gradient on under 1 % of the samples.
        saturated: fraction of the other outputs at which |f'| < 0.01.
        weight_std, weight_norm, grad_norm: of the weight matrix and of its gradient.
    """

    names: tuple[str, ...]
    kind: str
    mean: float | None = None
    std: float | None = None
    dead: float | None = None
    saturated: float | None = None
    weight_std: float | None = None
    weight_norm: float | None = None
    grad_norm: float | None = None

    @property
    def name(self) -> str:
        """The name of the first module."""
        return self.names[0] or "model"

    @property
    def offset(self) -> float | None:
        """The mean in standard deviations: 0 for outputs that are centred at zero."""
        return self.mean / self.std if self.mean is not None and self.std else None


def signals(record: Mapping, order: Sequence[str]) -> list[Signal]:
    """Return a row for each layer of a probe, in the order of the forward pass.

    Args:
        record: what a probe returns.
        order: names of the modules in the order of their calls.
    """
    places = {name: place for place, name in enumerate(order)}
    rows = [(places.get(row["name"], len(places)), row) for part in ("layers", "activations") for row in record[part]]
    norms = {name: row.get("norm") for name, row in record["parameters"].items()}
    found: list[Signal] = []
    for _, row in sorted(rows, key=lambda pair: pair[0]):
        name, kind, values = row["name"], row["kind"], {"mean": row.get("mean"), "std": row.get("std")}
        if "weight_std" in row:
            weight = norms.get(f"{name}.weight", norms.get(f"{name}.parametrizations.weight.original"))
            own = {"weight_std": row["weight_std"], "weight_norm": weight, "grad_norm": row.get("grad_norm")}
            found.append(Signal(names=(name,), kind=kind, **values, **own))
            continue
        values |= {"dead": row.get("dead"), "saturated": row.get("saturated")}
        if found and len(found[-1].names) == 1 and found[-1].weight_std is not None:
            before = found.pop()
            found.append(replace(before, names=(*before.names, name), kind=f"{before.kind} + {kind}", **values))
        else:
            found.append(Signal(names=(name,), kind=kind, **values))
    return found


@dataclass(frozen=True, kw_only=True)
class Values:
    """Values for histograms, up to 20,000 of each tensor, by the name of the module or the weight."""

    activations: dict[str, Tensor] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)
    gradients: dict[str, Tensor] = field(default_factory=dict)


def values_of(run: Run, batch: Batch) -> Values:
    """Return outputs of activations and of layers, weights, and gradients of the data's loss, on the probe's batch."""
    found = Values()
    rng = torch.Generator().manual_seed(derive(run.seed, "histograms"))

    def note(name: str) -> Callable:
        def hook(module: nn.Module, inputs: tuple, output: object) -> None:
            if isinstance(output, Tensor):
                found.activations[name] = some(output, rng)

        return hook

    watched = [*activation_modules(run.model), *named_weight_layers(run.model)]
    with measuring(run):
        handles = [module.register_forward_hook(note(name)) for name, module in watched]
        try:
            with run.autocast():
                outputs = run.model(batch[0])
        finally:
            for handle in handles:
                handle.remove()
        weights = {name: weight for name, weight in run.model.named_parameters() if weight.requires_grad}
        loss = run.criterion(outputs.float(), batch[1]).mean()
        for (name, weight), grad in zip(weights.items(), differentiate(loss, [*weights.values()])):
            found.weights[name], found.gradients[name] = some(weight, rng), some(grad, rng)
    return found


def some(values: Tensor, rng: torch.Generator) -> Tensor:
    """Return the values of a tensor, of many some at random, flat on the CPU in float32."""
    values = values.detach().flatten()
    if len(values) > MOST_VALUES:
        values = values[torch.randint(len(values), (MOST_VALUES,), generator=rng).to(values.device)]
    return values.float().cpu()


@dataclass(frozen=True, kw_only=True)
class Shift:
    """Change of a layer's activations since the fresh network, on the same samples; None where it is not known.

    Args:
        mean: change of the mean, in deviations of the fresh network's.
        std: deviation over that of the fresh network.
    """

    mean: float | None = None
    std: float | None = None


def shifts(before: Sequence[Signal], after: Sequence[Signal]) -> list[Shift]:
    """Return the shift of every layer of `after` (Ioffe & Szegedy, 2015, arXiv:1502.03167, section 2)."""
    earlier = {row.names: row for row in before}
    return [shift(earlier.get(row.names), row) for row in after]


def shift(before: Signal | None, after: Signal) -> Shift:
    """Return the shift of a layer."""
    if before is None or before.mean is None or not before.std or after.mean is None or after.std is None:
        return Shift()
    return Shift(mean=(after.mean - before.mean) / before.std, std=after.std / before.std)
