"""Initialisers: weights first, then biases, once, before the optimizer exists.

Each is called as `(model, images, targets, act) -> None` and draws from torch's default generator, which the caller has seeded.
`images` and `targets` are one preprocessed training batch, `act` makes the activation of the hidden layers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.errors import require

Act = Callable[[], nn.Module]


def producers(model: nn.Module) -> Iterator[nn.Module]:
    """The layers with a weight matrix or kernel: dense layers and convolutions, in the order they were made."""
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.modules.conv._ConvNd)):
            yield module


def weights(model: nn.Module) -> Iterator[Tensor]:
    """The parameters behind those layers' weights, also where a parametrisation (DropConnect) stands before them."""
    for module in producers(model):
        parametrized = getattr(module, "parametrizations", None)
        yield parametrized.weight.original if parametrized and "weight" in parametrized else module.weight


@dataclass(frozen=True, kw_only=True)
class Default:
    """Leave what torch drew when the layers were made: Uniform(-r, r), r = 1 / sqrt(fan_in)."""

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act: Act) -> None:
        pass


@dataclass(frozen=True, kw_only=True)
class Zeros:
    """w = 0. Units of a layer receive the same gradient and never become different."""

    @torch.no_grad()
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act: Act) -> None:
        for weight in weights(model):
            weight.zero_()


@dataclass(frozen=True, kw_only=True)
class SmallNormal:
    """w ~ N(0, std^2).

    Args:
        std: standard deviation, > 0. cs231n: 0.01.
    Errors: ValueError.
    """

    std: float = 0.01

    def __post_init__(self) -> None:
        require("> 0", std=self.std)

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act: Act) -> None:
        for weight in weights(model):
            nn.init.normal_(weight, std=self.std)


@dataclass(frozen=True, kw_only=True)
class XavierNormal:
    """w ~ N(0, 2 / (fan_in + fan_out)) (Glorot & Bengio, 2010, eq. 12). Fans of a convolution count its kernel's area."""

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act: Act) -> None:
        for weight in weights(model):
            nn.init.xavier_normal_(weight)


@dataclass(frozen=True, kw_only=True)
class HeNormal:
    """w ~ N(0, 2 / fan_in) (He et al., 2015, arXiv:1502.01852, eq. 10). The fan of a convolution counts its kernel's area."""

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act: Act) -> None:
        for weight in weights(model):
            nn.init.kaiming_normal_(weight, nonlinearity="relu")


@dataclass(frozen=True, kw_only=True)
class ZeroBias:
    """b = 0 in every dense layer and convolution. Norm layers keep their own."""

    @torch.no_grad()
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act: Act) -> None:
        for module in producers(model):
            if module.bias is not None:
                module.bias.zero_()
