"""What `_target_` may name: classes of the kind their group allows, in this project, torch and the libraries we chose."""

from collections.abc import Iterator
from importlib import import_module

import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from torch import nn

from trainer.errors import ConfigError

LIBRARIES = ("trainer", "torch", "torchvision", "pytorch_optimizer")
KINDS = {"model": nn.Module, "act": nn.Module, "pool": nn.Module, "reg.layer": nn.Module, "optimizer": torch.optim.Optimizer}
HOMES = {"bias": "init", "warmup": "sched"}  # groups whose classes stand in another group's file


def allowed(overrides: list[str]) -> tuple[str, ...]:
    """Packages that `_target_` may name: ours, and those of `allow=[...]` on the command line. Never a file's word."""
    typed = [OverridesParser.create().parse_override(text) for text in overrides if text.startswith("allow=")]
    return (*LIBRARIES, *(package for override in typed for package in override.value()))


def nested(here: DictConfig, path: str) -> Iterator[tuple[str, DictConfig]]:
    """Every node below that names a target of its own, in mappings and lists."""
    children = here.items_ex(resolve=True) if isinstance(here, DictConfig) else enumerate(here)
    for key, child in children:
        if OmegaConf.is_config(child):
            if isinstance(child, DictConfig) and "_target_" in child:
                yield f"{path}.{key}", child
            yield from nested(child, f"{path}.{key}")


def locate(target: str, place: str, group: str, libraries: tuple[str, ...]) -> type:
    """The class a `_target_` names, if it is of the kind its group allows.

    By object, not by name: a class of torch's reached by whatever path must be a module or an optimizer as the group says, and
    a technique must be defined in the group's own file of trainer/ or in an allowed package.
    Errors: ConfigError.
    """
    where = f"{place}._target_={target}"
    if not isinstance(target, str) or target.partition(".")[0] not in libraries:
        raise ConfigError(f"{where}: outside the allowed libraries ({', '.join(libraries)}); allow=[PACKAGE] on the command line adds one of your own")
    parts = target.split(".")
    try:
        found = import_module(parts[0])
    except ImportError as error:
        raise ConfigError(f"{where}: {parts[0]} cannot be imported ({error}); install it, or put its folder on PYTHONPATH") from error
    for end, part in enumerate(parts[1:], start=2):
        if not hasattr(found, part):
            try:
                import_module(".".join(parts[:end]))
            except ImportError:
                pass
        found = getattr(found, part, None)
    if not isinstance(found, type):
        raise ConfigError(f"{where}: no class of that name")
    home, kind = home_of(group), kind_of(group)
    root = found.__module__.partition(".")[0]
    if kind is not None and not issubclass(found, kind):
        raise ConfigError(f"{where}: must be a {kind.__module__.partition('.')[0]} {kind.__name__}, as {group} needs")
    if root not in libraries or (root in LIBRARIES and kind is None and not f"{found.__module__}.".startswith(f"{home}.")):
        raise ConfigError(f"{where}: must be a class of {home}, or of a package of yours in allow=[...]")
    return found


def kind_of(group: str) -> type | None:
    return next((kind for name, kind in KINDS.items() if f"{group}.".startswith(f"{name}.")), None)


def home_of(group: str) -> str:
    first = group.partition(".")[0]
    return f"trainer.{HOMES.get(first, first)}"
