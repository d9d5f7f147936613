"""A laboratory for training neural networks: `load`, `train` and `compare` from Python; the command is `train`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainer.api import TrainedModel, TrainedRun, compare, load, train

__all__ = ["TrainedModel", "TrainedRun", "compare", "load", "train"]


def __getattr__(name: str) -> object:
    """Import what is asked for, and torch with it: the command must start without."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from trainer import api

    return getattr(api, name)
