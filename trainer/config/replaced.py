"""Keys of an experiment for options that a command replaces by others, which have no such keys. No torch here."""

import copy
from collections.abc import Iterator, Mapping, Sequence

from omegaconf import DictConfig, OmegaConf, flag_override

from trainer.config import catalog, schema
from trainer.config.keys import key_of
from trainer.config.quoting import unquote

Path = tuple[str, ...]


def without_replaced(cfg: DictConfig | Mapping, overrides: Sequence[str]) -> DictConfig | Mapping:
    """Return a configuration without the keys that an experiment sets for options of its own, not of the command.

    `experiment=X` sets `warmup.length` for its linear warm-up; behind `experiment=X warmup=none` the key is left out.
    A key that both options have stays.
    """
    return without(cfg, replaced(cfg, overrides))


def without(cfg: DictConfig | Mapping, paths: Sequence[Path]) -> DictConfig | Mapping:
    """Return a configuration without the keys at some paths; itself where there are none."""
    if not paths:
        return cfg
    made = copy.deepcopy(cfg)
    if not OmegaConf.is_config(made):
        remove(made, paths)
        return made
    with flag_override(made, ["struct", "readonly"], False):
        remove(made, paths)
    return made


def replaced(cfg: DictConfig | Mapping, overrides: Sequence[str]) -> list[Path]:
    """Return the paths of the keys that an experiment sets for options that a command replaces by others."""
    typed = {key_of(text): unquote(text.partition("=")[2]) for text in overrides}
    option = typed.get("experiment")
    if option is None or option not in catalog.options("experiment"):
        return []
    found = [
        path
        for content in map(catalog.content, catalog.files_of(catalog.file("experiment", option)))
        for group in catalog.groups()
        if group in typed and isinstance(content.get(group), dict)
        for path in unknown(group, content[group], cfg[group], typed[group])
    ]
    return [*dict.fromkeys(found)]


def unknown(group: str, content: Mapping, node: Mapping, option: str) -> Iterator[Path]:
    """Yield the paths of what an experiment sets in a group and the group's options of a command do not have.

    Args:
        content: what the experiment sets.
        node: what the command has.
        option: that is typed for the group.
    """
    if group in catalog.MULTI_SELECT:
        for path in settings_of_options(content):
            there = schema.part_at(node, path)
            if there and "_target_" not in there:
                yield (group, *path)
    elif option in catalog.options(group):
        known = keys_of(group, option)
        yield from ((group, key) for key in content if key not in known and key in node)


def keys_of(group: str, option: str) -> set[str]:
    """Return the keys that an option has, those of its whole group included."""
    of_group, own = schema.keys(catalog.folder() / "config.yaml"), schema.keys(catalog.file(group, option), group)
    paths = (*of_group, *own, *catalog.nested_keys(group, option))
    return {path.split(".")[1] for path in paths if path.startswith(f"{group}.")}


def settings_of_options(content: Mapping, path: Path = ()) -> Iterator[Path]:
    """Yield the path of each option of a group, perhaps within a slot, that an experiment sets values of."""
    for key, value in content.items():
        if isinstance(value, Mapping) and any(isinstance(part, Mapping) for part in value.values()):
            yield from settings_of_options(value, (*path, key))
        elif isinstance(value, Mapping):
            yield (*path, key)


def remove(cfg: DictConfig | dict, paths: Sequence[Path]) -> None:
    """Remove what a configuration has at some paths."""
    for *above, key in paths:
        del schema.part_at(cfg, above)[key]
