"""Contracts of techniques: one line says which class broke that of its group, and how the group is called."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from trainer.base.device import out_of_memory
from trainer.base.errors import ConfigError, UserError
from trainer.base.metrics import SCORES
from trainer.base.origin import class_of, origin, reason
from trainer.base.text import printable
from trainer.config import instantiate
from trainer.config.hydra_context import Invocation
from trainer.data.splits import Split, Splits

BATCH = "(images, targets, rng) -> (images, targets)"
CALLS = {  # the hooks beyond these are in base/protocols.py
    "data": "__len__() and __getitem__(index) -> input, target, as a Dataset of torch; or load() -> Splits(train=Split("
    "images, targets), val=..., test=..., task=...) of trainer.data.splits",
    "preprocess": "fit(images) -> apply, apply(images) -> images",
    "model": "forward(images) -> outputs (B, K), a tensor",
    "init": "(model, images, targets, act) -> None",
    "bias": "(model, targets, criterion) -> None",
    "loss": "(outputs, targets) -> losses (B,), one of each sample",
    "optimizer": "step(closure), which begins with: with torch.enable_grad(): loss = closure()",
    "pretrain": "stages(network, images, targets) -> stages of trainer.pretrain.stage",
    "sched": "(now) -> multiplier of the learning rate, a float",
    "sampler": "(epoch, targets, losses, rng) -> indices (N,)",
    "aug": BATCH,
    "averaging": "update(model, now) -> None, evaluated(model) -> model",
    "tta": "(model, images) -> outputs (V, B, K)",
    "reg.model": "(model) -> model",
    "reg.batch": BATCH,
    "reg.loss": "(model, images, outputs, targets) -> penalty, a scalar tensor",
    "reg.gradient": "(model, now) -> None",
    "reg.weights": "(model, optimizer, now) -> None",
    "reg.stop": "(history) -> bool",
}
METHODS = {
    "data": "load",
    "pretrain": "stages",
    "preprocess": "fit",
    "model": "forward",
    "optimizer": "step",
    "averaging": "update",
}


def is_own(technique: object) -> bool:
    """Return whether a technique is of the user's own package."""
    return instantiate.is_own(class_of(technique))


def broken(where: str, group: str, technique: object, what: str) -> ConfigError:
    """Return the error of a technique that breaks the contract of its group.

    Args:
        where: the option as it is typed, as `aug=noise`.
        what: it does, as `returns a tuple`.
    """
    method = METHODS.get(group, "__call__")
    return ConfigError(f"{where}: {origin(technique, method=method)} {what}; its call is {CALLS[group]}")


