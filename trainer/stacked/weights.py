"""Weights of several models of equal shapes as stacked tensors, of which each model's own are views."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class StackedWeights:
    """Parameters and buffers of K models as tensors (K, ...); those of model k become views of the slices k.

    What changes a model's own weights in place - its optimizer, a regulariser, a checkpoint that is loaded - changes
    the stack, and the reverse. `release` gives the models tensors of their own again.

    Args:
        models: with the same parameters and buffers, by name, shape and type.
    """

    @torch.no_grad()
    def __init__(self, models: Sequence[nn.Module]) -> None:
        self.models = models
        self.names = [name for name, weight in models[0].named_parameters() if weight.requires_grad]
        self._stacked: dict[int, Tensor] = {}  # by the first model's tensor
        self._own = [dict(model.named_parameters()) for model in models]
        for name, first in self._own[0].items():
            stacked = torch.stack([own[name] for own in self._own])
            for own, part in zip(self._own, stacked.unbind()):
                own[name].data = part
            self._stacked[id(first)] = stacked.requires_grad_(first.requires_grad)
        self._buffers = [[*places_of_buffers(model)] for model in models]
        for places in zip(*self._buffers):
            self._stack_buffer(places)
        self.trained = [self.of(self._own[0][name]) for name in self.names]
        self.own = [[own[name] for name in self.names] for own in self._own]  # trained parameters, by model

    def _stack_buffer(self, places: Sequence[tuple[nn.Module, str]]) -> None:
        stacked = torch.stack([module._buffers[name] for module, name in places])
        for (module, name), part in zip(places, stacked.unbind()):
            module._buffers[name] = part
        module, name = places[0]
        self._stacked[id(module._buffers[name])] = stacked

    def of(self, first: Tensor) -> Tensor:
        """Return the stack (K, ...) that holds a parameter or a buffer of the first model."""
        return self._stacked[id(first)]

    def clear_gradients(self) -> None:
        """Forget the gradients of the step before."""
        for weight in self.trained:
            weight.grad = None

    def share_gradients(self) -> None:
        """Give each model's trained parameters their gradients, views of the stacked ones."""
        none = [None] * len(self.models)
        for weights, stacked in zip(zip(*self.own), self.trained):
            for weight, gradient in zip(weights, none if stacked.grad is None else stacked.grad.unbind()):
                weight.grad = gradient

    def release(self) -> None:
        """Give each model tensors of its own."""
        for own in self._own:
            for weight in own.values():
                weight.data, weight.grad = weight.data.clone(), None
        for places in self._buffers:
            for module, name in places:
                module._buffers[name] = module._buffers[name].clone()


def places_of_buffers(model: nn.Module):
    """Yield each module of a model with the name of each of its buffers."""
    for module in model.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None:
                yield module, name
