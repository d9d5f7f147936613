"""Dry run on two samples before the run directory is made."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from omegaconf import DictConfig
from torch import Tensor

from trainer.base.errors import ConfigError
from trainer.base.metrics import score_of
from trainer.base.protocols import UsesClock
from trainer.config.hydra_context import Invocation
from trainer.engine.run import Run


@contextmanager
def as_config_error(path: str, invocation: Invocation) -> Iterator[None]:
    """Re-raise ValueError as ConfigError, prefixed with the option at a path of the configuration."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(f"{invocation.describe(path)}: {error}") from error


@torch.no_grad()
def dry_run(run: Run, cfg: DictConfig, invocation: Invocation) -> None:
    """Send two samples along the path of a batch. Errors: ConfigError where parts do not fit."""
    rng = torch.Generator(run.device)
    rng.manual_seed(0)
    images, targets = run.train.batch(torch.arange(min(2, len(run.train)), device=run.device))
    names = [*(f"aug={name}" for name in cfg.aug), *(f"reg={name}" for name in cfg.reg.get("batch", {}))]
    for name, transform in zip(names, (*run.aug, *run.slots.batch)):
        with as_config_error(name, invocation):
            if isinstance(transform, UsesClock):
                transform.begin(run.clock)
            images, targets = transform(images, targets, rng)
    require_finite_outputs(run, images, targets, invocation)
    evaluation = {"step": 1, "epoch": 1, "loss": 1.0, score_of(run.data.task).name: 0.0}
    for name, stop in zip(cfg.reg.get("stop", {}), run.slots.stop):
        with as_config_error(f"reg={name}", invocation):
            stop([evaluation])
    with as_config_error("tta", invocation):
        run.tta(copy.deepcopy(run.model).eval(), images)
    require_batches_of_two(run, images, invocation)


def require_finite_outputs(run: Run, images: Tensor, targets: Tensor, invocation: Invocation) -> None:
    """Check that a fresh model's outputs are finite and have the targets' shape. Errors: ConfigError."""
    model, describe = copy.deepcopy(run.model).eval(), invocation.describe
    try:
        outputs = model(images)
    except (RuntimeError, ValueError) as error:
        shape, reason = run.data.input_shape, str(error).splitlines()[0]
        raise ConfigError(f"{describe('model')}: cannot take {describe('data')} of shape {shape} ({reason})") from error
    # Fresh running statistics alone may overflow: training mode decides.
    if not outputs.isfinite().all() and not model.train()(images).isfinite().all():
        options = f"{describe('act')} with {describe('init')}"
        hint = "try norm=batch, init=auto, act=relu"
        raise ConfigError(f"{options}: the fresh model's outputs are not finite (NaN or Inf); {hint}")
    if outputs.shape != targets.shape:
        shapes = f"{tuple(outputs.shape)} where the targets are {tuple(targets.shape)}"
        raise ConfigError(f"{describe('model')}: gives outputs of shape {shapes}")


def require_batches_of_two(run: Run, images: Tensor, invocation: Invocation) -> None:
    """Check that no batch has one sample where a layer needs more, as batch norms do. Errors: ConfigError."""
    last = len(run.train) % run.batch_size
    if 1 not in (run.batch_size, last) or (run.drop_last and run.batch_size > 1):
        return
    try:
        copy.deepcopy(run.model).train()(images[:1])
    except ValueError:
        every = run.batch_size == 1
        which = "every batch" if every else f"the last batch of an epoch ({len(run.train)} samples)"
        hint = "try batch_size=2" if every else f"try batch_size={run.batch_size + 1}, drop_last=true"
        needs = f"{invocation.describe('norm')} needs two or more"
        raise ConfigError(f"batch_size={run.batch_size}: {which} holds one sample, and {needs}; {hint}") from None
