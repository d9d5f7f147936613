"""Trying a run out on two samples before anything is written, and putting what a technique says against them into the user's words."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from omegaconf import DictConfig

from trainer.base.errors import ConfigError
from trainer.base.metrics import SCORE
from trainer.config.hydra_context import choice, word
from trainer.engine.run import Run


@contextmanager
def as_config_error(path: str) -> Iterator[None]:
    """What a technique says against its numbers or its input, with its name before it."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(f"{word(path)}: {error}") from error


@torch.no_grad()
def rehearse(parts: Run, cfg: DictConfig) -> None:
    """Send two samples down the path of a batch, so that what does not fit speaks up before a run directory is made."""
    rng = torch.Generator(parts.device)
    rng.manual_seed(0)
    images, targets = parts.train.batch(torch.arange(min(2, len(parts.train)), device=parts.device))
    names = [*(f"aug={name}" for name in cfg.aug), *(f"reg={name}" for name in cfg.reg.get("batch", {}))]
    for name, transform in zip(names, (*parts.aug, *parts.slots.batch)):
        with as_config_error(name):
            if hasattr(transform, "begin"):
                transform.begin(parts.clock)
            images, targets = transform(images, targets, rng)
    model = copy.deepcopy(parts.model).eval()
    try:
        outputs = model(images)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"model={choice('model')}: cannot take data={choice('data')} of shape {parts.data.input_shape} ({str(error).splitlines()[0]})"
        ) from error
    if (
        not outputs.isfinite().all() and not model.train()(images).isfinite().all()
    ):  # fresh running statistics alone may overflow
        raise ConfigError(
            f"act={choice('act')} with init={choice('init')}: the fresh model's outputs are no numbers; try norm=batch, init=auto, act=relu"
        )
    model.eval()
    if outputs.shape != targets.shape:
        raise ConfigError(
            f"model={choice('model')}: gives {tuple(outputs.shape)} where the targets are {tuple(targets.shape)}"
        )
    scoring = {"step": 1, "epoch": 1, "loss": 1.0, SCORE[parts.data.task]: 0.0}
    for name, stop in zip(cfg.reg.get("stop", {}), parts.slots.stop):
        with as_config_error(f"reg={name}"):
            stop([scoring])
    with as_config_error("tta"):
        parts.tta(model, images)
    last = len(parts.train) % parts.batch_size
    if 1 in (parts.batch_size, last) and not (parts.drop_last and parts.batch_size > 1):
        try:
            model.train()(images[:1])
        except ValueError:
            what = (
                "every batch" if parts.batch_size == 1 else f"the last batch of an epoch ({len(parts.train)} samples)"
            )
            raise ConfigError(
                f"batch_size={parts.batch_size}: {what} holds one sample, and norm={choice('norm')} needs two or more; try "
                + ("batch_size=2" if parts.batch_size == 1 else f"batch_size={parts.batch_size + 1}, drop_last=true")
            ) from None
