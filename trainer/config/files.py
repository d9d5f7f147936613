"""Check that the folders and files that a configuration names are there, before anything heavy is imported."""

from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from trainer.base.errors import DataError
from trainer.base.paths import expanded
from trainer.config import schema
from trainer.config.rule import Rule


def require_existing(cfg: DictConfig, choices: Mapping[str, str | None]) -> None:
    """Check the paths of everything chosen whose rule is an existing folder or file. Errors: DataError."""
    for path, key in schema.rules(cfg, choices).items():
        if key.rule and key.rule.path:
            require_path(cfg, path, key.rule)


def require_path(cfg: DictConfig, path: str, rule: Rule) -> None:
    """Check one path, in the folder that another key names if the rule says so. Errors: DataError."""
    node, _, name = path.rpartition(".")
    values = OmegaConf.select(cfg, node)
    named = rule.below or name
    place = expanded(str(values[named])) / (str(values[name]) if rule.below else "")
    if rule.unless and values.get(rule.unless):
        return
    if place.is_dir() if rule.path == "folder" else place.is_file():
        return
    typed, here = f"{node}.{named}={values[named]}", "" if place.is_absolute() else f" in {Path.cwd()}"
    if rule.below:
        fetched = f", or {node}.{rule.unless}=true" if rule.unless else ""
        raise DataError(f"{typed}: no {rule.path} {place}{here}; try {node}.{named}=DIR{fetched}")
    other = {"folder": "file", "file": "folder"}[rule.path]
    raise DataError(
        f"{typed}: {f'is a {other}, not a {rule.path}' if place.exists() else f'no such {rule.path}{here}'}"
    )
