"""An initialiser for deep residual nets without norm layers."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.base.layers import Residual, fans, weight_layers, weight_of
from trainer.init.gain import Act, gain

NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


@dataclass(frozen=True, kw_only=True)
class Fixup:
    """Residual nets that train without norm layers: steps of the whole net do not grow with its depth (Zhang et al., 2019).

    1. The last layer of the net and of each branch is 0. 2. All others are w ~ N(0, gain(act)^2 / fan_in), those in a branch of m
    layers times L^(-1 / (2 m - 2)), L the number of branches. 3. A learned scalar, 0 at first, is added before each
    layer and activation of a branch and before the activation behind the sum, and one factor, 1 at first, ends each branch.

    Errors: ValueError without residual blocks, and with norm layers.
    Source: arXiv:1901.09321, the three rules of Fixup. Differs from the paper: biases of the layers themselves stay; layers outside the branches
    get no scalars.
    """

    @torch.no_grad()
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act: Act) -> None:
        blocks = [module for module in model.modules() if isinstance(module, Residual)]
        if not blocks:
            raise ValueError("is for residual nets, the model has no residual block; try model=resnet20, norm=none")
        if any(isinstance(module, NORMS) or hasattr(module, "eps") for module in model.modules()):
            raise ValueError("stands in for norm layers, the model has them; try norm=none, init=he_normal")
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
    """Rule 3, in blocks within the branch as well. Layers stay the objects they are."""
    block.branch = nn.Sequential(*shifted(block.branch, device), Scale().to(device))
    if not isinstance(block.after, nn.Identity):
        block.after = nn.Sequential(Shift().to(device), block.after)


def shifted(branch: nn.Module, device: torch.device) -> list[nn.Module]:
    """The parts of a branch, those with nothing to learn from (pooling, dropping, flattening) as they are, a Shift before the others."""
    parts: list[nn.Module] = []
    for part in branch:
        if isinstance(part, nn.Sequential):
            parts += shifted(part, device)
        elif (
            isinstance(part, nn.Flatten)
            or "pool" in type(part).__name__.lower()
            or "drop" in type(part).__name__.lower()
        ):
            parts.append(part)
        else:
            parts += [Shift().to(device), part]
    return parts


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
