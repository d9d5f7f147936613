"""The paths of a run's data and first weights, saved so that it can be resumed and evaluated from any folder.

overrides.txt has them as they were typed, config.yaml as absolute paths. No torch here.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from trainer.base.paths import expanded
from trainer.config.keys import ROLES, is_location, key_of
from trainer.config.quoting import quote, unquote

KEYS = [key for key in ROLES if is_location(key)]


def paths_in(config: Mapping) -> Iterator[tuple[str, str]]:
    """Yield the keys of a configuration that hold such a path, with their values."""
    for key in KEYS:
        group, _, name = key.partition(".")
        node = config.get(group)
        value = node.get(name) if isinstance(node, Mapping) else None
        if isinstance(value, str) and value != "???" and "${" not in value:
            yield key, value


def replaced(config: Mapping, paths: Mapping[str, str]) -> dict:
    """Return a configuration with other values of some keys, each in a group."""
    made = dict(config)
    for key, value in paths.items():
        group, _, name = key.partition(".")
        made[group] = {**made[group], name: value}
    return made


def absolute(config: Mapping) -> dict:
    """Return a configuration with the absolute paths of its data and first weights."""
    return replaced(config, {key: str(from_root(value)) for key, value in paths_in(config)})


def from_root(text: str) -> Path:
    """Return the absolute path that a text means in the current folder, without `..`."""
    path = expanded(text).absolute()
    return path.resolve() if ".." in path.parts else path


def moved(config: Mapping, overrides: Sequence[str]) -> dict:
    """Return a run's configuration with data that are no longer where they were, but lie below the current folder.

    Args:
        overrides: what was typed for the run.
    """
    found = {}
    for key, value in paths_in(config):
        here = from_root(typed_path(key, overrides) or Path(value).name)
        if not Path(value).exists() and here.exists():
            found[key] = str(here)
    return replaced(config, found)


def pinned(config: Mapping, overrides: Sequence[str]) -> Iterator[str]:
    """Yield an override with the absolute path of a run's data or first weights, where it now means another place.

    Args:
        config: the run's configuration.
        overrides: what was typed for the run.
    """
    for key, value in paths_in(config):
        typed = typed_path(key, overrides)
        here = Path(value).name if typed is None else typed  # without one, it is a folder's default
        if Path(value).is_absolute() and from_root(here) != Path(value):
            yield f"{key}={quote(value)}"


def typed_path(key: str, overrides: Sequence[str]) -> str | None:
    """Return the path that overrides give to a key; None where they do not."""
    return next((unquote(text.partition("=")[2]) for text in overrides if key_of(text) == key), None)
