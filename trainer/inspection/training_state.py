"""Training state in memory: a measurement that trains the run's own model leaves the run as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from trainer.base.rng import preserved_generators
from trainer.engine.run import Run


@contextmanager
def preserved(run: Run) -> Iterator[None]:
    """Restore weights, buffers, gradients, modes, optimizer and random number generators to their state before.

    The optimizer is restored by its state_dict, as a run is that is resumed. What the progress, the averaging and the
    regularisers hold is not: train with copies of them.
    """
    optimizer = cloned(run.optimizer.state_dict())
    parameters = [(weight, weight.detach().clone(), weight.grad) for weight in run.model.parameters()]
    modules = [(module, module.training, *buffers_of(module)) for module in run.model.modules()]
    try:
        with preserved_generators(run.device):
            yield
    finally:
        with torch.no_grad():
            for weight, values, grad in parameters:
                weight.copy_(values)
                weight.grad = grad
            for module, training, buffers, values in modules:
                module.training = training
                module._buffers.update(buffers)
                for name, value in values.items():
                    buffers[name].copy_(value)
        run.optimizer.load_state_dict(optimizer)


def buffers_of(module: nn.Module) -> tuple[dict[str, Tensor | None], dict[str, Tensor]]:
    """Return the buffers that a module owns itself, and copies of their values."""
    buffers = dict(module._buffers)
    return buffers, {name: buffer.clone() for name, buffer in buffers.items() if buffer is not None}


def cloned(value: object) -> object:
    """Return nested containers with copies of their tensors."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: cloned(child) for key, child in value.items()}
    if isinstance(value, list):
        return [cloned(child) for child in value]
    return tuple(cloned(child) for child in value) if isinstance(value, tuple) else value
