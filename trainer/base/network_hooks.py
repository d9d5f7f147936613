"""Hooks of a model around a library's network, and of the preprocessing that goes by it: more of base/protocols.py."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from trainer.base.protocols import Apply


@runtime_checkable
class KnowsLayers(Protocol):
    """A model that knows its layers better than a forward pass shows them."""

    made_for: tuple[int, int]  # height and width of the images that it is made for

    def head_layers(self) -> Sequence[nn.Module]:
        """Return the modules that make the outputs; none where the library does not say."""

    def layer_depths(self) -> Mapping[str, int]:
        """Return the depth of each parameter by its name, from 0 at the input; none where the library does not say."""

    def converted(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the weights of a file as this network names and shapes them."""


@runtime_checkable
class HasNormalization(Protocol):
    """A class of models that are made for inputs with a certain normalisation; asked before the model is made."""

    def normalization(self, **keys: object) -> tuple[Sequence[float], Sequence[float]]:
        """Return mean and deviation of each channel, for the keys of the model's option."""


@runtime_checkable
class GoesByModel(Protocol):
    """A preprocessing that takes what it needs from the model's class instead of the data."""

    def for_channels(self, mean: Sequence[float], deviation: Sequence[float], channels: int) -> Apply:
        """Return the preprocessing of images with so many channels."""
