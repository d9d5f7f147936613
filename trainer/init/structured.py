"""Structured matrices as initial weights: orthogonal, identity, Dirac. Biases and norm layers stay as they are."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.base.hooks import pieces_of
from trainer.base.layers import weight_layers, weight_of
from trainer.base.protocols import Act
from trainer.init.gain import require_gain, resolve_gain


@dataclass(frozen=True, kw_only=True)
class Orthogonal:
    """Orthogonal initialisation (Saxe et al., 2014): W = gain Q, Q a random (semi-)orthogonal matrix.

    W W^T = gain^2 I, or W^T W = gain^2 I where there are more rows than columns. Q comes from the QR decomposition of
    normal draws, with R's diagonal made positive. A convolution is the matrix (outputs, inputs x kernel area), one for
    each of its groups.

    Args:
        gain: factor, > 0, or act for the gain of the activation. Saxe: 1 for linear nets, above it for others.
    Errors: ValueError. Source: arXiv:1312.6120, section 3, and 4 for the gain. Differs from the paper: no.
    """

    gain: float | str = "act"

    def __post_init__(self) -> None:
        require_gain(self.gain)

    @torch.no_grad()
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act: Act) -> None:
        scale = resolve_gain(self.gain, act)
        for layer in weight_layers(model):
            for block in weight_of(layer).chunk(getattr(layer, "groups", 1)):
                nn.init.orthogonal_(block, scale)


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Identity matrices in the hidden dense layers (Le et al., 2015).

    The first and the last layer, whose shapes the data sets, keep torch's draw.

    Errors: ValueError where a hidden layer is not square or is a convolution, and where there is none.
    Source: arXiv:1504.00941. Differs from the paper: layers of a feed-forward net instead of a recurrent one.
    """

    @torch.no_grad()
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act: Act) -> None:
        hidden = list(weight_layers(model))[1:-1]
        if not hidden:
            why = "needs layers between the first and the last, but the model has none"
            raise ValueError(f"{why}; try model=mlp, init=orthogonal")
        for layer in hidden:
            if not isinstance(layer, nn.Linear):
                raise ValueError("is for dense layers, but the model has hidden convolutions; try init=dirac")
            if layer.in_features != layer.out_features:
                shape = f"{layer.in_features} inputs and {layer.out_features} outputs"
                nearest = "hidden layers of one width" if pieces_of(act()) == 1 else "act=relu"
                raise ValueError(f"needs square hidden layers, but one has {shape}; try {nearest}, init=orthogonal")
        for layer in hidden:
            nn.init.eye_(weight_of(layer))


@dataclass(frozen=True, kw_only=True)
class Dirac:
    """Dirac filters (Zagoruyko & Komodakis, 2017): convolutions that pass their input on.

    In each group the filter i is 1 at the centre of channel i, else 0. Filters beyond the number of channels keep
    torch's draw, since a filter of zeros would be dead under ReLU; so do dense layers.

    Errors: ValueError without convolutions, and for kernels with an even side, which have no centre.
    Source: DiracNets, arXiv:1706.00388 (its Dirac parameterization). Differs from the paper: the identity is only the
    start, not kept beside the weights.
    """

    @torch.no_grad()
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act: Act) -> None:
        convolutions = [layer for layer in weight_layers(model) if not isinstance(layer, nn.Linear)]
        if not convolutions:
            raise ValueError("is for convolutions, but the model has none; try init=auto, init=orthogonal")
        for layer in convolutions:
            if not all(side % 2 for side in layer.kernel_size):
                size = " x ".join(map(str, layer.kernel_size))
                raise ValueError(f"needs kernels with a centre, but one is {size}; try odd kernels, init=orthogonal")
        for layer in convolutions:
            centre = tuple(side // 2 for side in layer.kernel_size)
            for block in weight_of(layer).chunk(layer.groups):
                for channel in range(min(block.shape[:2])):
                    block[channel].zero_()
                    block[(channel, channel, *centre)] = 1
