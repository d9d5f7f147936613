"""A built run together with what was chosen for it, for advice and remarks."""

from collections.abc import Mapping
from dataclasses import dataclass

from omegaconf import DictConfig
from torch import nn

from trainer.base.errors import ConfigError
from trainer.config import catalog
from trainer.config.hydra_context import Invocation
from trainer.config.instantiate import factory
from trainer.engine.run import Run

PROBE_CHANNELS = 64  # of a norm that is made to learn its type


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A built run with its configuration and its options by group; `reg` and `aug` are sets."""

    cfg: DictConfig
    run: Run
    invocation: Invocation
    chosen: Mapping

    @property
    def optimizers(self) -> dict[str, str]:
        """Return the options of the optimizer and of those that it wraps, by their keys."""
        return {key: option for key, option in self.chosen.items() if key.partition(".")[0] == "optimizer"}

    def has_layer(self, group: str, *arguments: object) -> bool:
        """Return whether the model holds a layer of the type that a group's option makes; True where unknown."""
        try:
            made = factory(self.cfg, group, self.invocation)(*arguments)
            layer = made(PROBE_CHANNELS) if group == "norm" else made
        except (ConfigError, ValueError):
            return True
        return isinstance(layer, nn.Identity) or any(isinstance(part, type(layer)) for part in self.run.model.modules())


def make_setup(cfg: DictConfig, run: Run, invocation: Invocation) -> Setup | None:
    """Return the setup of a run; None where it was built without a command, so that its options are not known."""
    several = {group: set(names) for group, names in catalog.selected(cfg).items()}
    chosen = {**invocation.choices, **several}
    return Setup(cfg=cfg, run=run, invocation=invocation, chosen=chosen) if invocation.choices else None
