"""Which option stands at each place of a saved configuration: by the words typed, or by the files of conf/. No torch here."""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import yaml

from trainer.config import catalog
from trainer.config.untrusted import SafeLoader
from trainer.rundir.resume import flat


def options_of(config: dict, words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The option at each place with a `_target_`: the word typed for it, else the option whose file says the same."""
    said = typed(words)
    brought, whole = options_brought(said), dict(flat(config))
    for group in catalog.MULTI_SELECT:
        node = config.get(group) if isinstance(config.get(group), dict) else {}
        names = (
            [name for slot in node.values() if isinstance(slot, dict) for name in slot]
            if group == "reg"
            else list(node)
        )
        typed_order = joined(said.get(group, ""))
        found = "+".join(map(str, names)) or "none"
        yield group, typed_order if sorted(typed_order.split("+")) == sorted(found.split("+")) else found
    for place, node in places({key: value for key, value in config.items() if key not in catalog.MULTI_SELECT}):
        yield place, said[place] if place in said else closest_option(place, node, whole, brought.get(place))


def places(node: dict, prefix: str = "") -> Iterator[tuple[str, dict]]:
    for key, child in node.items():
        if isinstance(child, dict):
            if "_target_" in child:
                yield f"{prefix}{key}", child
            yield from places(child, f"{prefix}{key}.")


def closest_option(place: str, node: dict, whole: dict[str, object], brought: str | None) -> str:
    """The option with this `_target_` that shares most keys and values; else the class's own name.

    Args:
        whole: the configuration, flat; an option may decide more than its own group.
        brought: the option that the words bring to this place, which decides between options that say the same.
    """
    group, target = place.partition(".")[0], str(node["_target_"])
    known = with_target(group, target, tuple(catalog.extra_folders))
    if len(known) == 1:
        return next(iter(known))
    mine = {**whole, **dict(flat(node, f"{group}."))}

    def likeness(option: str) -> tuple[int, bool]:
        same = sum(key in mine and mine[key] == value for key, value in known[option].items())
        return 2 * same - len(known[option]), option == brought

    return max(known, key=likeness, default=target.rpartition(".")[2])


@cache
def with_target(group: str, target: str, more: tuple[Path, ...]) -> dict[str, dict[str, object]]:
    """The options of a group that name this `_target_`, with all that they set; `more` are the folders of the user's own."""
    found = {}
    for option in catalog.options(group) if group in catalog.groups() else ():
        path = catalog.file(group, option)
        if target in (source := path.read_text()):
            content = yaml.load(source, Loader=SafeLoader)
            alone = catalog.stands_alone(path)
            node = content if alone else content.get(group)
            if isinstance(node, dict) and node.get("_target_") == target:
                keys = flat(
                    {key: value for key, value in content.items() if key not in ("defaults", "hydra")},
                    f"{group}." if alone else "",
                )
                found[option] = {key: value for key, value in keys if not key.endswith("_target_")}
    return found


def options_brought(said: dict[str, str]) -> dict[str, str | None]:
    """The option of every group before the words for the group itself: by default, or brought by a data set or a recipe that was typed."""
    brought = catalog.defaults()
    for group in [*brought]:
        if group in said and group not in catalog.MULTI_SELECT:
            brought |= brings(group, said[group], tuple(catalog.extra_folders))
    return brought


@cache
def brings(group: str, option: str, more: tuple[Path, ...]) -> dict[str, str]:
    """The options of other groups that come with an option, and those that come with them."""
    if group not in catalog.groups() or option not in catalog.options(group):
        return {}
    own = dict(pair.split("=", 1) for pair in catalog.overrides(catalog.file(group, option)))
    deeper = [brings(*pair, more) for pair in own.items() if pair[0] != group]
    return {name: chosen for found in (*deeper, own) for name, chosen in found.items()}


def typed(words: Sequence[str]) -> dict[str, str]:
    """What was typed: value by key, as text; `+` and the place that Hydra wants before `@` left out."""
    pairs = (word.partition("=") for word in words)
    return {key.lstrip("+").rpartition("@")[2]: value for key, sign, value in pairs if sign}


def joined(value: str) -> str:
    """`[l2,dropout]` as `l2+dropout`."""
    return "+".join(name.strip() for name in value.strip("[] ").split(",") if name.strip()) or "none"
