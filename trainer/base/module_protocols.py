"""Hooks of the modules in a model: layers, activations, norms, whole networks. Those of techniques: protocols.py."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class DropsMaps(Protocol):
    """A layer of the `layer` slot that drops whole maps of images: it follows convolutions instead of dense layers."""

    on_maps: bool


@runtime_checkable
class FollowsAct(Protocol):
    """A layer of the `layer` slot that needs an activation's own outputs: it follows every activation directly."""

    follows_act: bool


@runtime_checkable
class DropsInTraining(Protocol):
    """A module that leaves something out in training, so that tta=mc_dropout can switch it on in evaluation."""

    drops_in_training: bool


@runtime_checkable
class DrawsInEvaluation(Protocol):
    """A layer that can draw at random in evaluation as well, so that tta=fractional can average over draws."""

    draws_in_evaluation: bool


@runtime_checkable
class Normalizes(Protocol):
    """A normalisation layer of our own; init=fixup, which is for networks without norms, refuses it."""

    normalizes: bool


@runtime_checkable
class HasPieces(Protocol):
    """An activation that makes one value of so many (maxout): the layer before it is as many times wider."""

    pieces: int


@runtime_checkable
class KnowsMeanSquare(Protocol):
    """An activation with pieces that knows its mean square on independent standard normal values; else it is drawn."""

    def mean_square(self) -> float:
        """Return E[f(z)^2]."""


@runtime_checkable
class LinearInput(Protocol):
    """A weight layer that takes a norm's output, or sums and means of it, rather than an activation's."""

    linear_input: bool


@runtime_checkable
class Pretrained(Protocol):
    """A model that may bring its weights along: no initialisation then."""

    pretrained: bool


@runtime_checkable
class KnowsLayers(Protocol):
    """A model around a library's network, which knows its layers better than a forward pass shows them."""

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
