"""From a node of the configuration to the object that it names: the only file that does this. No torch here."""

import inspect
from collections.abc import Callable

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from trainer.base.errors import ConfigError
from trainer.config import hydra_context
from trainer.config.hydra_context import word
from trainer.config.targets import allowed, locate, nested

OF_THE_RUN = ("optimizer.scale_lr", "optimizer.base_batch")  # keys of config.yaml that stand among an option's own


def task(cfg: DictConfig) -> object:
    """The job to do, with its `run(cfg)`."""
    return node(cfg, "task")()


def node(cfg: DictConfig, path: str) -> Callable:
    """What stands at a path of the configuration, as a callable that takes what the loop has and calls the class with the keys.

    Errors: ConfigError where `_target_` is not of the group's kind, or a key is not one of its fields.
    """
    here = OmegaConf.select(cfg, path)
    if not isinstance(here, DictConfig) or "_target_" not in here:
        raise ConfigError(f"{path}: no _target_ in it; it must name a class")
    libraries = allowed(hydra_context.overrides())
    for place, inner in nested(here, path):
        locate(inner._target_, place, path, libraries)
    known = locate(here._target_, path, path, libraries)
    here = OmegaConf.create(
        {
            key: value
            for key, value in OmegaConf.to_container(here, resolve=True).items()
            if f"{path}.{key}" not in OF_THE_RUN
        }
    )
    for _, inner in nested(here, path):
        inner["_partial_"] = True  # what a technique wraps is its own to make
    keys = [key for key in here if not key.startswith("_")]
    fields = inspect.signature(known).parameters
    for key in keys:
        if key not in fields:
            raise ConfigError(
                f"{path}.{key}: {known.__name__} has no field {key}; its fields: {', '.join(fields) or 'none'}"
            )
    made = instantiate(here, _partial_=True, _convert_="all")

    def build(*arguments: object, **more: object) -> object:
        try:
            return made(*arguments, **more)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{word(path)}: {error}") from error

    return build
