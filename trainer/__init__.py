"""A laboratory for training neural networks: `load`, `train` and `compare` from Python; the command is `train`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainer.api import TrainedRun, compare, train
    from trainer.inference.load import load
    from trainer.inference.model import TrainedModel

__all__ = ["TrainedModel", "TrainedRun", "compare", "load", "train"]
HOMES = {
    "load": "trainer.inference.load",
    "TrainedModel": "trainer.inference.model",
    **dict.fromkeys(("train", "compare", "TrainedRun"), "trainer.api"),
}


def __getattr__(name: str) -> object:
    """Import what is asked for: the command must start without torch."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(HOMES[name]), name)
