"""Settings that are `auto`: what was decided for them and why, and how a resumed run keeps it."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf

KEPT = ("precision",)  # recorded in config.yaml; what changes no result is in the checkpoints
AUTO, AS_BEFORE = "auto", "as the run began"


@dataclass(frozen=True)
class Decision:
    """Decision on a setting that is `auto`.

    Args:
        value: in its place.
        reason: in words.
    """

    value: str
    reason: str

    def __str__(self) -> str:
        return f"{self.value} (auto: {self.reason})"


def recorded(cfg: Mapping, saved: Mapping) -> dict[str, Decision]:
    """Return the decisions that a run has recorded for the keys that are `auto`.

    Args:
        saved: the run's own configuration.
    """
    asked = [key for key in KEPT if cfg[key] == AUTO]
    return {key: Decision(saved[key], AS_BEFORE) for key in asked if saved.get(key, AUTO) != AUTO}


def with_decisions(cfg: DictConfig, decisions: Mapping[str, Decision]) -> DictConfig:
    """Return a configuration with what was decided in place of `auto`."""
    decided = {key: decisions[key].value for key in KEPT if key in decisions and cfg[key] == AUTO}
    made = copy.deepcopy(cfg) if decided else cfg
    for key, value in decided.items():
        OmegaConf.update(made, key, value)
    return made
