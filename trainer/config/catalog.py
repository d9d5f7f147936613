"""Groups and options as the files of conf/ list them. Reads YAML; imports neither Hydra nor torch."""

import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml

from trainer.base.text import as_typed, from_here

MULTI_SELECT = ("reg", "aug")  # groups of which a run takes several options


@cache
def folder() -> Path:
    """Return conf/: inside the package in a wheel, beside it in a clone."""
    package = Path(__file__).parent.parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


extra_folders: list[Path] = []  # folders laid out like conf/, of the user's own (--config-dir)


def groups() -> list[str]:
    """Return the names of all groups."""
    return sorted(path.name for path in folder().iterdir() if path.is_dir() and any(path.glob("*.yaml")))


def options(group: str) -> list[str]:
    """Return the options of a group, the user's own included."""
    folders = [place / group for place in (folder(), *extra_folders)]
    files = [name for place in folders if place.is_dir() for name in os.listdir(place)]  # Path.glob is 10 times as slow
    return sorted({name.removesuffix(".yaml") for name in files if name.endswith(".yaml")})


def file(group: str, option: str) -> Path:
    """Return the file of an option; ours comes first, as it does for Hydra."""
    name = f"{group}/{option}.yaml"
    return next(
        (place / name for place in extra_folders if (place / name).is_file() and not (folder() / name).is_file()),
        folder() / name,
    )


def is_own(path: Path) -> bool:
    """Return whether the file of an option is the user's own."""
    return any(path.is_relative_to(place) for place in extra_folders)


def selected(cfg: Mapping) -> dict[str, list[str]]:
    """Return the options that a configuration takes of each group of which a run takes several."""
    return {"reg": [name for slot in cfg["reg"].values() for name in slot], "aug": list(cfg["aug"])}


def headline(path: Path) -> str:
    """Return the first comment of an option, empty where the user's own has none.

    Hydra wants a `# @package` line before it, and the docs name the file.
    """
    lines = [line for line in path.read_text().splitlines() if line.startswith("#") and not line.startswith("# @")]
    return next((line for line in lines if not line.endswith(f"/{path.name}")), "").removeprefix("#").strip()


def defaults() -> dict[str, str | list[str] | None]:
    """Return the default option of each group."""
    return dict(_defaults(folder()))


@cache
def _defaults(place: Path) -> dict[str, str | list[str] | None]:
    chosen = {}
    for entry in content(place / "config.yaml")["defaults"]:
        if isinstance(entry, dict):
            chosen |= {group: option for group, option in entry.items() if not group.startswith("override ")}
    return chosen


def content(path: Path) -> dict:
    """Return what a file of conf/ sets. Not to be changed: the next call returns the same."""
    return _content(path, path.stat().st_mtime_ns)


@cache
def _content(path: Path, written: int) -> dict:
    return yaml.safe_load(path.read_text()) or {}


def overrides(path: Path) -> list[str]:
    """Return the options of other groups that an option chooses along with itself, as they are typed."""
    chosen: dict[str, object] = {}
    for file in files_of(path):
        for entry in content(file).get("defaults", []):
            chosen |= entry if isinstance(entry, dict) else {}
    named = {group.removeprefix("override ").lstrip("/").replace("@", "."): option for group, option in chosen.items()}
    return [f"{group}={as_typed(option)}" for group, option in named.items()]


def files_of(path: Path) -> list[Path]:
    """Return the files of the options of its group that an option begins with, and its own file in the end."""
    entries = [entry for entry in content(path).get("defaults", []) if isinstance(entry, str)]
    begun = [file for entry in entries if (file := path.with_name(f"{entry}.yaml")).is_file()]
    return [*(before for file in begun for before in files_of(file)), path]


def all_nested_keys(group: str) -> set[str]:
    """Return the keys at which options of a group hold another one of it, as `optimizer.base`."""
    return {key for option in options(group) for key in nested_keys(group, option)}


def nested_keys(group: str, option: str) -> list[str]:
    """Return the keys of one option that hold another of its group: `/optimizer@base` in its defaults list."""
    found = re.findall(rf"^  - /{group}@(\w+):", file(group, option).read_text(), re.MULTILINE)
    return [f"{group}.{key}" for key in found]


def is_self_contained(path: Path) -> bool:
    """Return whether an option sets nothing of other groups, so that another one can hold it."""
    return not re.search(r"^# @package _global_", path.read_text(), re.MULTILINE)


def reach(group: str, option: str) -> set[str]:
    """Return the groups, and the other top-level keys, that an option can set: in its file, and by its defaults list.

    All groups where that list depends on other choices.
    """
    found, waiting, seen = set(), [(group, option)], set()
    while waiting:
        group, option = waiting.pop()
        path = file(group, option)
        found.add(group)
        if (group, option) in seen or not path.is_file():
            continue
        seen.add((group, option))
        text = path.read_text()
        content = yaml.safe_load(text) or {}
        entries = content.pop("defaults", [])
        for package in re.findall(r"^# *@package +([^.\s]+)", text, re.MULTILINE):
            found |= {*content} if package == "_global_" else {package}
        if any(isinstance(entry, str) and entry != "_self_" for entry in entries) or "${" in str(entries):
            found |= {*groups()}
        for place, _, options in (chosen.partition("=") for chosen in overrides(path)):
            waiting += [(re.split("[./]", place)[0], name) for name in re.findall(r"[^\[\],]+", options)]
    return found


def config_dirs() -> list[str]:
    """Return the words that name the folders of the user's own options, as a command needs them."""
    return [word for folder in extra_folders for word in ("--config-dir", str(from_here(folder)))]
