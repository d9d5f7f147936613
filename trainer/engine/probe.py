"""Probe: statistics of every layer on a fixed batch of training samples, which leave no trace in the run."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from trainer.base.device import out_of_memory
from trainer.base.layers import drops_in_training, is_norm, stop_dropping, weight_layers, weight_of
from trainer.base.protocols import Calibrated
from trainer.base.rng import derive, preserved_generators, seed_default
from trainer.base.statistics import norm
from trainer.config.rule import is_number
from trainer.engine.run import Run

SMALLEST, LARGEST = 32, 256  # samples
LARGE_SAMPLE = 2**16  # values of a sample from which a probe has no more samples than a batch
FLAT = 0.01  # |f'| below which an activation passes on no gradient
SILENT = 1e-5  # |f| below which an activation is off
ACTIVE = 0.01  # fraction of the samples on which a unit that is not dead passes on a gradient
IDENTICAL = 1e-6  # of the largest weight: units that differ by less are the same
ACTIVATIONS = "torch.nn.modules.activation"  # the module of torch's own
PARTS, NAMES = ("input", "parameters", "activations", "layers"), ("name", "kind")  # what is not a number in a probe
JOINING = (nn.Softmax, nn.LogSoftmax, nn.Softmax2d, nn.MultiheadAttention)  # of those that mix units

Batch = tuple[Tensor, Tensor]


def probe(run: Run, step: int, batch: Batch | None = None) -> dict | None:
    """Return the statistics of the layers after a step, plain numbers; None where they do not fit into memory.

    The model is in training mode, but drops nothing; augmentations, averaging and label smoothing are left out.

    Keys: `step`, `samples`, `loss`; `loss_in_evaluation`, of models with running statistics; `common`, the fraction of
    samples with the most common prediction; `input`, a mapping of `mean`, `std`; `grad_norm` of the data, `penalty` and
    `penalty_grad_norm`; lists of mappings by layer: `activations` (name, kind, mean, std, slope, the mean |f'|, dead,
    the fraction of units that pass on a gradient on under 1 % of the samples, and are off, saturated, the fraction of
    the other outputs at which |f'| < 0.01), `layers` with a weight matrix (name, kind, mean, std of the outputs,
    weight_std, grad_norm, grad_mean, the mean absolute gradient, and identical, whether all units have the same weights
    and gradients); and `parameters` by name (norm, sum of the weights).

    Args:
        batch: to measure on; None for up to 256 samples, the same ones in every probe of a run.
    """
    try:
        with without_trace(run):
            return _measure(run, step, batch or probe_batch(run))
    except Exception as error:
        if not out_of_memory(error):
            raise
        return None


def probe_batch(run: Run) -> Batch:
    """Return the samples of a run's probes, without augmentation: as many as a batch has, within limits."""
    size = min(max(run.batch_size, SMALLEST), LARGEST)
    if math.prod(run.data.input_shape) > LARGE_SAMPLE:
        size = min(size, max(run.batch_size, 2))
    return run.train.batch(run.random_samples("probe", size))


@contextmanager
def without_trace(run: Run) -> Iterator[None]:
    """Give modes, buffers and the state of the random number generators back as they were."""
    modes = [(module, module.training) for module in run.model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in run.model.buffers()]
    try:
        with preserved_generators(run.device):
            seed_default(run.device, derive(run.seed, "probe"))
            yield
    finally:
        for buffer, values in buffers:
            buffer.copy_(values)
        for module, training in modes:
            module.training = training


def _measure(run: Run, step: int, batch: Batch) -> dict:
    model, (images, targets) = run.model, batch
    stop_dropping(model.train())
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    activations, layers = ActivationStatistics(), OutputStatistics()
    bent = [(name, module) for name, module in activation_modules(model) if name not in run.frozen]
    handles = [
        *(module.register_forward_pre_hook(activations.hook(name)) for name, module in bent),
        *(module.register_forward_hook(layers.hook(name)) for name, module in named_weight_layers(model)),
    ]
    try:
        with torch.enable_grad(), run.autocast():
            outputs = model(images)
    finally:
        for handle in handles:
            handle.remove()
    with torch.enable_grad():
        outputs = outputs.float()
        loss = run.criterion(outputs, targets).mean()
        penalties = [penalty(model, images, outputs, targets) for penalty in run.slots.loss]
        gradients = gradients_of(loss, weights)
        penalty_gradients = gradients_of(sum(penalties), weights) if penalties else {}
    own = {weights[name]: grad for name, grad in gradients.items()}
    found = {
        "loss": loss,
        "common": most_common(outputs, run.data.task),
        "input": {"mean": images.mean(), "std": images.std()},
        "grad_norm": norm(gradients.values()) if gradients else 0.0,
        "penalty": sum(penalties) if penalties else 0.0,
        "penalty_grad_norm": norm(penalty_gradients.values()) if penalty_gradients else 0.0,
        "activations": activations.found,
        "layers": [row | of_weight(weight_of(model.get_submodule(row["name"])), own) for row in layers.found],
        "parameters": {name: {"norm": w.norm(), "sum": w.double().sum()} for name, w in trained_parameters(run)},
    }
    if any(isinstance(buffer, Tensor) for module in model.modules() if is_norm(module) for buffer in module.buffers()):
        found["loss_in_evaluation"] = run.criterion(model.eval()(images).float(), targets).mean()
    return {"step": step, "samples": len(targets), **numbers(found)}


