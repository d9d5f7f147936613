"""Dry run on two samples before the run directory is made."""

import copy

import torch
from omegaconf import DictConfig
from torch import Tensor

from trainer.base.errors import ConfigError
from trainer.base.metrics import score_of
from trainer.base.protocols import UsesClock
from trainer.config.hydra_context import Invocation
from trainer.engine.contracts import (
    as_config_error,
    is_own,
    require_batch,
    require_indices,
    require_kind,
    require_losses,
    require_multiplier,
    require_outputs,
)
from trainer.engine.run import Run


@torch.no_grad()
def dry_run(run: Run, cfg: DictConfig, invocation: Invocation) -> None:
    """Send two samples along the path of a batch. Errors: ConfigError where parts do not fit."""
    rng = torch.Generator(run.device)
    rng.manual_seed(0)
    images, targets = run.train.batch(torch.arange(min(2, len(run.train)), device=run.device))
    names = [*(f"aug={name}" for name in cfg.aug), *(f"reg={name}" for name in cfg.reg.get("batch", {}))]
    for name, transform in zip(names, (*run.aug, *run.slots.batch)):
        with as_config_error(name, invocation, "aug", transform):
            if isinstance(transform, UsesClock):
                transform.begin(run.clock)
            batch = transform(images, targets, rng)
        require_batch(batch, images, targets, transform, name)
        images, targets = batch
    require_finite_outputs(run, images, targets, invocation)
    evaluation = {"step": 1, "epoch": 1, "loss": 1.0, score_of(run.data.task).name: 0.0}
    for name, stop in zip(cfg.reg.get("stop", {}), run.slots.stop):
        with as_config_error(f"reg={name}", invocation, "reg.stop", stop):
            stop([evaluation])
    with as_config_error("tta", invocation, "tta", run.tta):
        views = run.tta(copy.deepcopy(run.model).eval(), images)
    require_kind(views, Tensor, "tta", run.tta, invocation.describe("tta"))
    for step in (0, max(run.clock.total_steps - 1, 0)):
        with as_config_error("sched", invocation, "sched", run.sched):
            multiplier = run.sched(run.clock.at(step))
        require_multiplier(multiplier, run.sched, invocation.describe("sched"))
    if is_own(run.sampler):
        require_order(run, rng, invocation)
    require_batches_of_two(run, images, invocation)


def require_order(run: Run, rng: torch.Generator, invocation: Invocation) -> None:
    """Check the sampler's order of an epoch. Errors: ConfigError."""
    with as_config_error("sampler", invocation, "sampler", run.sampler):
        indices = run.sampler(0, run.train.targets, run.progress.losses, rng)
    require_indices(indices, len(run.train), run.sampler, invocation.describe("sampler"))


def require_finite_outputs(run: Run, images: Tensor, targets: Tensor, invocation: Invocation) -> None:
    """Check that a fresh model's outputs are finite and have the targets' shape. Errors: ConfigError."""
    model, describe = copy.deepcopy(run.model).eval(), invocation.describe
    own = next((module for module in model.modules() if is_own(module)), model)
    try:
        with as_config_error("model", invocation, *(("model", own) if is_own(own) else ())):
            outputs = model(images)
    except (RuntimeError, ConfigError) as error:
        if is_own(own):
            raise
        shape, reason = run.data.input_shape, str(error.__cause__ or error).splitlines()[0]
        raise ConfigError(f"{describe('model')}: cannot take {describe('data')} of shape {shape} ({reason})") from error
    require_outputs(outputs, targets, own, describe("model"))
    # Fresh running statistics alone may overflow: training mode decides.
    if not outputs.isfinite().all() and not model.train()(images).isfinite().all():
        options = f"{describe('act')} with {describe('init')}"
        hint = "try norm=batch, init=auto, act=relu"
        raise ConfigError(f"{options}: the fresh model's outputs are not finite (NaN or Inf); {hint}")
    with as_config_error("loss", invocation, "loss", run.criterion):
        losses = run.criterion(outputs, targets)
    require_losses(losses, len(targets), run.criterion, describe("loss"))


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
