"""Probe: statistics of every layer on a fixed batch of training samples, which leave no trace in the run."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from trainer.base.classes import predicted_classes
from trainer.base.device import out_of_memory
from trainer.base.layers import is_norm, preserved_modes, stop_dropping, trained_parameters, weight_of
from trainer.base.protocols import FromTeacher
from trainer.base.rng import derive, preserved_generators, seed_default
from trainer.base.statistics import exact_type, norm
from trainer.config.rule import is_number
from trainer.engine.layer_statistics import (
    ActivationStatistics,
    OutputStatistics,
    activation_modules,
    mean_and_deviation,
    named_weight_layers,
    of_weights,
)
from trainer.engine.run import Run

SMALLEST, LARGEST = 32, 256  # samples
PART, FREE = 1 / 400, 5e6  # of the samples that a run sees, and multiply-adds, that a probe of its record may take
LARGE_SAMPLE = 2**16  # values of a sample from which a probe has no more samples than a batch
PARTS, NAMES = ("input", "parameters", "activations", "layers"), ("name", "kind")  # what is not a number in a probe

Batch = tuple[Tensor, Tensor]


def record_probe(run: Run) -> None:
    """Measure the layers for the record of a run, on no more samples than its length pays for.

    All probes together cost about as much as a hundredth of the steps, on any machine.
    """
    with unless_out_of_memory():
        batch = probe_batch(run, affordable(run, PART, FREE))
        run.progress.add_probe(probe(run, run.progress.step, batch))


def affordable(run: Run, part: float, free: float) -> int:
    """Return the samples that a measurement may take: a part of those that the run sees, or what costs next to nothing.

    Args:
        part: of the samples of all steps, each as often as it is seen.
        free: multiply-adds of a forward pass that are not worth counting.
    """
    known = next((found["multiply_adds"] for found in run.progress.probes if "multiply_adds" in found), None)
    return max(int(part * run.samples_seen), int(free / max(known or multiply_adds(run), 1)))


@torch.no_grad()
def multiply_adds(run: Run) -> int:
    """Return the multiply-adds of a sample in the dense layers and convolutions."""
    layers = OutputStatistics()
    with without_trace(run), run.autocast(), watched(run, layers):
        run.model.eval()(run.train.batch(run.random_samples("probe", 2))[0])
    return layers.multiply_adds


def probe(run: Run, step: int, batch: Batch | None = None) -> dict | None:
    """Return the statistics of the layers after a step, plain numbers; None where they do not fit into memory.

    The model is in training mode, but drops nothing; augmentations, averaging and label smoothing are left out.

    Keys: `step`, `samples`, `loss`; `multiply_adds` of a sample in the layers; `loss_in_batch`, the loss of a sample
    within the batch over that within half of it; `loss_in_evaluation`, behind the first step, of models with running
    statistics; `common`, the fraction of samples with the most common prediction; `input`, a mapping of `mean`, `std`;
    `grad_norm` of the data, `penalty` and `penalty_grad_norm`; lists of mappings by layer: `activations` (name, kind,
    mean, std, slope, the mean |f'|, dead, the fraction of units that pass on a gradient on under 1 % of the samples,
    and are off, saturated, the fraction of the other outputs at which |f'| < 0.01), `layers` with a weight matrix
    (name, kind, mean, std of the outputs, weight_std, grad_norm, grad_mean, the mean absolute gradient, and identical,
    whether all units have the same weights and gradients); and `parameters` by name (norm, sum of the weights).

    Args:
        batch: to measure on; None for that of `probe_batch`.
    """
    with unless_out_of_memory(), without_trace(run):
        return _measure(run, step, batch or probe_batch(run))
    return None


@contextmanager
def unless_out_of_memory() -> Iterator[None]:
    """Leave the block where it does not fit into memory."""
    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise


def probe_batch(run: Run, most: int = LARGEST) -> Batch:
    """Return training samples without augmentation, the same ones for a run: as many as a batch has, within limits."""
    size = max(min(run.batch_size, most, LARGEST), SMALLEST)
    if math.prod(run.data.input_shape) > LARGE_SAMPLE:
        size = min(size, max(run.batch_size, 2))
    return run.train.batch(run.random_samples("probe", size))


@contextmanager
def without_trace(run: Run) -> Iterator[None]:
    """Give modes, buffers and the state of the random number generators back as they were."""
    buffers = [(buffer, buffer.clone()) for buffer in run.model.buffers()]
    try:
        with preserved_modes(run.model), preserved_generators(run.device):
            seed_default(run.device, derive(run.seed, "probe"))
            yield
    finally:
        for buffer, values in buffers:
            buffer.copy_(values)


def _measure(run: Run, step: int, batch: Batch) -> dict:
    model, (images, targets) = run.model, batch
    averages = {"loss_in_evaluation": loss_in_evaluation(run, batch)} if step and has_running_statistics(model) else {}
    stop_dropping(model.train())  # which adds the batch to the running statistics
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    activations, layers = ActivationStatistics(), OutputStatistics()
    with torch.enable_grad(), run.autocast(), watched(run, layers, activations):
        outputs = model(images)
    with torch.enable_grad():
        outputs = outputs.float()
        losses = run.criterion(outputs, targets)
        loss = losses.mean()
        terms = [term for term in run.slots.loss if not isinstance(term, FromTeacher)]
        penalties = [penalty(model, images, outputs, targets) for penalty in terms]
        gradients = gradients_of(loss, weights, keep=bool(penalties))
        penalty_gradients = gradients_of(sum(penalties), weights) if penalties else {}
    used = [weight_of(layer) for layer in layers.layers]
    own = {weights[name]: grad for name, grad in gradients.items()}
    mean, std = mean_and_deviation(images)
    found = {
        "loss": loss,
        **averages,
        "multiply_adds": layers.multiply_adds,
        "loss_in_batch": loss_in_batch(run, losses.detach(), outputs.detach(), targets),
        "common": most_common(outputs, run.data.task),
        "input": {"mean": mean, "std": std},
        "grad_norm": norm(gradients.values()) if gradients else 0.0,
        "penalty": sum(penalties) if penalties else 0.0,
        "penalty_grad_norm": norm(penalty_gradients.values()) if penalty_gradients else 0.0,
        "activations": activations.found,
        "layers": [row | more for row, more in zip(layers.rows, of_weights(used, own))],
        "parameters": of_parameters(dict(trained_parameters(model, run.frozen))),
    }
    return {"step": step, "samples": len(targets), **numbers(found)}


@contextmanager
def watched(run: Run, layers: OutputStatistics, activations: ActivationStatistics | None = None) -> Iterator[None]:
    """Let statistics see the layers, and the activations that train, in the forward passes of a run's model."""
    handles = [module.register_forward_hook(layers.hook(name)) for name, module in named_weight_layers(run.model)]
    for name, module in activation_modules(run.model) if activations else ():
        if name not in run.frozen:
            handles.append(module.register_forward_pre_hook(activations.hook(name)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def loss_in_batch(run: Run, losses: Tensor, outputs: Tensor, targets: Tensor) -> Tensor | None:
    """Return the mean loss of half of a batch's samples within it, over that of them alone: 1, but for a sum."""
    half = len(targets) // 2
    return losses[:half].mean() / run.criterion(outputs[:half], targets[:half]).mean() if half else None


def of_parameters(weights: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return what tells whether a weight has moved: its norm, and its sum, which keeps the smallest change."""
    values = [weight.detach() for weight in weights.values()]
    sums = [each.sum(dtype=exact_type(each.device)) for each in values]
    norms = torch._foreach_norm(values) if values else []
    return {name: {"norm": size, "sum": total} for name, size, total in zip(weights, norms, sums)}


@torch.no_grad()
def loss_in_evaluation(run: Run, batch: Batch) -> Tensor:
    """Return the mean loss in evaluation mode, with the running statistics."""
    images, targets = batch
    with run.autocast():
        outputs = run.model.eval()(images)
    return run.criterion(outputs.float(), targets).mean()


def has_running_statistics(model: nn.Module) -> bool:
    """Return whether a norm of a model has other statistics in evaluation than in training."""
    return any(is_norm(module) and next(module.buffers(), None) is not None for module in model.modules())


def gradients_of(scalar: Tensor, weights: Mapping[str, Tensor], keep: bool = False) -> dict[str, Tensor]:
    """Return the gradient of a scalar by each weight that it depends on, by name.

    Args:
        keep: the graph, for another gradient.
    """
    if not isinstance(scalar, Tensor) or not scalar.requires_grad:
        return {}
    found = torch.autograd.grad(scalar, [*weights.values()], retain_graph=keep, allow_unused=True)
    return {name: grad for name, grad in zip(weights, found) if grad is not None}


def most_common(outputs: Tensor, task: str) -> Tensor | None:
    """Return the fraction of samples for which the most common class is predicted; None for regression."""
    if task == "regression":
        return None
    predicted = predicted_classes(outputs)
    return predicted.bincount().max() / len(predicted)


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
    by_type: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        by_type.setdefault(tensor.dtype, []).append(tensor.detach())
    values = {kind: iter(torch.stack(some).tolist()) for kind, some in by_type.items()}  # host sync, one a type
    return _with_numbers(found, values)


def _collect(found: object, tensors: list[Tensor]) -> None:
    if isinstance(found, Tensor):
        tensors.append(found)
    elif isinstance(found, dict | list):
        for child in found.values() if isinstance(found, dict) else found:
            _collect(child, tensors)


def _with_numbers(found: object, values: Mapping[torch.dtype, Iterator[float]]) -> object:
    if isinstance(found, dict):
        return {key: _with_numbers(child, values) for key, child in found.items()}
    if isinstance(found, list):
        return [_with_numbers(child, values) for child in found]
    value = float(next(values[found.dtype])) if isinstance(found, Tensor) else found
    return None if isinstance(value, float) and not math.isfinite(value) else value
