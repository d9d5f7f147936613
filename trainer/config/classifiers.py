"""Names of the classifiers of torchvision and timm, read from their files: importing them takes seconds."""

import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from trainer.base.errors import ConfigError
from trainer.base.text import as_typed, nearest
from trainer.config.synonyms import plain

KEY = "model.name"
BUILDERS = {  # the option of a library, and how it declares a function that makes a network
    "torchvision": re.compile(r"^@register_model\(\)\n(?:@.*\n)*def (\w+)\(", re.MULTILINE),
    "timm": re.compile(r"^@register_model\n(?:@.*\n)*def (\w+)\(", re.MULTILINE),
}


@cache
def names(library: str) -> list[str]:
    """Return the names of the networks of a library that make a classifier; none where it is not installed."""
    spec = find_spec(library)
    places = spec.submodule_search_locations or [] if spec else []
    files = sorted(file for place in places for file in (Path(place) / "models").glob("*.py"))
    return sorted(name for file in files for name in BUILDERS[library].findall(file.read_text(encoding="utf-8")))


def require_known(option: str | None, name: object) -> None:
    """Check the network that a library's option names, before anything is imported. Errors: ConfigError.

    Args:
        option: of the group model.
        name: of the network; in timm with a tag of its weights behind a point, which timm alone knows.
    """
    if option not in BUILDERS:
        return
    known = names(option)
    if not known:
        raise ConfigError(f"model={option}: needs {option}; pip install 'trainer[{option}]'")
    if (arch := str(name).partition(".")[0]) not in known:
        near = [f"model.name={each}" for each in nearest(arch, known)]
        lists = f"train --help model={option} 'model.name=*PART*' lists them"
        hint = f"did you mean {' or '.join(near)}?" if near else lists
        raise ConfigError(f"model.name={as_typed(name)}: {option} has no such network; {hint}")


def matching(library: str, pattern: str) -> list[str]:
    """Return the names of a library that a pattern matches, as `convnext*`; without a `*`, those that hold it."""
    pattern = pattern if re.search(r"[*?\[]", pattern) else f"*{pattern}*"
    return [name for name in names(library) if fnmatchcase(name, pattern.lower())]


def same(name: str) -> list[list[str]]:
    """Return the overrides of the classifier that has this name in any spelling; none where there is none."""
    return first(name, lambda known, meant: known == meant)


def beginning(name: str) -> list[list[str]]:
    """Return the overrides of the first classifier whose name begins so; none where there is none."""
    return first(name, lambda known, meant: known.startswith(meant)) if len(name) > 2 else []


def first(name: str, fits: Callable[[str, str], bool]) -> list[list[str]]:
    """Return the overrides of the first classifier whose plain name fits; those of torchvision come first."""
    known: Sequence[tuple[str, str]] = [(library, each) for library in BUILDERS for each in names(library)]
    found = [(library, each) for library, each in known if fits(plain(each), plain(name))]
    return [[f"model={library}", f"model.name={each}"] for library, each in found[:1]]
