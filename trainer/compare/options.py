"""Which option stands at each place of a saved configuration: by the words typed, or by the files of conf/. No torch here."""

import re
from collections.abc import Iterator, Sequence
from functools import cache

import yaml

from trainer import conf
from trainer.resume import flat

SEVERAL = ("reg", "aug")  # groups that hold several options


def options_of(config: dict, words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The option at each place with a `_target_`: the word typed for it, else the option whose file says the same."""
    said = typed(words)
    for group in SEVERAL:
        node = config.get(group) if isinstance(config.get(group), dict) else {}
        names = [name for slot in node.values() if isinstance(slot, dict) for name in slot] if group == "reg" else list(node)
        typed_order = joined(said.get(group, ""))
        found = "+".join(map(str, names)) or "none"
        yield group, typed_order if sorted(typed_order.split("+")) == sorted(found.split("+")) else found
    for place, node in places({key: value for key, value in config.items() if key not in SEVERAL}):
        yield place, said[place] if place in said else closest_option(place, node)


def places(node: dict, prefix: str = "") -> Iterator[tuple[str, dict]]:
    for key, child in node.items():
        if isinstance(child, dict):
            if "_target_" in child:
                yield f"{prefix}{key}", child
            yield from places(child, f"{prefix}{key}.")


def closest_option(place: str, node: dict) -> str:
    """The option with this `_target_` that shares most keys and values, the default one first; else the class's own name."""
    group, target = place.partition(".")[0], str(node["_target_"])
    mine, usual = dict(flat(node, f"{group}.")), conf.defaults().get(group)
    known = {option: keys for option, (named, keys) in group_files(group).items() if named == target}

    def likeness(option: str) -> tuple[int, bool]:
        same = sum(key in mine and mine[key] == value for key, value in known[option].items())
        return 2 * same - len(known[option]), option == usual

    return max(known, key=likeness, default=target.rpartition(".")[2])


@cache
def group_files(group: str) -> dict[str, tuple[str | None, dict[str, object]]]:
    """The `_target_` and the keys of every option of a group."""
    files = {option: conf.file(group, option) for option in (conf.options(group) if group in conf.groups() else ())}
    found = {}
    for option, path in files.items():
        content = yaml.safe_load(path.read_text()) or {}
        node = content if conf.stands_alone(path) else content.get(group, {})
        found[option] = (node.get("_target_"), {key.path: key.default for key in conf.keys(path, group).values()})
    return found


def typed(words: Sequence[str]) -> dict[str, str]:
    """What was typed: value by key, as text; `+` and the place that Hydra wants before `@` left out."""
    pairs = (word.partition("=") for word in words)
    return {key.lstrip("+").rpartition("@")[2]: value for key, sign, value in pairs if sign}


def joined(value: str) -> str:
    """`[l2,dropout]` as `l2+dropout`."""
    return "+".join(name.strip() for name in value.strip("[] ").split(",") if name.strip()) or "none"


def parsed(value: str) -> object:
    """A word as Hydra reads it: YAML, and numbers as 1e-3."""
    try:
        return float(value) if re.fullmatch(r"[+-]?\d+(\.\d*)?e[+-]?\d+", value, re.IGNORECASE) else yaml.safe_load(value)
    except (yaml.YAMLError, ValueError):
        return value
