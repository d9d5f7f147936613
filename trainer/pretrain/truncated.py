"""The lower layers of a network, up to the input of one of its layers."""

import torch
from torch import Tensor, nn

from trainer.base.layers import preserved_modes

PLACES = 2  # by as many of a map's averages that a fresh head looks at


class Reached(Exception):
    """Raised by a forward pass at the layer where it is to end."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = values


def input_of(network: nn.Module, layer: str, images: Tensor) -> Tensor:
    """Return what a layer of a network takes for images (B, ...); the layers behind it are not computed.

    Args:
        layer: name of the module.
    """

    def leave(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        raise Reached(inputs[0])

    handle = network.get_submodule(layer).register_forward_pre_hook(leave)
    try:
        network(images)
    except Reached as reached:
        return reached.values
    finally:
        handle.remove()
    raise ValueError(f"its layer {layer} takes no part in a forward pass")


class Truncated(nn.Module):
    """A network up to the input of one of its layers, under another head.

    Args:
        network: whose weights are trained.
        layer: name of the first layer that is left out.
        head: module that takes the layer's input.
    Shapes: (B, ...) -> those of the head.
    """

    def __init__(self, network: nn.Module, layer: str, head: nn.Module) -> None:
        super().__init__()
        self.network, self.layer, self.head = network, layer, head

    def forward(self, images: Tensor) -> Tensor:
        return self.head(input_of(self.network, self.layer, images))


@torch.no_grad()
def shape_before(network: nn.Module, layer: str, images: Tensor) -> tuple[int, ...]:
    """Return the shape of what a layer takes for one sample, in evaluation mode."""
    with preserved_modes(network):
        return tuple(input_of(network.eval(), layer, images).shape[1:])


class MeanOfTokens(nn.Module):
    """Mean over the tokens: (B, T, D) -> (B, D)."""

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens.mean(1)


def fresh_head(shape: tuple[int, ...], outputs: int) -> nn.Sequential:
    """Return a linear head for the outputs of a hidden layer: (B, *shape) -> (B, K).

    It sees a vector as it is, maps (C, H, W) by their averages over 2x2 places (Belilovsky et al., 2019,
    arXiv:1812.11446), and tokens (T, D) by their mean.
    """
    if len(shape) == 3:
        places = [min(PLACES, side) for side in shape[1:]]
        pool, inputs = [nn.AdaptiveAvgPool2d(places), nn.Flatten()], shape[0] * places[0] * places[1]
    elif len(shape) == 2:
        pool, inputs = [MeanOfTokens()], shape[1]
    elif len(shape) == 1:
        pool, inputs = [], shape[0]
    else:
        raise ValueError(f"its hidden layers give outputs of shape {shape}, for which there is no head")
    return nn.Sequential(*pool, nn.Linear(inputs, outputs))
