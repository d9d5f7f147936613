"""Keys of the YAML files and the rules of their values. Reads YAML; imports neither Hydra nor torch.

The comment behind a key is `# MEANING; RULE`. The rule is the text behind the last semicolon, and nothing else is one:

    rule        = alternative, { separator, alternative } ;  separator = ", or " | " or " | ", "
    alternative = word | NAME:N | null | length | minutes | number
    number      = [ "whole number " ], ( bound | interval ) | "whole number" | "number"
    bound       = ( ">" | ">=" | "<" | "<=" ), decimal ;  interval = "in [a, b)", with either bracket at either end

Words are introduced by "one of": `one of auto, cpu, cuda, or cuda:N`; `whole number >= 1, or auto`; `> 0 or null`.
Of a key whose default is a list, the rule holds for each item. A key without a rule takes any value of its default's type.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import yaml

from trainer.base.checks import satisfies
from trainer.base.clock import parse_length
from trainer.base.text import as_typed
from trainer.config import catalog

NUMBER = re.compile(r"(whole number|number)?(?: ?(in [\[(]\S+, \S+[\])]|(?:>=|<=|>|<) -?[\d.]+(?:e-?\d+)?))?")
WORD = re.compile(r"[A-Za-z_][\w.]*")
NUMBERED = re.compile(r"([a-z]+):N")
SEPARATOR = re.compile(r", or | or |, ")
MINUTES = re.compile(r"\d+(\.\d+)?min")
LENGTH_RULE = "a length with a unit, as 30ep, 5000st or 5%"


@dataclass(frozen=True)
class Rule:
    """Values that a key may have: any of these.

    Args:
        words: literal strings.
        numbered: NAME of values NAME:N.
        null: null is a value.
        length: lengths as 30ep, 5000st, 5%.
        minutes: durations as 10min.
        number: numbers that keep `bound`, as `> 0` or `in [0, 1)`; whole ones where `whole`.
    """

    words: tuple[str, ...] = ()
    numbered: str | None = None
    null: bool = False
    length: bool = False
    minutes: bool = False
    number: bool = False
    whole: bool = False
    bound: str | None = None

    def violation(self, value: object) -> str | None:
        """Return why a value breaks the rule, as `must be > 0`; None for a good one."""
        if isinstance(value, str) and self._takes_text(value):
            return None
        if value is None and self.null:
            return None
        if self.number and not isinstance(value, str | None):
            numeric = is_number(value) and (isinstance(value, int) or not self.whole)
            if numeric and (self.bound is None or satisfies(self.bound, value)):
                return None
            if numeric:
                return f"must be {self._or_else(self.bound)}"
        return f"must be {self.describe()}"

    def describe(self) -> str:
        """Return the rule in words."""
        kind = "a whole number" if self.whole else "a number"
        number = f"{kind} {self.bound}" if self.bound else kind
        return self._or_else(number if self.number else None)

    def _takes_text(self, value: str) -> bool:
        if value in self.words or (self.minutes and MINUTES.fullmatch(value)):
            return True
        if self.numbered and re.fullmatch(rf"{self.numbered}:\d+", value):
            return True
        return self.length and is_length(value)

    def _or_else(self, number: str | None) -> str:
        named = [LENGTH_RULE] if self.length else []
        named += ["minutes, as 10min"] if self.minutes else []
        named += [number] if number else []
        listed = [*self.words, *([f"{self.numbered}:N"] if self.numbered else []), *(["null"] if self.null else [])]
        if len(listed) > 1 or (listed and not named):
            return ", or ".join([*named, f"one of {', '.join(listed)}"])
        return ", or ".join([*named, *listed])


def parse_rule(text: str) -> Rule:
    """Return the rule that a text states. Errors: ValueError where it is not in the grammar."""
    fields: dict[str, object] = {}
    words: list[str] = []
    rest, listing = text, False
    while rest:
        if rest.startswith("one of "):
            rest, listing = rest.removeprefix("one of "), True
        number = NUMBER.match(rest)
        if number and number[0]:
            if "number" in fields:
                raise ValueError(f"two numbers in the rule: {text}")
            fields |= {"number": True, "whole": number[1] == "whole number", "bound": number[2]}
            token = number[0]
        elif numbered := NUMBERED.match(rest):
            fields["numbered"], token = numbered[1], numbered[0]
        elif word := WORD.match(rest):
            token = word[0]
            if token in ("null", "length", "minutes"):
                fields[token] = True
            elif listing or words or fields:
                words.append(token)
            else:
                raise ValueError(f"words of a rule begin with 'one of': {text}")
        else:
            raise ValueError(f"not a rule: {text}")
        rest = rest[len(token) :]
        separator = SEPARATOR.match(rest)
        if rest and (separator is None or separator.end() == len(rest)):
            raise ValueError(f"not a rule: {text}")
        rest = rest[separator.end() :] if separator else rest
    return Rule(words=tuple(words), **fields)


@dataclass(frozen=True)
class Key:
    """One key of a YAML file: its full path, its default, and the comment behind it."""

    path: str
    default: object
    comment: str

    @property
    def meaning(self) -> str:
        """The comment without its rule."""
        return self.comment.rpartition("; ")[0] or self.comment

    @cached_property
    def rule(self) -> Rule | None:
        """The rule behind the last semicolon; None without one. Errors: ValueError."""
        return parse_rule(self.comment.rpartition("; ")[2]) if "; " in self.comment else None

    def violation(self, value: object) -> str | None:
        """Return why a value breaks the rule; None for a good one."""
        if isinstance(self.default, list):
            if not isinstance(value, list):
                return f"must be a list; write {self.path}=[{as_typed(value)}]"
            sample = self.default[0] if self.default else None
            return next((why for item in value if (why := self._violation(item, sample))), None)
        return self._violation(value, self.default)

    def _violation(self, value: object, sample: object) -> str | None:
        if self.rule:
            return self.rule.violation(value)
        if isinstance(sample, bool):
            return None if isinstance(value, bool) else "must be true or false"
        if isinstance(sample, int | float):
            return Rule(number=True, whole=isinstance(sample, int)).violation(value)
        if isinstance(sample, str) and (not isinstance(value, str | int | float) or isinstance(value, bool)):
            return "must be text"
        return None


def is_number(value: object) -> bool:
    """Return whether a value is a finite number; a bool is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_length(value: str) -> bool:
    """Return whether a text is a length."""
    try:
        parse_length(value)
    except ValueError:
        return False
    return True


def rules(cfg: Mapping, choices: Mapping[str, str | None]) -> dict[str, Key]:
    """Return the keys of everything chosen, by full path.

    Args:
        choices: the option of every group, and of every key that holds one.
    """
    chosen = [(place, option) for place, option in choices.items() if isinstance(option, str)]
    chosen += [("reg", name) for slot in cfg["reg"].values() for name in slot] + [("aug", name) for name in cfg["aug"]]
    found = keys(catalog.folder() / "config.yaml")
    for place, option in chosen:
        path = catalog.file(place.partition(".")[0], option)
        if path.is_file():
            found |= {name: key for name, key in keys(path, place).items() if name not in found}
    return found


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
                found[path] = Key(path, yaml.safe_load(yaml.serialize(value)), comment)

    root = yaml.compose(source)
    if root is not None:
        root.value = [(name, value) for name, value in root.value if name.value not in ("defaults", "hydra")]
        walk(root, prefix)
    return found
