"""Options of an experiment from overrides: what `train experiment=NAME` runs. No torch here."""

from collections.abc import Sequence

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from trainer.config import catalog
from trainer.config.keys import Role, key_of, role_of

SAVED = (Role.SHAPES, Role.LOCATION, Role.LENGTH, Role.RECOVERY)  # roles of what an experiment sets
GLOBAL = "# @package _global_"


def as_yaml(overrides: Sequence[str], comment: str) -> str:
    """Return the YAML of an experiment that does what these overrides do.

    What counts only on the command line, as allow=[PACKAGE], and where the run computes are left out.

    Args:
        comment: its first line, which `train --help experiment` shows.
    """
    defaults, values, parser = [], OmegaConf.create(), OverridesParser.create()
    for text in overrides:
        key = key_of(text)
        if role_of(key) not in SAVED:
            continue
        value = parser.parse_override(text).value()
        group = key.lstrip("+").partition("@")[0]
        if group == "experiment":
            defaults.insert(0, value)
        elif group in catalog.groups():
            defaults.append({f"override /{key}": value})
        else:
            OmegaConf.update(values, key.lstrip("+"), value)
    content = {**({"defaults": defaults} if defaults else {}), **OmegaConf.to_container(values)}
    return f"{GLOBAL}\n# {comment}\n{yaml.safe_dump(content, sort_keys=False)}"
