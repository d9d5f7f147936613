"""Options that a model brings along, where its data brings another: the model's win, and what is typed wins over both.

Hydra takes those of the data set, which comes later in the list of defaults. No torch here.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace

from omegaconf import DictConfig, OmegaConf, flag_override

from trainer.config import catalog
from trainer.config.hydra_context import Invocation
from trainer.config.keys import key_of
from trainer.config.quoting import unquote
from trainer.config.replaced import without_replaced


def chosen_by_model(overrides: Sequence[str]) -> dict[str, str]:
    """Return the options of other groups that the model of a command brings, without those that are typed.

    A recipe (experiment=) counts as typed.
    """
    typed = {key_of(text).lstrip("+"): unquote(text.partition("=")[2]) for text in overrides}
    recipe = brought("experiment", typed.get("experiment"))
    model = brought("model", typed.get("model", recipe.get("model")))
    given = {*recipe, *(key.partition(".")[0] for key in typed)}
    return {group: option for group, option in model.items() if group not in given}


def brought(group: str, option: str | None) -> dict[str, str]:
    """Return the options of other groups that an option chooses along with itself; none for an unknown one."""
    if option is None or option not in catalog.options(group):
        return {}
    return dict(text.split("=", 1) for text in catalog.overrides(catalog.file(group, option)))


def settled(cfg: DictConfig | Mapping, overrides: Sequence[str]) -> DictConfig | Mapping:
    """Return a configuration with the options that the model of its command brings. It may be settled already.

    What an experiment sets for options that the command has replaced is left out.
    """
    cfg = without_replaced(cfg, overrides)
    chosen = {group: content_of(group, option) for group, option in chosen_by_model(overrides).items()}
    changed = {group: node for group, node in chosen.items() if cfg[group]["_target_"] != node["_target_"]}
    if not changed:
        return cfg
    if not OmegaConf.is_config(cfg):
        return {**cfg, **changed}
    made = copy.deepcopy(cfg)
    with flag_override(made, ["struct", "readonly"], False):
        for group, node in changed.items():
            made[group] = node
    return made


def content_of(group: str, option: str) -> dict:
    """Return what the file of an option sets."""
    return copy.deepcopy(catalog.content(catalog.file(group, option)))


def settled_invocation(invocation: Invocation) -> Invocation:
    """Return an invocation whose choices are those of its settled configuration."""
    return replace(invocation, choices={**invocation.choices, **chosen_by_model(invocation.overrides)})
