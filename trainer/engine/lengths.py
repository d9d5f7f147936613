"""Lengths of a run: samples of a batch, steps and epochs, and the time between two checkpoints."""

from omegaconf import DictConfig

from trainer.base.clock import Clock, steps_of
from trainer.base.errors import ConfigError
from trainer.config.hydra_context import Invocation

ALL = "all"  # of the training samples


def samples_per_batch(cfg: DictConfig, samples: int, invocation: Invocation) -> int:
    """Return the batch size; all training samples where it is `full`.

    All of them, too, where they are fewer than a batch holds and either nobody typed its size, or somebody has asked
    for so few of them.
    """
    if cfg.batch_size == "full":
        return samples
    fixed = "batch_size" in invocation.typed_keys and cfg.data.get("train_samples", ALL) == ALL
    return cfg.batch_size if fixed else min(cfg.batch_size, samples)


def make_clock(cfg: DictConfig, samples: int, invocation: Invocation) -> Clock:
    """Return the time of a run over so many training samples. Errors: ConfigError where they do not fill a step."""
    batch_size = samples_per_batch(cfg, samples, invocation)
    per_step = batch_size * cfg.accumulate
    if batch_size > samples:
        data = f"the {samples} training samples of {invocation.describe('data')}"
        raise ConfigError(f"batch_size={batch_size}: larger than {data}; try batch_size=full")
    if per_step > samples:
        what = f"{cfg.accumulate} batches of {batch_size} are more than the {samples} training samples"
        raise ConfigError(f"accumulate={cfg.accumulate}: {what}; try accumulate={samples // batch_size}")
    steps = samples // per_step if cfg.drop_last else -(-samples // per_step)
    total = steps_of(cfg.epochs)
    return Clock(total_steps=steps * cfg.epochs if total is None else total, steps_per_epoch=steps)


def save_interval(every: str, clock: Clock) -> tuple[int | None, float]:
    """Return the steps between two checkpoints, or None and the seconds."""
    if every.endswith("min"):
        return None, 60 * float(every.removesuffix("min"))
    return clock.steps(every), 0.0
