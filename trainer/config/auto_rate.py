"""The learning rate that is measured before the first step: optimizer.lr=auto. No torch here."""

import copy
from collections.abc import Iterator, Mapping

from omegaconf import DictConfig, OmegaConf

from trainer.base.errors import ConfigError
from trainer.base.text import as_typed
from trainer.config import catalog, schema
from trainer.config.rule import is_number
from trainer.config.schema import AUTO, RATE


def rates_in(node: Mapping, prefix: str = "optimizer") -> Iterator[tuple[str, object]]:
    """Yield the keys that hold a learning rate in the node of an optimizer, with their values; the outermost first."""
    if "lr" in node:
        yield f"{prefix}.lr", node["lr"]
    for name, child in node.items():
        if isinstance(child, Mapping):
            yield from rates_in(child, f"{prefix}.{name}")


def auto_key(cfg: Mapping) -> str | None:
    """Return the key that is `auto`; None where there is none.

    Errors: ConfigError where it has no effect, as that of an optimizer within another one that has a rate of its own.
    """
    given = [(key, value) for key, value in rates_in(cfg["optimizer"]) if value is not None]
    for place, (key, value) in enumerate(given):
        if value == AUTO and place:
            outer = f"{given[0][0]}={given[0][1]}"
            raise ConfigError(f"{key}=auto: {outer} takes its place; leave one of them out")
    return given[0][0] if given and given[0][1] == AUTO else None


def rate_key(cfg: Mapping, invocation_name: str) -> str:
    """Return the key of the learning rate to measure: the one that is `auto`, else the outermost one.

    Args:
        invocation_name: the optimizer as it is typed, for the message.
    Errors: ConfigError where the optimizer has none.
    """
    key = auto_key(cfg) or next((key for key, _ in rates_in(cfg["optimizer"])), None)
    if key is None:
        raise ConfigError(f"{invocation_name}: has no key lr, whose value could be measured; give it one in its YAML")
    return key


def with_rate(cfg: DictConfig, key: str, rate: float | None) -> DictConfig:
    """Return a configuration with another learning rate."""
    changed = copy.deepcopy(cfg)
    OmegaConf.update(changed, key, rate)
    return changed


def default_rate(cfg: Mapping, key: str, choices: Mapping[str, str | None]) -> float:
    """Return the usual learning rate of an optimizer, as its YAML has it; of one that wraps another, that one's.

    Args:
        choices: the option of every group, and of every key that holds one.
    """
    places = [key.rpartition(".")[0], *(other.rpartition(".")[0] for other, _ in rates_in(cfg["optimizer"]))]
    for place in places:
        path = catalog.file("optimizer", choices.get(place) or "")
        keys = schema.keys(path, place) if path.is_file() else {}
        for naming in [
            key for key in keys.values() if key.classes_of
        ]:  # the class has a rate where the option has none
            keys = {**keys, **schema.class_keys(naming, OmegaConf.select(cfg, naming.path))}
        known = keys.get(f"{place}.lr")
        if known and is_number(known.default):
            return known.default
    return 1e-3


def with_defaults(cfg: DictConfig, choices: Mapping[str, str | None]) -> DictConfig:
    """Return a configuration with the usual learning rate in place of `auto`: to build a run before it is measured."""
    key = auto_key(cfg)
    return cfg if key is None else with_rate(cfg, key, default_rate(cfg, key, choices))


def with_measured(cfg: DictConfig, saved: Mapping) -> DictConfig:
    """Return a configuration with the learning rate that a run has measured already, if it has.

    Args:
        saved: the run's own configuration.
    """
    key = auto_key(cfg)
    before = dict(rates_in(saved["optimizer"])).get(key) if key else None
    return with_rate(cfg, key, before) if is_number(before) else cfg


def describe(cfg: Mapping, key: str) -> str:
    """Return what the learning rate of a run is that was measured."""
    rate = as_typed(dict(rates_in(cfg["optimizer"]))[key])
    return f"{key}={rate}, measured before the first step (task=lr_find shows how)"


def notes_on_usual(cfg: Mapping, choices: Mapping[str, str | None]) -> list[str]:
    """Return a note for a task that takes the usual learning rate in place of `auto`; none where there is no `auto`."""
    if (key := auto_key(cfg)) is None:
        return []
    usual = as_typed(default_rate(cfg, key, choices))
    return [f"{key}=auto: only task=train measures it; here it is the usual {usual}"]


def is_auto(override: str) -> bool:
    """Return whether an override asks for a measured learning rate."""
    key, _, value = override.partition("=")
    return value == AUTO and bool(RATE.fullmatch(key))
