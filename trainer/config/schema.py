"""Keys of the YAML files, with the rules of their values (rule.py). Reads YAML; imports neither Hydra nor torch."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import yaml
from yaml.constructor import SafeConstructor

from trainer.base.errors import ConfigError
from trainer.base.text import as_typed
from trainer.config import catalog, libraries
from trainer.config.rule import Rule, fraction_of, is_number, parse_rule, rule_of_type

SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is 5 times as fast
AUTO = "auto"
RATE = re.compile(r"optimizer(\.\w+)*\.lr")  # the learning rate of any optimizer, the user's own too, may be AUTO


@dataclass(frozen=True)
class Key:
    """One key of a YAML file: its full path, its default, and the comment behind it."""

    path: str
    default: object
    comment: str

    @property
    def meaning(self) -> str:
        """The comment without its rule."""
        return self.comment.rpartition("; ")[0] if self.rule else self.comment

    @cached_property
    def rule(self) -> Rule | None:
        """The rule behind the last semicolon; None where there is none."""
        try:
            return parse_rule(self.comment.rpartition("; ")[2]) if "; " in self.comment else None
        except ValueError:
            return None

    @property
    def classes_of(self) -> str | None:
        """The library of whose classes the key names one; None for any other key."""
        return self.rule.classes_of if self.rule else None

    def violation(self, value: object) -> str | None:
        """Return why a value breaks the rule; None for a good one."""
        rule = self.rule or rule_of_type(self.default)
        if rule is None:
            return None
        if rule.in_list and not isinstance(value, list) and rule.violation([value]) is None:
            return f"must be a list; write {self.path}=[{as_typed(value)}]"
        why = rule.violation(value)
        if why and rule.text and (text := with_quoted_numbers(value, rule.in_list or rule.or_list)):
            return f'{why}; write {self.path}="{text}"'
        if why and (fraction := fraction_of(value)) is not None and rule.violation(fraction) is None:
            return f"{why}; write {self.path}={as_typed(fraction)}"
        return why

    def require(self, value: object) -> None:
        """Check a value against the rule. Errors: ConfigError."""
        if why := self.violation(value):
            raise ConfigError(f"{self.path}={as_typed(value)}: {why} ({self.path}: {self.meaning})")


def with_auto(key: Key) -> Key:
    """Return the key of a learning rate that may also be measured (config/auto_rate.py); its file need not say so."""
    rule = key.rule or rule_of_type(key.default)
    if rule is None or rule.text or AUTO in rule.words:
        return key
    meaning, note = key.meaning or "learning rate", f"{AUTO}: measured before the first step"
    meaning = f"{meaning[:-1]}, {note})" if meaning.endswith(")") else f"{meaning} ({note})"
    return Key(key.path, key.default, f"{meaning}; {rule.source}, or {AUTO}")


def with_quoted_numbers(value: object, in_list: bool) -> str | None:
    """Return a value as typed, its numbers as text: `['2026']`; None where there are none, or a list is too many."""
    items = value if isinstance(value, list) else [value]
    if not any(map(is_number, items)) or (len(items) > 1 and not in_list):
        return None
    typed = [f"'{as_typed(item)}'" if is_number(item) else as_typed(item) for item in items]
    return f"[{','.join(typed)}]" if in_list else typed[0]


def rules(cfg: Mapping, choices: Mapping[str, str | None]) -> dict[str, Key]:
    """Return the keys of everything chosen, by full path.

    Args:
        choices: the option of every group, and of every key that holds one.
    """
    chosen = [(place, option) for place, option in choices.items() if isinstance(option, str)]
    chosen += [(group, name) for group, names in catalog.selected(cfg).items() for name in names]
    found = keys(catalog.folder() / "config.yaml")
    for place, option in sorted(chosen, key=lambda each: each[0] == "experiment"):
        path = catalog.file(place.partition(".")[0], option)
        if not path.is_file():
            continue
        added = {name: key for name, key in keys(path, place).items() if name not in found}
        if place == "experiment":  # it may set keys of options that others replace
            added = {name: key for name, key in added.items() if is_set(cfg, name.split("."))}
        found |= added
    for key in [key for key in found.values() if key.classes_of]:
        *places, last = key.path.split(".")
        node = part_at(cfg, places)
        given = class_keys(key, node.get(last))
        found = {path: other for path, other in given.items() if path.rpartition(".")[2] in node} | found
    return found


def part_at(cfg: Mapping, parts: Sequence[str]) -> Mapping:
    """Return the mapping at a place of a configuration; an empty one where there is none."""
    for part in parts:
        cfg = cfg.get(part, {}) if isinstance(cfg, Mapping) else {}
    return cfg if isinstance(cfg, Mapping) else {}


def is_set(cfg: Mapping, parts: Sequence[str]) -> bool:
    """Return whether a configuration has a key."""
    *above, last = parts
    return last in part_at(cfg, above)


def class_keys(key: Key, name: object) -> dict[str, Key]:
    """Return the keys beside one that names a class of a library: the keyword arguments of that class."""
    place = key.path.rpartition(".")[0]
    found = {f"{place}.{word}": argument for word, argument in libraries.arguments(key.classes_of, str(name)).items()}
    return {
        path: Key(path, argument.default, f"{argument.meaning}; {argument.rule}" if argument.rule else argument.meaning)
        for path, argument in found.items()
    }


def keys(path: Path, group: str = "") -> dict[str, Key]:
    """Return every key that a YAML file sets, by its full path in the configuration."""
    return dict(_keys(path, group, path.stat().st_mtime_ns))


@cache
def _keys(path: Path, group: str, written: int) -> dict[str, Key]:
    source = path.read_text()
    lines = source.splitlines()
    prefix = f"{group}." if group and catalog.is_self_contained(path) else ""
    found: dict[str, Key] = {}

    def walk(node: yaml.MappingNode, prefix: str) -> None:
        for name, value in node.value:
            path = f"{prefix}{name.value}"
            if isinstance(value, yaml.MappingNode):
                walk(value, f"{path}.")
            elif name.value != "_target_":
                comment = lines[value.end_mark.line][value.end_mark.column :].partition("#")[2].strip()
                key = Key(path, SafeConstructor().construct_document(value), comment)
                found[path] = with_auto(key) if RATE.fullmatch(path) else key

    try:
        root = yaml.compose(source, Loader=SafeLoader)
    except yaml.YAMLError:
        root = yaml.compose(source)  # takes a few texts that libyaml does not
    if root is not None:
        root.value = [(name, value) for name, value in root.value if name.value not in ("defaults", "hydra")]
        walk(root, prefix)
    return found
