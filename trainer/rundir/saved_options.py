"""Options behind a saved configuration: as typed, or as the files of conf/ that say the same. No torch here."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import yaml

from trainer.base.text import as_typed
from trainer.config import catalog, keys, schema
from trainer.config.keys import Role
from trainer.config.untrusted import SafeLoader


def options_of(config: dict, overrides: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each place with a `_target_` and its option: the one typed, else the one whose file says the same."""
    values = typed_values(overrides)
    chosen, whole = options_before(values), dict(flat(config))
    for group in catalog.MULTI_SELECT:
        yield group, selected_options(group, config.get(group), values.get(group, ""))
    for place, node in places({key: value for key, value in config.items() if key not in catalog.MULTI_SELECT}):
        yield place, values[place] if place in values else closest_option(place, node, whole, chosen.get(place))


def flat(node: Mapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the full keys and values of nested mappings."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def defaults_of(config: dict, overrides: Sequence[str]) -> Iterator[str]:
    """Yield an override for each option and each setting that was the default of a run and is not any more.

    Args:
        config: of the run.
        overrides: what was typed for it.
    """
    typed, whole = typed_values(overrides), dict(flat(config))
    expected = options_before(typed)
    for place, option in options_of(config, overrides):
        single = place in expected and place not in catalog.MULTI_SELECT
        if single and place not in typed and option != expected[place] and option in catalog.options(place):
            yield f"{place}={option}"
    chosen = ((group, option) for group, option in {**expected, **typed}.items() if isinstance(option, str))
    reached = set().union(*(catalog.reach(*pair) for pair in chosen if pair[0] in catalog.groups()))
    for path, key in schema.keys(catalog.folder() / "config.yaml").items():
        decides = keys.role_of(path) in (Role.SHAPES, Role.LENGTH) and path not in reached and path not in typed
        if decides and path in whole and whole[path] != key.default:
            yield f"{path}={as_typed(whole[path])}"


def selected_options(group: str, node: object, typed: str) -> str:
    """Return the options of a group that takes several, joined by `+`: in the order typed, where these were typed."""
    node = node if isinstance(node, dict) else {}
    slots = [slot for slot in node.values() if isinstance(slot, dict)]
    names = [name for slot in slots for name in slot] if group == "reg" else list(node)
    found, in_order = "+".join(map(str, names)) or "none", joined(typed)
    return in_order if sorted(in_order.split("+")) == sorted(found.split("+")) else found


def places(node: dict, prefix: str = "") -> Iterator[tuple[str, dict]]:
    """Yield every node with a `_target_`, with its full key."""
    for key, child in node.items():
        if isinstance(child, dict):
            if "_target_" in child:
                yield f"{prefix}{key}", child
            yield from places(child, f"{prefix}{key}.")


def closest_option(place: str, node: dict, whole: dict[str, object], chosen: str | None) -> str:
    """Return the option with this `_target_` that shares most keys and values; else the class's own name.

    Args:
        whole: the configuration, flat; an option may set more than its own group.
        chosen: the option that the overrides choose here indirectly, which decides between options that say the same.
    """
    group, target = place.partition(".")[0], str(node["_target_"])
    known = options_with_target(group, target, tuple(catalog.extra_folders))
    if len(known) == 1:
        return next(iter(known))
    mine = {**whole, **dict(flat(node, f"{group}."))}

    def likeness(option: str) -> tuple[int, bool]:
        same = sum(key in mine and mine[key] == value for key, value in known[option].items())
        return 2 * same - len(known[option]), option == chosen

    return max(known, key=likeness, default=target.rpartition(".")[2])


@cache
def options_with_target(group: str, target: str, extra: tuple[Path, ...]) -> dict[str, dict[str, object]]:
    """Return the options of a group that name a `_target_`, with all that they set.

    Args:
        extra: the folders of the user's own options, for the cache.
    """
    found = {}
    for option in catalog.options(group) if group in catalog.groups() else ():
        path = catalog.file(group, option)
        if target in (source := path.read_text()):
            content = yaml.load(source, Loader=SafeLoader)
            alone = catalog.is_self_contained(path)
            node = content if alone else content.get(group)
            if isinstance(node, dict) and node.get("_target_") == target:
                own = {key: value for key, value in content.items() if key not in ("defaults", "hydra")}
                values = flat(own, f"{group}." if alone else "")
                found[option] = {key: value for key, value in values if not key.endswith("_target_")}
    return found


def options_before(typed: dict[str, str]) -> dict[str, str | None]:
    """Return the option of every group if it is not typed itself: the default, or that of a data set or a recipe."""
    chosen = catalog.defaults()
    for group in [*chosen]:
        if group in typed and group not in catalog.MULTI_SELECT:
            chosen |= options_chosen_by(group, typed[group], tuple(catalog.extra_folders))
    return chosen


@cache
def options_chosen_by(group: str, option: str, extra: tuple[Path, ...]) -> dict[str, str]:
    """Return the options of other groups that come with an option, and those that come with them."""
    if group not in catalog.groups() or option not in catalog.options(group):
        return {}
    own = dict(pair.split("=", 1) for pair in catalog.overrides(catalog.file(group, option)))
    deeper = [options_chosen_by(*pair, extra) for pair in own.items() if pair[0] != group]
    return {name: chosen for found in (*deeper, own) for name, chosen in found.items()}


def typed_values(overrides: Sequence[str]) -> dict[str, str]:
    """Return the value of each typed key, as text; without `+` and the group that Hydra wants before `@`."""
    pairs = (text.partition("=") for text in overrides)
    return {key.lstrip("+").rpartition("@")[2]: value for key, sign, value in pairs if sign}


def joined(value: str) -> str:
    """Return `[l2,dropout]` as `l2+dropout`."""
    return "+".join(name.strip() for name in value.strip("[] ").split(",") if name.strip()) or "none"
