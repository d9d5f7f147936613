"""The words a user can say: groups, options and keys as the files of conf/ list them. Reads YAML; imports neither Hydra nor torch."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from trainer.base.checks import BOUND, INTERVAL, satisfies
from trainer.base.clock import parse_length

MULTI_SELECT = ("reg", "aug")  # groups of which a run takes several options


@cache
def folder() -> Path:
    """conf/: inside the package in a wheel, beside it in a clone."""
    package = Path(__file__).parent.parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


extra_folders: list[Path] = []  # folders laid out like conf/, of the user's own (--config-dir)


@dataclass(frozen=True)
class Key:
    """One key of a YAML file: its default and the comment behind it, whose words are also the rule its values must keep."""

    path: str
    default: object
    comment: str

    def complaint(self, value: object) -> str | None:
        """Why a value breaks the rule, as `must be > 0`; None when it is good."""
        words = self.words()
        if (isinstance(value, str) and value in words) or (value is None and "null" in words):
            return None
        numbered = re.search(r"or (\w+):N", self.comment)
        if numbered and re.fullmatch(rf"{numbered[1]}:\d+", str(value)):
            return None
        if "or minutes" in self.comment and re.fullmatch(r"\d+(\.\d+)?min", str(value)):
            return None
        if isinstance(self.default, list):
            if not isinstance(value, list):
                return f"must be a list; write {self.path}=[{as_typed(value)}]"
            sample = self.default[0] if self.default else None
            return next((why for item in value if (why := self._single(item, sample, words))), None)
        return self._single(value, self.default, words)

    def words(self) -> list[str]:
        """The words the comment allows: `one of a, b, c` and `or d`."""
        listed = re.search(r"one of ((?:\w+, )*(?!or\b)\w+)", self.comment)
        return (listed[1].split(", ") if listed else []) + re.findall(r" or ([\w:]+)", self.comment)

    def meaning(self) -> str:
        """The comment without its rule."""
        return re.split(r",? (?:[<>]=? |in [\[(]|one of |a whole number|a length|or )", self.comment)[0]

    def rule(self) -> str | None:
        """The rule for numbers, as `> 0` or `in [0, 1)`."""
        found = INTERVAL.search(self.comment) or BOUND.search(self.comment)
        return found[0] if found else None

    def _single(self, value: object, sample: object, words: list[str]) -> str | None:
        if "a length" in self.comment:
            return length_complaint(value)
        if isinstance(value, str) and value in words:
            return None
        rule = self.rule()
        either = f", or {' or '.join(words)}" if words and rule else ""
        if isinstance(sample, bool):
            return None if isinstance(value, bool) else "must be true or false"
        if rule or isinstance(sample, int | float):
            whole = "whole number" in self.comment or (isinstance(sample, int) and not isinstance(sample, bool))
            if (
                isinstance(value, bool)
                or not isinstance(value, int if whole else int | float)
                or (isinstance(value, float) and not math.isfinite(value))
            ):
                return f"must be a {'whole ' if whole else ''}number{' ' + rule if rule else ''}{either}"
            return None if rule is None or satisfies(rule, value) else f"must be {rule}{either}"
        if words:
            return f"must be one of {', '.join(words)}"
        if isinstance(sample, str) and not isinstance(value, str | int | float):
            return "must be a word"
        return None


def length_complaint(value: object) -> str | None:
    try:
        parse_length(value)
    except ValueError:
        return "must be a length with a unit, as 30ep, 5000st or 5%"
    return None


def as_typed(value: object) -> str:
    """A value as it is typed on the command line."""
    if isinstance(value, list):
        return "[" + ",".join(as_typed(item) for item in value) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        text = f"{value:g}"
        return f"{text}.0" if text.lstrip("-").isdigit() else text  # a number with a fraction, as it was typed
    return str(value)


def groups() -> list[str]:
    return sorted(path.name for path in folder().iterdir() if path.is_dir() and any(path.glob("*.yaml")))


def options(group: str) -> list[str]:
    return sorted({path.stem for place in (folder(), *extra_folders) for path in (place / group).glob("*.yaml")})


def file(group: str, option: str) -> Path:
    """Where an option stands; ours comes first, as it does for Hydra."""
    name = f"{group}/{option}.yaml"
    return next(
        (place / name for place in extra_folders if (place / name).is_file() and not (folder() / name).is_file()),
        folder() / name,
    )


def headline(path: Path) -> str:
    """The first comment: what the option is, who made it, when it fits. (Hydra wants a `# @package` line before it.)"""
    lines = path.read_text().splitlines()
    return next(line for line in lines if not line.startswith("# @")).removeprefix("#").strip()


def defaults() -> dict[str, str | list[str] | None]:
    """The option that each group takes when the user says nothing."""
    return dict(_defaults(folder()))


@cache
def _defaults(place: Path) -> dict[str, str | list[str] | None]:
    chosen = {}
    for entry in yaml.safe_load((place / "config.yaml").read_text())["defaults"]:
        if isinstance(entry, dict):
            chosen |= {group: option for group, option in entry.items() if not group.startswith("override ")}
    return chosen


def overrides(path: Path) -> list[str]:
    """The options of other groups that an option chooses along with itself, as they are typed."""
    entries = (yaml.safe_load(path.read_text()) or {}).get("defaults", [])
    chosen = [pair for entry in entries if isinstance(entry, dict) for pair in entry.items()]
    return [
        f"{group.removeprefix('override ').lstrip('/').replace('@', '.')}={as_typed(option)}"
        for group, option in chosen
    ]


def holders(group: str) -> set[str]:
    """Keys at which options of a group hold another option of it (a defaults list with `/optimizer@base`): `optimizer.base`."""
    return {key for option in options(group) for key in held(group, option)}


def held(group: str, option: str) -> list[str]:
    """Keys of one option that hold another of its group."""
    found = re.findall(rf"^  - /{group}@(\w+):", file(group, option).read_text(), re.MULTILINE)
    return [f"{group}.{key}" for key in found]


def stands_alone(path: Path) -> bool:
    """Whether an option says nothing of other groups, so that another one can hold it."""
    return not re.search(r"^# @package _global_", path.read_text(), re.MULTILINE)


def rules(cfg: Mapping, choices: Mapping[str, str | None]) -> dict[str, Key]:
    """The keys of everything chosen, by full path; `choices` as in launch."""
    chosen = [(place, option) for place, option in choices.items() if isinstance(option, str)]
    chosen += [("reg", name) for slot in cfg["reg"].values() for name in slot] + [("aug", name) for name in cfg["aug"]]
    found = keys(folder() / "config.yaml")
    for place, option in chosen:
        path = file(place.partition(".")[0], option)
        if path.is_file():
            found |= {name: key for name, key in keys(path, place).items() if name not in found}
    return found


def keys(path: Path, group: str = "") -> dict[str, Key]:
    """Every key that a YAML file sets, by its full path in the configuration."""
    return dict(_keys(path, group, path.stat().st_mtime_ns))


@cache
def _keys(path: Path, group: str, written: int) -> dict[str, Key]:
    source = path.read_text()
    lines = source.splitlines()
    prefix = f"{group}." if group and stands_alone(path) else ""
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