def trained_parameters(run: Run) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the parameters with their names, without those that are frozen, or were computed from the data."""
    model = run.model
    calibrated = [module for module in model.modules() if isinstance(module, Calibrated)]
    fixed = {id(weight) for module in calibrated for weight in module.parameters() if not weight.requires_grad}
    for name, weight in model.named_parameters():
        if id(weight) not in fixed and name not in run.frozen:
            yield name, weight


def gradients_of(scalar: Tensor, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the gradient of a scalar by each weight that it depends on, by name."""
    if not isinstance(scalar, Tensor) or not scalar.requires_grad:
        return {}
    found = torch.autograd.grad(scalar, [*weights.values()], retain_graph=True, allow_unused=True)
    return {name: grad for name, grad in zip(weights, found) if grad is not None}


def most_common(outputs: Tensor, task: str) -> Tensor | None:
    """Return the fraction of samples for which the most common class is predicted; None for regression."""
    if task == "regression":
        return None
    predicted = predicted_classes(outputs)
    return predicted.bincount().max() / len(predicted)


def predicted_classes(outputs: Tensor) -> Tensor:
    """Return the classes (N,) that outputs (N, K) mean: of a single output, 1 where it is above 0."""
    return outputs.argmax(1) if outputs.shape[1] > 1 else (outputs[:, 0] > 0).long()


def activation_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that may be activations: leaves without a weight matrix that neither normalise nor drop."""
    for name, module in model.named_modules():
        foreign = type(module).__module__.startswith("torch.nn.") and type(module).__module__ != ACTIVATIONS
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
            before = inputs[0].detach().clone().requires_grad_()
            with torch.enable_grad():
                after = type(module).forward(module, before.clone())  # one that works in place changes the copy
                if after.shape != before.shape or not after.requires_grad:
                    return  # it pools, or makes one value of several
                slopes = torch.autograd.grad(after.sum(), before, retain_graph=True)[0]
                if type(module).__module__ != ACTIVATIONS and mixes(after, before, slopes):
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


def of_activation(outputs: Tensor, slopes: Tensor) -> dict[str, Tensor]:
    """Return the statistics of an activation from its outputs and its slopes |f'|, both (B, D), (B, C, ...)."""
    flat, off = slopes < FLAT, outputs.abs() < SILENT
    passes = by_unit(~(flat & off))  # (B, units, places)
    dead = passes.any(2).float().mean(0) < ACTIVE
    living = flat & ~off
    return {
        "mean": outputs.mean(),
        "std": outputs.std(),
        "slope": slopes.mean(),
        "dead": dead.float().mean(),
        "saturated": living.float().mean(),
    }


def by_unit(values: Tensor) -> Tensor:
    """Return (B, D), (B, C, H, W) or tokens (B, T, D) as (B, units, places)."""
    if values.dim() == 3:
        return values.transpose(1, 2)
    return values.reshape(len(values), values.shape[1] if values.dim() > 1 else 1, -1)


class OutputStatistics:
    """Mean and deviation of the outputs of layers; `found` has a row for each call."""

    def __init__(self) -> None:
        self.found: list[dict] = []

    def hook(self, name: str) -> Callable:
        """Return the hook of a module."""

        def measure(module: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, Tensor):
                values = output.detach().float()
                self.found.append(
                    {"name": name, "kind": type(module).__name__, "mean": values.mean(), "std": values.std()}
                )

        return measure


def of_weight(weight: Tensor, gradients: Mapping[Tensor, Tensor]) -> dict[str, Tensor | float]:
    """Return the statistics of a layer's weight and of its gradient, 0 where the loss does not depend on it."""
    grad, values = gradients.get(weight, torch.zeros_like(weight)), weight.detach()
    same = [(each - each[:1]).abs().amax() <= IDENTICAL * each.abs().amax() for each in (values, grad)]
    return {
        "weight_std": values.std(correction=0),
        "grad_norm": grad.norm(),
        "grad_mean": grad.abs().mean(),
        "identical": same[0] & same[1] if len(values) > 1 else 0.0,
    }


def is_probe(value: object) -> bool:
    """Return whether a value that a checkpoint holds is built like a probe."""
    try:
        named = [*value["activations"], *value["layers"]]
        rows = [value["input"], *value["parameters"].values(), *named]
        rows.append({key: child for key, child in value.items() if key not in PARTS})
        leaves = [leaf for row in rows for key, leaf in row.items() if key not in NAMES]
        texts = [row[key] for row in named for key in NAMES]
    except (LookupError, TypeError, AttributeError):
        return False
    numeric = all(leaf is None or is_number(leaf) for leaf in leaves)
    return numeric and isinstance(value["step"], int) and all(isinstance(text, str) for text in texts)


def numbers(found: object) -> object:
    """Return nested lists and mappings with the numbers of their tensors; NaN and Inf become None."""
    tensors: list[Tensor] = []
    _collect(found, tensors)
    values = torch.stack([tensor.detach().double() for tensor in tensors]).tolist() if tensors else []  # host sync
    return _with_numbers(found, iter(values))


def _collect(found: object, tensors: list[Tensor]) -> None:
    if isinstance(found, Tensor):
        tensors.append(found)
    for child in found.values() if isinstance(found, Mapping) else found if isinstance(found, list) else ():
        _collect(child, tensors)


def _with_numbers(found: object, values: Iterator[float]) -> object:
    if isinstance(found, Mapping):
        return {key: _with_numbers(child, values) for key, child in found.items()}
    if isinstance(found, list):
        return [_with_numbers(child, values) for child in found]
    value = next(values) if isinstance(found, Tensor) else found
    return None if isinstance(value, float) and not math.isfinite(value) else value
