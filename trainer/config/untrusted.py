"""What comes from elsewhere - a run's files, words for Hydra, names to print - and how much of it is taken. No torch here."""

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import yaml
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper

from trainer.base.errors import ConfigError, DataError
from trainer.base.text import did_you_mean, printable
from trainer.config.private_api import BASIC_LAUNCHER

MOST_BYTES, MOST_LEVELS = 1_000_000, 50  # of a run's config.yaml; ours have 5 kB and 4 levels
FUNCTIONS = ("now",)  # in ${name:...}; all others can reach the environment or make new configuration
GRID, SEARCH = (
    "hydra_plugins.trainer.GridSweeper",
    "hydra_plugins.trainer.OptunaSweeper",
)  # Hydra makes no plugin whose name begins otherwise
BASIC = (BASIC_LAUNCHER, GRID, SEARCH)
SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is 10 times as fast
LOGGING = {"version": 1, "root": {"level": "ERROR"}, "disable_existing_loggers": True}  # Hydra's `disabled`
HYDRA_WORDS = (
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
    "experimental_rerun": "--experimental-rerun runs what a pickle holds; resume=RUN goes on with a run",
    "config_path": "--config-path leads away from the decisions of train; --config-dir DIR adds options of your own",
    "config_name": "--config-name leads away from the decisions of train; experiment=NAME takes a recipe",
}


def quote(text: object) -> str:
    """A text as a value that Hydra reads back as it is: in quotes, with quotes, backslashes before them and references escaped."""
    plain = re.sub(r"(\\*)(\$\{)", lambda found: found[1] * 2 + "\\${", str(text))
    return "'" + re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), plain) + "'"


def unquote(text: str) -> str:
    """A typed value, its quotes taken off; one without quotes as it stands, whatever signs it has."""
    if len(text) < 2 or text[0] not in "'\"" or text[-1] != text[0]:
        return text
    return re.sub(rf"\\+(?={text[0]}|$)", lambda found: found[0][: len(found[0]) // 2], text[1:-1])


def has_resolver(text: str) -> bool:
    """Whether a text holds an interpolation that is more than a reference to another key, as ${oc.env:NAME}."""
    while found := re.search(r"\$\{([^${}:]*)(:[^${}]*)?\}", text):
        if found[2] is not None and found[1].strip() not in FUNCTIONS:
            return True
        text = text[: found.start()] + text[found.end() :]
    return "${" in text


def require_no_functions(text: str, where: str) -> None:
    """Errors: ConfigError. The value is not shown: only its name has been looked at."""
    if has_resolver(text):
        raise ConfigError(
            f"{printable(where)}: takes a value from the environment or a function, which no saved run may depend on; write the value itself"
        )


def require_one_line(text: str) -> None:
    """Errors: ConfigError for a word that overrides.txt could not hold, or that a terminal would obey."""
    if "\n" in text or printable(text) != text:
        raise ConfigError(
            f"{printable(text)!r}: a decision is one line of letters and signs, without control characters"
        )


def require_known_flags(flags: object) -> None:
    """Errors: ConfigError for flags of Hydra that run or read what nothing here has checked."""
    for name, why in FLAGS.items():
        if getattr(flags, name) is not None:
            raise ConfigError(why)


def require_known_hydra_word(key: str, text: str) -> None:
    """What may be said to Hydra itself: where to write, how to launch and to sweep. Errors: ConfigError."""
    if not key.startswith("hydra"):
        return
    if key not in HYDRA_WORDS and not (key.startswith(HYDRA_TREES) and "_target_" not in key):
        raise ConfigError(
            f"{text}: not a word of Hydra's that train takes; {did_you_mean(key, [*HYDRA_WORDS, 'hydra.launcher', 'hydra.sweeper'])}"
        )


def require_plain(composed: dict) -> None:
    """The whole configuration, unresolved, with Hydra's part of it: what files below --config-dir have put in. Errors: ConfigError."""
    require_safe_hydra(composed["hydra"])
    for path, value in leaves({key: value for key, value in composed.items() if key != "hydra"}):
        require_no_functions(str(value), path)


def require_safe_hydra(settings: dict) -> None:
    """Hold Hydra's composed settings to what they are without a user: no callbacks, no logging, only installed launchers and sweepers.

    Args:
        settings: the node `hydra`, unresolved.
    Errors: ConfigError. Hydra instantiates and calls what stands in these places before any code of ours runs.
    """
    if settings["callbacks"]:
        raise ConfigError("hydra.callbacks: train takes none; a task or a technique of your own does such work")
    for place in ("job_logging", "hydra_logging"):
        if settings[place] != LOGGING:
            raise ConfigError(f"hydra.{place}: cannot be changed; a run's run.log holds what it says")
    for place in ("launcher", "sweeper"):
        for path, value in leaves(settings[place], f"hydra.{place}"):
            if isinstance(value, str) and re.search(r"\$\{(?!hydra[.:])", value):
                raise ConfigError(
                    f"{path}: a launcher and a sweeper take plain values, no references; write the value itself"
                )
            if path.endswith("custom_search_space") and value is not None:
                raise ConfigError(f"{path}: would call a function that a word names; write the space as words")
    for path, value in leaves(settings, "hydra"):
        if path.endswith("._target_") and value not in BASIC and value not in plugins():
            raise ConfigError(
                f"{path}={printable(value)}: not an installed launcher or sweeper; choose one as hydra/launcher=NAME"
            )


def plugins() -> set[str]:
    found = [*Plugins.instance().discover(Launcher), *Plugins.instance().discover(Sweeper)]
    return {f"{plugin.__module__}.{plugin.__name__}" for plugin in found}


def leaves(node: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Every value of nested mappings and lists, with its full key."""
    if isinstance(node, dict | list):
        for key, child in node.items() if isinstance(node, dict) else enumerate(node):
            yield from leaves(child, f"{path}.{key}" if path else str(key))
    else:
        yield path, node


def read_yaml(path: Path) -> object:
    """A YAML file as plain values: no tags, no aliases, of limited size and depth, in one pass. Errors: DataError."""
    try:
        with path.open("rb") as file:
            source = file.read(MOST_BYTES + 1)
        if len(source) > MOST_BYTES:
            raise yaml.YAMLError(f"larger than {MOST_BYTES:,} bytes")
        open_nodes: list[list] = [[]]
        for event in yaml.parse(source, Loader=SafeLoader):
            if getattr(event, "anchor", None) is not None:  # an alias has one as well
                raise yaml.YAMLError("anchors and aliases are not taken")
            if getattr(event, "tag", None) is not None:
                raise yaml.YAMLError(f"tags are not taken: {event.tag}")
            if isinstance(event, yaml.ScalarEvent):
                open_nodes[-1].append(scalar(event.value, event.implicit[0]))
            elif isinstance(event, yaml.CollectionStartEvent):
                open_nodes.append([])
                if len(open_nodes) > MOST_LEVELS + 1:
                    raise yaml.YAMLError(f"nested deeper than {MOST_LEVELS} levels")
            elif isinstance(event, yaml.CollectionEndEvent):
                node = open_nodes.pop()
                open_nodes[-1].append(
                    dict(zip(node[::2], node[1::2])) if isinstance(event, yaml.MappingEndEvent) else node
                )
        if len(open_nodes[0]) > 1:
            raise yaml.YAMLError("holds more than one document")
        return open_nodes[0][0] if open_nodes[0] else None
    except (
        OSError,
        yaml.YAMLError,
        ValueError,
        TypeError,
    ) as error:  # ValueError: dates and numbers that are none; TypeError: a key that is a list
        reason = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
        raise DataError(f"{printable(path)}: cannot be read ({printable(reason)})") from None


@lru_cache(maxsize=10_000)
def scalar(text: str, plain: bool) -> object:
    """What stands for a word or a number, in quotes or plain, as PyYAML's safe loader reads it. Errors: yaml.YAMLError, ValueError."""
    loader = yaml.SafeLoader("")
    return loader.construct_object(yaml.ScalarNode(loader.resolve(yaml.ScalarNode, text, (plain, not plain)), text))
