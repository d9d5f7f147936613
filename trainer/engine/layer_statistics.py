"""Statistics of activations, outputs and weights by layer, on the device, for a probe."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from trainer.base.layers import drops_in_training, is_norm, is_of_torch, weight_layers, weight_of

FLAT = 0.01  # |f'| below which an activation passes on no gradient
SILENT = 1e-5  # |f| below which an activation is off
ACTIVE = 0.01  # fraction of the samples on which a unit that is not dead passes on a gradient
IDENTICAL = 1e-6  # of the largest weight: units that differ by less are the same
ACTIVATIONS = "torch.nn.modules.activation"  # the module of torch's own
JOINING = (nn.Softmax, nn.LogSoftmax, nn.Softmax2d, nn.MultiheadAttention)  # of those that mix units


def activation_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that may be activations: leaves without a weight matrix that neither normalise nor drop."""
    for name, module in model.named_modules():
        foreign = is_of_torch(type(module)) and type(module).__module__ != ACTIVATIONS
        if foreign or isinstance(module, JOINING) or any(True for _ in module.children()):
            continue
        if is_norm(module) or drops_in_training(module) or any(weight.dim() > 1 for weight in module.parameters()):
            continue
        yield name, module


def named_weight_layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the dense layers and convolutions with a trainable weight, with their names."""
    known = {id(layer) for layer in weight_layers(model)}
    return [(name, module) for name, module in model.named_modules() if id(module) in known]


class ActivationStatistics:
    """Statistics of activations, taken before their forward pass; `found` has a row for each call."""

    def __init__(self) -> None:
        self.found: list[dict] = []

    def hook(self, name: str) -> Callable:
        """Return the hook of a module, which calls it once more on a copy of its input."""

        def measure(module: nn.Module, inputs: Sequence[Tensor]) -> None:
            if len(inputs) != 1 or not isinstance(inputs[0], Tensor) or not inputs[0].is_floating_point():
                return
            of_torch, before = type(module).__module__ == ACTIVATIONS, inputs[0].detach().requires_grad_()
            with torch.enable_grad():
                after = type(module).forward(module, before.clone())  # one that works in place changes the copy
                if after.shape != before.shape or not after.requires_grad:
                    return  # it pools, or makes one value of several
                slopes = torch.autograd.grad(after.sum(), before, retain_graph=not of_torch)[0]
                if not of_torch and mixes(after, before, slopes):
                    return  # it is a norm, or the like, of the user's own
            kind = type(module).__name__
            self.found.append({"name": name, "kind": kind, **of_activation(after.detach(), slopes.abs())})

        return measure


def mixes(after: Tensor, before: Tensor, slopes: Tensor) -> bool:
    """Return whether an output depends on more than the input at its own place, whose slopes are those of the sum.

    Slopes that are not finite do not tell: False.
    """
    if not slopes.isfinite().all():
        return False
    weights = torch.linspace(-1, 1, after.numel(), dtype=after.dtype, device=after.device).view_as(after)
    weighted = torch.autograd.grad((after * weights).sum(), before)[0]
    return not torch.allclose(
        weighted, weights * slopes, rtol=1e-3, atol=1e-4 * float(slopes.abs().amax().clamp(max=1))
    )


def of_activation(outputs: Tensor, slopes: Tensor) -> dict[str, Tensor | float]:
    """Return the statistics of an activation from its outputs and its slopes |f'|, both (B, D), (B, C, ...)."""
    flat = slopes < FLAT
    off = (outputs.abs() < SILENT).logical_and_(flat)
    always_off = by_unit(off).view(torch.uint8).amin(2)  # (B, units); of truth values `all` takes 100 times as long
    active = len(outputs) - always_off.sum(0)
    mean, std = mean_and_deviation(outputs)
    return {
        "mean": mean,
        "std": std,
        "slope": slopes.mean(),
        "dead": (active < ACTIVE * len(outputs)).float().mean(),
        "saturated": (flat.count_nonzero() - off.count_nonzero()) / flat.numel(),
    }


def mean_and_deviation(values: Tensor, correction: int = 1) -> tuple[Tensor, Tensor]:
    """Return the mean and the standard deviation of all values: those of torch, in a fifth of its time."""
    values = values if values.element_size() > 2 else values.float()
    mean, count = values.mean(), values.numel() - correction
    if count <= 0:
        return mean, torch.full_like(mean, math.nan)
    return mean, torch.linalg.vector_norm(values - mean) / math.sqrt(count)


def by_unit(values: Tensor) -> Tensor:
    """Return (B, D), (B, C, H, W) or tokens (B, T, D) as (B, units, places)."""
    if values.dim() == 3:
        return values.transpose(1, 2)
    return values.reshape(len(values), values.shape[1] if values.dim() > 1 else 1, -1)


class OutputStatistics:
    """Mean and deviation of the outputs of layers; `rows` has a row for each call, `layers` the module.

    `multiply_adds` are those of a sample in these layers.
    """

    def __init__(self) -> None:
        self.rows: list[dict] = []
        self.layers: list[nn.Module] = []
        self.multiply_adds = 0

    def hook(self, name: str) -> Callable:
        """Return the hook of a module."""

        def measure(module: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, Tensor):
                mean, std = mean_and_deviation(output.detach())
                self.rows.append({"name": name, "kind": type(module).__name__, "mean": mean, "std": std})
                self.layers.append(module)
                units = output.shape[-1 if isinstance(module, nn.Linear) else 1]
                self.multiply_adds += weight_of(module).numel() * output[0].numel() // units

        return measure


def of_weights(weights: Sequence[Tensor], gradients: Mapping[Tensor, Tensor]) -> list[dict[str, Tensor | float]]:
    """Return the statistics of the weights of layers and of their gradients, 0 where the loss does not depend on one.

    All units of a layer are compared only where the first and the last are the same.
    """
    values, known = [weight.detach() for weight in weights], [*gradients.values()]
    sizes = zip(*(torch._foreach_norm(known, order) for order in (2, 1))) if known else ()
    norms = dict(zip(gradients, sizes))
    rows = []
    for weight, each, suspicious in zip(weights, values, ends_alike(values)):
        grad, (norm, absolute) = gradients.get(weight), norms.get(weight, (0.0, 0.0))
        alike = [units_alike(one) for one in (each, grad) if one is not None] if suspicious else []
        rows.append(
            {
                "weight_std": mean_and_deviation(each, 0)[1],
                "grad_norm": norm,
                "grad_mean": absolute / each.numel(),
                "identical": torch.stack(alike).all() if alike else 0.0,
            }
        )
    return rows


def ends_alike(values: Sequence[Tensor]) -> list[bool]:
    """Return for each weight whether its first row and its last are nearly the same; False for a single row."""
    if not values:
        return []
    first, last = [each[0] for each in values], [each[-1] for each in values]
    gaps, sizes = (torch._foreach_norm(some, math.inf) for some in (torch._foreach_sub(first, last), first))
    near = torch.stack(gaps) <= 2 * IDENTICAL * torch.stack(sizes)
    return [alike and len(each) > 1 for alike, each in zip(near.tolist(), values)]  # host sync


def units_alike(values: Tensor) -> Tensor:
    """Return whether all rows of a weight or of its gradient are the same, but for rounding."""
    largest = torch.linalg.vector_norm(values - values[:1], math.inf)
    return largest <= IDENTICAL * torch.linalg.vector_norm(values, math.inf)
