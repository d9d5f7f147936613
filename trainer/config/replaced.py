"""Keys of an experiment for options that a command replaces by others, which have no such keys. No torch here."""

import copy
from collections.abc import Iterator, Mapping, Sequence

from omegaconf import DictConfig, OmegaConf, flag_override

from trainer.config import catalog
from trainer.config.keys import key_of
from trainer.config.quoting import unquote

Path = tuple[str, ...]


def without_replaced(cfg: DictConfig | Mapping, overrides: Sequence[str]) -> DictConfig | Mapping:
    """Return a configuration without the keys that an experiment sets for options of its own, not of the command.

    `experiment=X` sets `warmup.length` for its linear warm-up; behind `experiment=X warmup=none` the key is left out.
    A key that both options have stays.
    """
    left = replaced(cfg, overrides)
    if not left:
        return cfg
    made = copy.deepcopy(cfg)
    if not OmegaConf.is_config(made):
        remove(made, left)
        return made
    with flag_override(made, ["struct", "readonly"], False):
        remove(made, left)
    return made


def replaced(cfg: DictConfig | Mapping, overrides: Sequence[str]) -> list[Path]:
    """Return the paths of the keys that an experiment sets for options that a command replaces by others."""
    typed = {key_of(text): unquote(text.partition("=")[2]) for text in overrides}
    option = typed.get("experiment")
    if option not in catalog.options("experiment"):
        return []
    return [
        path
        for content in contents(option)
        for group in catalog.groups()
        if group in typed and isinstance(content.get(group), dict)
        for path in unknown(group, content[group], cfg[group], typed[group])
    ]


def contents(experiment: str) -> Iterator[dict]:
    """Yield what an experiment sets, and what those set that it begins with."""
    content = catalog.content(catalog.file("experiment", experiment))
    yield content
    for entry in content.get("defaults", []):
        if isinstance(entry, str) and entry in catalog.options("experiment"):
            yield from contents(entry)


def unknown(group: str, content: Mapping, node: Mapping, option: str) -> Iterator[Path]:
    """Yield the paths of what an experiment sets in a group and the group's options of a command do not have.

    Args:
        content: what the experiment sets.
        node: what the command has.
        option: that is typed for the group.
    """
    if group in catalog.MULTI_SELECT:
        for path, value in branches((group,), content):
            there = part_at(node, path[1:])
            if isinstance(there, Mapping | DictConfig) and "_target_" not in there and is_of_option(value):
                yield path
        return
    if option not in catalog.options(group):
        return
    known = keys_of(group, option)
    yield from ((group, key) for key in content if key not in known and key in node)


def keys_of(group: str, option: str) -> set[str]:
    """Return the keys that an option has, those of its whole group included."""
    path, common = catalog.file(group, option), catalog.content(catalog.folder() / "config.yaml")
    own = catalog.content(path)
    if not catalog.is_self_contained(path):
        own = own.get(group) or {}
    nested = (key.rpartition(".")[2] for key in catalog.nested_keys(group, option))
    return {*own, *nested, *(common.get(group) or {})}


def branches(path: Path, content: Mapping) -> Iterator[tuple[Path, Mapping]]:
    """Yield each mapping below a group, with its path: those of slots and those of options."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield (*path, key), value
            yield from branches((*path, key), value)


def is_of_option(content: Mapping) -> bool:
    """Return whether a mapping sets values, as for an option, rather than options of a slot."""
    return not all(isinstance(value, Mapping) for value in content.values())


def part_at(node: Mapping, path: Path) -> object:
    """Return what a configuration has at a path; None where there is nothing."""
    for key in path:
        if not isinstance(node, Mapping | DictConfig) or key not in node:
            return None
        node = node[key]
    return node


def remove(cfg: DictConfig | dict, paths: Sequence[Path]) -> None:
    """Remove what a configuration has at some paths."""
    for *above, key in paths:
        part = part_at(cfg, above)
        if part is not None and key in part:
            del part[key]
