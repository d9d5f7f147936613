"""Fixup, the initialiser for deep residual networks without norm layers."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules import pooling

from trainer.base.layers import Residual, drops_in_training, fans, is_norm, weight_layers, weight_of
from trainer.base.protocols import Act
from trainer.init.gain import gain

POOLS = (
    pooling._MaxPoolNd, pooling._AvgPoolNd, pooling._LPPoolNd, pooling._AdaptiveMaxPoolNd, pooling._AdaptiveAvgPoolNd,
    nn.FractionalMaxPool2d, nn.FractionalMaxPool3d,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Fixup:
    """Fixup: residual networks without norms, whose steps do not grow with their depth (Zhang et al., 2019).

    1. The last layer of the network and of each branch is 0. 2. All others are w ~ N(0, gain(act)^2 / fan_in), those in
    a branch of m layers times L^(-1 / (2 m - 2)), L the number of branches. 3. A learned scalar, 0 at first, is added
    before each layer and activation of a branch and before the activation behind the sum, and one factor, 1 at first,
    ends each branch.

    Errors: ValueError without residual blocks, and with norm layers.
    Source: arXiv:1901.09321, the three rules of Fixup. Differs from the paper: biases of the layers themselves stay;
    layers outside the branches get no scalars.
    """

    @torch.no_grad()
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act: Act) -> None:
        blocks = [module for module in model.modules() if isinstance(module, Residual)]
        if not blocks:
            raise ValueError("needs residual blocks, but the model has none; try model=resnet20 norm=none")
        if any(is_norm(module) for module in model.modules()):
            raise ValueError("replaces norm layers, but the model has some; try norm=none, init=he_normal")
        layers, scale = list(weight_layers(model)), gain(act)
        for layer in layers:
            nn.init.normal_(weight_of(layer), std=scale * fans(layer)[0] ** -0.5)
        for block in blocks:
            inner = list(weight_layers(block.branch))
            for layer in inner[:-1]:
                weight_of(layer).mul_(len(blocks) ** (-1 / (2 * len(inner) - 2)))
            for layer in inner[-1:]:
                weight_of(layer).zero_()
            insert_scalars(block, images.device)
        weight_of(layers[-1]).zero_()


def insert_scalars(block: Residual, device: torch.device) -> None:
    """Apply rule 3 to a block, and to blocks within its branch. Layers stay the objects they are."""
    block.branch = nn.Sequential(*with_shifts(block.branch, device), Scale().to(device))
    if not isinstance(block.after, nn.Identity):
        block.after = nn.Sequential(Shift().to(device), block.after)


def with_shifts(branch: nn.Module, device: torch.device) -> list[nn.Module]:
    """Return the layers of a branch with a Shift before each weight layer and activation.

    Pooling, dropping and flattening take none.
    """
    layers: list[nn.Module] = []
    for layer in branch:
        if isinstance(layer, nn.Sequential):
            layers += with_shifts(layer, device)
        elif isinstance(layer, (nn.Flatten, *POOLS)) or drops_in_training(layer):
            layers.append(layer)
        else:
            layers += [Shift().to(device), layer]
    return layers


class Shift(nn.Module):
    """x + b, b a learned scalar, 0 at first."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias


class Scale(nn.Module):
    """a x, a a learned scalar, 1 at first."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight
