"""Checks of what comes from outside: files of a run, overrides for Hydra, names to print. No torch here."""

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import yaml
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper

from trainer.base.errors import ConfigError, DataError
from trainer.base.plain_files import read_plain
from trainer.base.text import did_you_mean, printable
from trainer.config.private_api import BASIC_LAUNCHER

MAX_BYTES, MAX_LEVELS = 1_000_000, 50  # of a run's config.yaml; ours have 5 kB and 4 levels
FUNCTIONS = ("now",)  # in ${name:...}; all others can reach the environment or make new configuration
# Hydra instantiates no plugin outside hydra_plugins.
GRID, SEARCH = "hydra_plugins.trainer.GridSweeper", "hydra_plugins.trainer.OptunaSweeper"
STACKED = "hydra_plugins.trainer.StackedLauncher"
BASIC = (BASIC_LAUNCHER, GRID, SEARCH, STACKED)
SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is 10 times as fast
LOGGING = {"version": 1, "root": {"level": "ERROR"}, "disable_existing_loggers": True}  # Hydra's `disabled`
HYDRA_KEYS = (
    "hydra.run.dir",
    "hydra.sweep.dir",
    "hydra.sweep.subdir",
    "hydra.job.name",
    "hydra.verbose",
    "hydra/launcher",
    "hydra/sweeper",
)
HYDRA_TREES = ("hydra.launcher.", "hydra.sweeper.")
FLAGS = {
    "experimental_rerun": "--experimental-rerun runs a pickle; write resume=RUN to continue a run",
    "config_path": "--config-path would replace the options of train; --config-dir DIR adds options of your own",
    "config_name": "--config-name would replace config.yaml; experiment=NAME chooses a recipe",
}


def has_resolver(text: str) -> bool:
    """Return whether a text holds an interpolation that is more than a reference to another key, as ${oc.env:NAME}."""
    while found := re.search(r"\$\{([^${}:]*)(:[^${}]*)?\}", text):
        if found[2] is not None and found[1].strip() not in FUNCTIONS:
            return True
        text = text[: found.start()] + text[found.end() :]
    return "${" in text


def require_no_functions(text: str, where: str) -> None:
    """Reject a value that a resolver computes. Errors: ConfigError, which does not show the value."""
    if has_resolver(text):
        raise ConfigError(
            f"{printable(where)}: takes a value from the environment or a function, on which no saved run may depend; "
            "write the value itself"
        )


def require_one_line(text: str) -> None:
    """Reject an override with line breaks, control characters or endless brackets. Errors: ConfigError."""
    if "\n" in text or printable(text) != text:
        raise ConfigError(f"{printable(text)[:200]!r}: an override must be one line without control characters")
    depth = 0
    for letter in text:
        depth += (letter in "[{(") - (letter in "]})")
        if depth > MAX_LEVELS:
            raise ConfigError(f"{text[:40]}...: nested deeper than {MAX_LEVELS} levels")


def require_known_flags(flags: object) -> None:
    """Reject flags of Hydra that run or read unchecked files. Errors: ConfigError."""
    for name, why in FLAGS.items():
        if getattr(flags, name) is not None:
            raise ConfigError(why)


def require_known_hydra_key(key: str, text: str) -> None:
    """Reject keys of Hydra itself but those of directories, launchers and sweepers. Errors: ConfigError."""
    if not key.startswith("hydra"):
        return
    if key not in HYDRA_KEYS and not (key.startswith(HYDRA_TREES) and "_target_" not in key):
        known = [*HYDRA_KEYS, "hydra.launcher", "hydra.sweeper"]
        raise ConfigError(f"{text}: not a key of Hydra that train accepts; {did_you_mean(key, known)}")


def require_plain(composed: dict) -> None:
    """Check a whole unresolved configuration, with the node of Hydra. Errors: ConfigError."""
    require_safe_hydra(composed["hydra"])
    for path, value in leaves({key: value for key, value in composed.items() if key != "hydra"}):
        require_no_functions(str(value), path)


