"""Check that the folders and files that a configuration names are there, before anything heavy is imported."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from trainer.base.errors import DataError
from trainer.base.paths import expanded
from trainer.base.similar_paths import similar_files, similar_folders
from trainer.config import keys, schema


def require_existing(cfg: DictConfig, choices: Mapping[str, str | None], swept: Iterable[str] = ()) -> None:
    """Check the paths of everything chosen whose rule is an existing folder or file. Errors: DataError.

    Args:
        swept: keys of which a sweep takes several values: the paths of their groups are left to the jobs.
    """
    groups = {key.partition(".")[0] for key in swept}
    for path, key in schema.rules(cfg, choices).items():
        if cfg.resume.run and keys.is_of_fresh_run(path):
            continue
        if key.rule and key.rule.path and not groups & {path.partition(".")[0], "experiment"}:
            require_path(cfg, key)


def require_path(cfg: DictConfig, key: schema.Key) -> None:
    """Check one path, in the folder that another key names if the rule says so. Errors: DataError."""
    node, _, name = key.path.rpartition(".")
    rule, values = key.rule, OmegaConf.select(cfg, node)
    if rule.null and values[name] is None:
        return
    named = rule.below or name
    place = expanded(str(values[named])) / (str(values[name]) if rule.below else "")
    if rule.unless and values.get(rule.unless):
        return
    if ("folder" in rule.path and has_files(place)) or ("file" in rule.path and place.is_file()):
        return
    typed, here = f"{node}.{named}={values[named]}", "" if place.is_absolute() else f" in {Path.cwd()}"
    empty = "folder" in rule.path and place.is_dir()
    if rule.below:
        fetched = f", or {node}.{rule.unless}=true" if rule.unless else ""
        what = f"{place} is empty" if empty else f"no {rule.path} {place}{here}"
        raise DataError(f"{typed}: {what}; try {node}.{named}=DIR{fetched}")
    if empty:
        raise DataError(f"{typed}: the folder is empty ({key.path}: {key.meaning})")
    other = {"folder": "a file", "file": "a folder"}.get(rule.path, "neither a file nor a folder")
    what = f"is {other}, not a {rule.path}" if place.exists() else f"no such {rule.path}{here}"
    similar = similar_folders if rule.path == "folder" else similar_files
    raise DataError(f"{typed}: {what}{similar(place)}")


def has_files(place: Path) -> bool:
    """Return whether a folder holds anything that is not hidden, or cannot be read."""
    try:
        return any(not name.startswith(".") for name in os.listdir(place))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