@contextmanager
def as_config_error(
    path: str, invocation: Invocation, group: str | None = None, technique: object = None
) -> Iterator[None]:
    """Turn an error of a technique into a ConfigError, prefixed with the option at a path of the configuration.

    Args:
        group: of the technique that is called in the block, a key of CALLS; without it only a ValueError is turned.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        where = invocation.describe(path)
        if isinstance(error, ValueError) and (group is None or not is_own(technique)):
            raise ConfigError(f"{where}: {error}") from error
        if group is None or out_of_memory(error):
            raise
        what = f"{origin(technique, error)} raises {printable(reason(error))}"
        raise ConfigError(f"{where}: {what}; its call is {CALLS[group]}") from error


def shown(value: object) -> str:
    """Return the kind of a value in words: `a tensor of shape (2, 3)`, `a tuple`."""
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"


def require_splits(data: object, technique: object, where: str) -> None:
    """Check what a data set has loaded. Errors: ConfigError."""
    if not isinstance(data, Splits):
        raise broken(where, "data", technique, f"loads {shown(data)}")
    for name in ("train", "val", "test"):
        split = getattr(data, name)
        if not isinstance(split, Split):
            raise broken(where, "data", technique, f"has {shown(split)} as {name}")
        targets = split.targets
        if not isinstance(targets, Tensor) or targets.dim() != 2 or not targets.is_floating_point():
            kind = f" of {str(targets.dtype).removeprefix('torch.')}" if isinstance(targets, Tensor) else ""
            what = f"has {shown(targets)}{kind} as targets of {name}, where (N, K) floats are needed (one-hot classes)"
            raise broken(where, "data", technique, what)
        if len(split.images) != len(targets):
            counts = f"has {len(split.images)} images and {len(targets)} targets in {name}"
            raise broken(where, "data", technique, counts)
    if data.task not in SCORES:
        raise broken(where, "data", technique, f"has task={data.task!r}, which must be one of {', '.join(SCORES)}")


def require_outputs(outputs: object, targets: Tensor, technique: object, where: str) -> None:
    """Check the outputs of a model on samples with these targets (B, K). Errors: ConfigError."""
    if not isinstance(outputs, Tensor):
        raise broken(where, "model", technique, f"returns {shown(outputs)}")
    if outputs.shape != targets.shape:
        shapes = f"gives outputs of shape {tuple(outputs.shape)} where the targets are {tuple(targets.shape)}"
        raise broken(where, "model", technique, shapes)


def require_losses(losses: object, count: int, technique: object, where: str) -> None:
    """Check what a loss has made of so many samples. Errors: ConfigError."""
    if not isinstance(losses, Tensor) or losses.shape != (count,):
        hint = ", the mean over the batch?" if isinstance(losses, Tensor) and losses.dim() == 0 else ""
        raise broken(where, "loss", technique, f"returns {shown(losses)} for {count} samples{hint}")


def require_batch(batch: object, images: Tensor, targets: Tensor, technique: object, where: str) -> None:
    """Check what a transform has made of images and targets. Errors: ConfigError."""
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise broken(where, "aug", technique, f"returns {shown(batch)}")
    for value, before, name in zip(batch, (images, targets), ("images", "targets")):
        same = isinstance(value, Tensor) and value.dim() == before.dim() and len(value) == len(before)
        if not same or (name == "targets" and value.shape != before.shape):
            what = f"returns {shown(value)} as {name}, where they were {tuple(before.shape)}"
            raise broken(where, "aug", technique, what)


def require_multiplier(value: object, technique: object, where: str) -> None:
    """Check what a schedule has returned. Errors: ConfigError."""
    try:
        float(value)
    except (TypeError, ValueError, RuntimeError):
        raise broken(where, "sched", technique, f"returns {shown(value)}") from None


def require_indices(indices: object, count: int, technique: object, where: str) -> None:
    """Check the order of an epoch of so many samples. Errors: ConfigError."""
    integers = isinstance(indices, Tensor) and indices.dim() == 1 and indices.dtype in (torch.int64, torch.int32)
    if not integers or len(indices) != count:
        raise broken(where, "sampler", technique, f"returns {shown(indices)} for {count} samples")
    if count and not 0 <= int(indices.min()) <= int(indices.max()) < count:
        raise broken(where, "sampler", technique, f"returns indices beyond 0 and {count - 1}")


def require_kind(value: object, kind: type, group: str, technique: object, where: str) -> None:
    """Check the class of what a technique has returned. Errors: ConfigError."""
    if not isinstance(value, kind):
        raise broken(where, group, technique, f"returns {shown(value)}")


def require_learning_rates(optimizer: torch.optim.Optimizer, where: str, by_layer: bool = False) -> None:
    """Check that the groups of an optimizer have a learning rate to set. Errors: ConfigError.

    Args:
        by_layer: each layer has a rate of its own, so that the groups must be those that were given.
    """
    if by_layer and any("lr_factor" not in group for group in optimizer.param_groups):
        what = "makes parameter groups of its own, and so one learning rate for all layers"
        raise ConfigError(f"{where}: {origin(optimizer)} {what}; leave optimizer.head_lr and optimizer.layer_decay out")
    if any("lr" not in group for group in optimizer.param_groups):
        hint = "write super().__init__(params, {'lr': lr})"
        raise ConfigError(f"{where}: {origin(optimizer)} has parameter groups without lr, which schedules set; {hint}")


def is_lazy(model: nn.Module) -> bool:
    """Return whether a model has parameters whose shapes its first forward pass decides (LazyLinear)."""
    lazy = torch.nn.parameter.UninitializedTensorMixin
    return any(isinstance(tensor, lazy) for tensor in (*model.parameters(), *model.buffers()))