def require_safe_hydra(settings: dict) -> None:
    """Reject callbacks, logging, and launchers and sweepers that are not installed: Hydra runs them before our code.

    Args:
        settings: the node `hydra`, unresolved.
    Errors: ConfigError.
    """
    if settings["callbacks"]:
        raise ConfigError("hydra.callbacks: train has no callbacks; write a task or a technique of your own")
    for place in ("job_logging", "hydra_logging"):
        if settings[place] != LOGGING:
            raise ConfigError(f"hydra.{place}: cannot be changed; the log of a run is its run.log")
    for place in ("launcher", "sweeper"):
        for path, value in leaves(settings[place], f"hydra.{place}"):
            if isinstance(value, str) and re.search(r"\$\{(?!hydra[.:])", value):
                raise ConfigError(f"{path}: must be a plain value, not a reference; write the value itself")
            if path.endswith("custom_search_space") and value is not None:
                raise ConfigError(f"{path}: would call any function by its name; write the search space as overrides")
    for path, value in leaves(settings, "hydra"):
        if path.endswith("._target_") and value not in BASIC and value not in plugins():
            raise ConfigError(
                f"{path}={printable(value)}: not an installed launcher or sweeper; choose one as hydra/launcher=NAME"
            )


def plugins() -> set[str]:
    """Return the names of the installed launchers and sweepers."""
    found = [*Plugins.instance().discover(Launcher), *Plugins.instance().discover(Sweeper)]
    return {f"{plugin.__module__}.{plugin.__name__}" for plugin in found}


def leaves(node: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Yield every value of nested mappings and lists, with its full key."""
    if isinstance(node, dict | list):
        for key, child in node.items() if isinstance(node, dict) else enumerate(node):
            yield from leaves(child, f"{path}.{key}" if path else str(key))
    else:
        yield path, node


def read_yaml(path: Path) -> object:
    """Return a YAML file as plain values: without tags and aliases, of limited size and depth. Errors: DataError."""
    try:
        source = read_plain(path, MAX_BYTES)
        open_nodes: list[list] = [[]]
        for event in yaml.parse(source, Loader=SafeLoader):
            if getattr(event, "anchor", None) is not None:  # an alias has one too
                raise yaml.YAMLError("anchors and aliases are not allowed")
            if getattr(event, "tag", None) is not None:
                raise yaml.YAMLError(f"tags are not allowed: {event.tag}")
            if isinstance(event, yaml.ScalarEvent):
                open_nodes[-1].append(scalar(event.value, event.implicit[0]))
            elif isinstance(event, yaml.CollectionStartEvent):
                open_nodes.append([])
                if len(open_nodes) > MAX_LEVELS + 1:
                    raise yaml.YAMLError(f"nested deeper than {MAX_LEVELS} levels")
            elif isinstance(event, yaml.CollectionEndEvent):
                node = open_nodes.pop()
                open_nodes[-1].append(
                    dict(zip(node[::2], node[1::2])) if isinstance(event, yaml.MappingEndEvent) else node
                )
        if len(open_nodes[0]) > 1:
            raise yaml.YAMLError("holds more than one document")
        return open_nodes[0][0] if open_nodes[0] else None
    # YAML raises a ValueError for a bad date, a TypeError for a list as key.
    except (OSError, yaml.YAMLError, ValueError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
        raise DataError(f"{printable(path)}: cannot be read ({printable(reason)})") from None


@lru_cache(maxsize=10_000)
def scalar(text: str, plain: bool) -> object:
    """Return the value of a scalar as PyYAML's safe loader reads it. Errors: yaml.YAMLError, ValueError."""
    loader = yaml.SafeLoader("")
    return loader.construct_object(yaml.ScalarNode(loader.resolve(yaml.ScalarNode, text, (plain, not plain)), text))
