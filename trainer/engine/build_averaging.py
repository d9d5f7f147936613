"""The averaging of a run, built from its node."""

from collections.abc import Callable

from omegaconf import DictConfig
from torch import nn

from trainer.base.cycle_protocols import FollowsSchedule
from trainer.config.hydra_context import Invocation
from trainer.config.instantiate import factory


def make_averaging(cfg: DictConfig, model: nn.Module, sched: Callable, invocation: Invocation) -> object:
    """Make the averaging of a model's weights.

    Args:
        sched: the schedule without its warm-up.
    """
    averaging = factory(cfg, "averaging", invocation)(model)
    if isinstance(averaging, FollowsSchedule):
        averaging.follow(sched)
    return averaging
