"""Names of torchvision's classifiers, read from its files: importing them takes seconds."""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from trainer.config.synonyms import plain

BUILDER = re.compile(r"^@register_model\(\)\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)


@cache
def classifiers() -> list[str]:
    """Return the names of torchvision.models that make a classifier."""
    spec = find_spec("torchvision")
    places = spec.submodule_search_locations or [] if spec else []
    files = sorted(file for place in places for file in (Path(place) / "models").glob("*.py"))
    return sorted(name for file in files for name in BUILDER.findall(file.read_text(encoding="utf-8")))


def as_typed(name: str) -> list[str]:
    """Return the overrides that choose a classifier."""
    return ["model=torchvision", f"model.name={name}"]


def same(name: str) -> list[list[str]]:
    """Return the overrides of the classifier that has this name in any spelling; none where there is none."""
    return [as_typed(known) for known in classifiers() if plain(known) == plain(name)]


def beginning(name: str) -> list[list[str]]:
    """Return the overrides of the first classifier whose name begins so; none where there is none."""
    found = [known for known in classifiers() if plain(known).startswith(plain(name))] if len(name) > 2 else []
    return [as_typed(known) for known in found[:1]]
