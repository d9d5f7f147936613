"""Objects from nodes of the configuration: the only file that makes them. No torch here."""

import functools
import inspect
from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf

from trainer.base.errors import ConfigError, UserError
from trainer.base.origin import origin, reason
from trainer.base.signals import raise_received
from trainer.base.text import printable
from trainer.config import by_name, catalog, schema
from trainer.config.hydra_context import Invocation
from trainer.config.targets import LIBRARIES, NETWORKS, locate, require_fixed_values

# What the classes of a group are called with, before the keys of their YAML. A model's takes those that it names.
GIVEN = {"model": ("input_shape", "outputs", "kit"), "optimizer": ("params",), "averaging": ("model",)}


@dataclass(frozen=True, kw_only=True)
class Factory:
    """Callable that makes the object of a node: it takes the run's objects and adds the node's keys.

    Args:
        partial: the class with the keys.
        path: of the node in the configuration.
    Errors: ConfigError where the class refuses its arguments.
    """

    partial: functools.partial
    path: str
    invocation: Invocation

    @property
    def kind(self) -> type:
        """The class."""
        return self.partial.func

    def __call__(self, *arguments: object, **keywords: object) -> object:
        try:
            return self.partial(*arguments, **keywords)
        except UserError:
            raise
        except Exception as error:
            from trainer.base.device import out_of_memory

            if out_of_memory(error):
                raise
            if isinstance(error, ValueError) and not is_own(self.kind):  # of a field
                raise ConfigError(f"{self.invocation.describe(self.path)}: {error}") from error
            what = refused(self.partial, self.path, arguments, keywords)
            what = what or f"{origin(self.partial, error)} raises {reason(error)}"
            raise ConfigError(f"{self.invocation.describe(self.path)}: {printable(what)}") from error


def make_task(cfg: DictConfig, invocation: Invocation) -> object:
    """Return the task to execute."""
    return factory(cfg, "task", invocation)()


def factory(cfg: DictConfig, path: str, invocation: Invocation) -> Factory:
    """Return the factory of the object of a node.

    Keys of the node that conf/config.yaml sets, as data.train_samples, are the run's and not those of the class.
    Errors: ConfigError where `_target_` is not of the group's kind, or a key is not one of its fields.
    """
    raise_received()  # between any two parts of a run
    node = node_at(cfg, path)
    of_run = schema.keys(catalog.folder() / "config.yaml")
    values = {
        key: value for key, value in OmegaConf.to_container(node, resolve=True).items() if f"{path}.{key}" not in of_run
    }
    partial = instantiate(values, path, path, (*LIBRARIES, *invocation.allow))
    fields = inspect.signature(partial.func).parameters
    passed_on = by_name.takes_any(partial.func) and (
        is_own(partial.func) or partial.func.__module__.startswith("trainer.")
    )
    for key in partial.keywords:
        if key not in fields and not passed_on:  # libraries' classes pass over what they do not know
            listed = ", ".join(fields) or "none"
            name = origin(partial, method="__init__") if is_own(partial.func) else partial.func.__name__
            raise ConfigError(f"{path}.{key}: {name} has no field {key}; its fields: {listed}")
    return Factory(partial=partial, path=path, invocation=invocation)


def class_at(cfg: DictConfig, path: str, invocation: Invocation) -> type:
    """Return the class that a node names. Errors: as of `factory`."""
    return locate(node_at(cfg, path)["_target_"], path, path, (*LIBRARIES, *invocation.allow))


def node_at(cfg: DictConfig, path: str) -> DictConfig:
    """Return a node that names a class. Errors: ConfigError."""
    node = OmegaConf.select(cfg, path)
    if not isinstance(node, DictConfig) or "_target_" not in node:
        raise ConfigError(f"{path}: no _target_ in it; it must name a class")
    require_fixed_values(node, path)
    return node


def is_own(kind: type) -> bool:
    """Return whether a class is of the user's own package."""
    return kind.__module__.partition(".")[0] not in (*LIBRARIES, *NETWORKS)


def refused(partial: functools.partial, path: str, arguments: tuple, keywords: dict) -> str | None:
    """Return why a class cannot be called with what its group gives it and its keys; None where it can."""
    try:
        signature = inspect.signature(partial.func)
        signature.bind(*arguments, **partial.keywords, **keywords)
    except TypeError as error:
        given = GIVEN.get(path.partition(".")[0], ())
        first = ", ".join(("self", *given, *(f"{key}=..." for key in partial.keywords)))
        takes = f"{origin(partial, method='__init__')} takes {signature} ({error})"
        missing = str(error).startswith("missing a required argument")
        return f"{takes}; {'give it in its YAML' if missing else f'write def __init__({first})'}"
    return None


def instantiate(value: object, place: str, group: str, libraries: tuple[str, ...]) -> object:
    """Return a plain value in which every node with a `_target_` is a partial call of its class.

    A technique calls those that it holds itself. Errors: ConfigError for a class that the group does not allow, and for
    another key with an underscore.
    """
    if isinstance(value, list):
        return [instantiate(item, f"{place}.{index}", group, libraries) for index, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    fields = {
        key: instantiate(child, f"{place}.{key}", group, libraries) for key, child in value.items() if key != "_target_"
    }
    if "_target_" not in value:
        return fields
    known = locate(value["_target_"], place, group, libraries)
    if special := [key for key in fields if key.startswith("_")]:
        raise ConfigError(f"{place}.{special[0]}: no key of a technique; only _target_ begins with an underscore")
    return functools.partial(known, **fields)
