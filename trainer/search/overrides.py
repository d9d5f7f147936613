"""Overrides of a search, checked before anything is composed or imported."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec

from hydra.core.override_parser.types import Override

from trainer.base.errors import ConfigError
from trainer.base.text import did_you_mean
from trainer.config import catalog, schema
from trainer.config.untrusted import SEARCH
from trainer.search.space import spaces


def check_spaces(overrides: Sequence[Override]) -> None:
    """Check the keys and the spaces of a search; and that a grid has no interval. Errors: ConfigError."""
    if all(override.input_line != "hydra/sweeper=optuna" for override in overrides):
        for override in overrides:
            if override.is_interval_sweep():
                hint = "write range(...), or search it with train -m hydra/sweeper=optuna"
                raise ConfigError(f"{override.input_line}: a grid cannot list the values of an interval; {hint}")
        return
    if find_spec("optuna") is None:
        raise ConfigError("hydra/sweeper=optuna: needs Optuna; pip install 'trainer[optuna]'")
    known = keys()
    for override in overrides:
        if override.key_or_group.startswith("hydra.sweeper.") and override.key_or_group not in known:
            raise ConfigError(f"{override.key_or_group}: no such key; {did_you_mean(override.key_or_group, [*known])}")
    spaces(overrides)


def check_settings(settings: Mapping) -> None:
    """Check the composed node `hydra.sweeper`, where it is ours, against the rules of its YAML. Errors: ConfigError."""
    if settings.get("_target_") == SEARCH:
        for path, key in keys().items():
            key.require(settings[path.rpartition(".")[2]])


def keys() -> dict[str, schema.Key]:
    """Return the keys of a search, by their full path."""
    return schema.keys(catalog.folder() / "hydra" / "sweeper" / "optuna.yaml", "hydra.sweeper")
