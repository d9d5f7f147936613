"""Initialisers of weights on a fixed scale, whatever the layer's shape. All leave biases and norm layers alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from trainer.base.checks import require
from trainer.base.layers import weight_layers, weight_of
from trainer.base.protocols import Act

FINITE = "in (-inf, inf)"


@torch.no_grad()
def fill(model: nn.Module, rule: Callable[[Tensor], object]) -> None:
    """Change the weights of every layer by one rule, which works in place."""
    for layer in weight_layers(model):
        rule(weight_of(layer))


@dataclass(frozen=True, kw_only=True)
class Torch:
    """torch's own draw, made with the layers: Uniform(-r, r), r = 1 / sqrt(fan_in); models of torchvision draw others.

    Its variance 1 / (3 fan_in) is a sixth of what ReLUs need: behind each the variance falls to a sixth.
    """

    keeps_weights: ClassVar = True

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act: Act) -> None:
        pass


@dataclass(frozen=True, kw_only=True)
class Zeros:
    """Zeros: w = 0. Units of a layer receive the same gradient and never become different."""

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act: Act) -> None:
        fill(model, nn.init.zeros_)


@dataclass(frozen=True, kw_only=True)
class Ones:
    """Ones: w = 1. Units of a layer receive the same gradient and never become different."""

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act: Act) -> None:
        fill(model, nn.init.ones_)


@dataclass(frozen=True, kw_only=True)
class Constant:
    """Constant weights: w = value. Units of a layer receive the same gradient and never become different.

    Args:
        value: of every weight, any finite number.
    Errors: ValueError.
    """

    value: float = 0.01

    def __post_init__(self) -> None:
        require(FINITE, value=self.value)

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act: Act) -> None:
        fill(model, lambda weight: weight.fill_(self.value))


@dataclass(frozen=True, kw_only=True)
class SmallNormal:
    """Normal distribution with a small deviation, w ~ N(0, std^2): the signal dies out in deep networks.

    Args:
        std: standard deviation, >= 0. cs231n: 0.01 (also written N(0, 0.01): the deviation is meant, not the variance).
    Errors: ValueError.
    """

    std: float = 0.01

    def __post_init__(self) -> None:
        require(">= 0", std=self.std)

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act: Act) -> None:
        fill(model, lambda weight: weight.normal_(0, self.std))


@dataclass(frozen=True, kw_only=True)
class LargeNormal:
    """Normal distribution with a deviation that is large for wide layers, w ~ N(0, std^2).

    With 4096 inputs tanh saturates. Keras' alias `normal` is the same draw.

    Args:
        std: standard deviation, >= 0. cs231n: 0.05.
    Errors: ValueError.
    """

    std: float = 0.05

    def __post_init__(self) -> None:
        require(">= 0", std=self.std)

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act: Act) -> None:
        fill(model, lambda weight: weight.normal_(0, self.std))


@dataclass(frozen=True, kw_only=True)
class Normal:
    """Normal distribution: w ~ N(mean, std^2).

    Args:
        mean: any finite number. Lectures and Keras: 0.
        std: standard deviation, >= 0. Lectures: 1, the unit normal (Keras' `normal`: 0.05, which is large_normal).
    Errors: ValueError.
    """

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        require(FINITE, mean=self.mean)
        require(">= 0", std=self.std)

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act: Act) -> None:
        fill(model, lambda weight: weight.normal_(self.mean, self.std))


@dataclass(frozen=True, kw_only=True)
class Uniform:
    """Uniform distribution: w ~ Uniform(low, high), of mean (low + high) / 2 and variance (high - low)^2 / 12.

    Args:
        low, high: any finite numbers, low < high. Keras: -0.05 and 0.05.
    Errors: ValueError.
    """

    low: float = -0.05
    high: float = 0.05

    def __post_init__(self) -> None:
        require(FINITE, low=self.low, high=self.high)
        if self.low >= self.high:
            raise ValueError(f"low must be < high, got low={self.low} and high={self.high}")

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act: Act) -> None:
        fill(model, lambda weight: weight.uniform_(self.low, self.high))


@dataclass(frozen=True, kw_only=True)
class TruncatedNormal:
    """Truncated normal distribution: w ~ N(mean, std^2), drawn again more than two deviations from the mean.

    Args:
        mean: any finite number. Keras: 0.
        std: standard deviation before the cut, >= 0; the truncated draw has 0.8796 std. Keras: 0.05.
    Errors: ValueError.
    """

    mean: float = 0.0
    std: float = 0.05

    def __post_init__(self) -> None:
        require(FINITE, mean=self.mean)
        require(">= 0", std=self.std)

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act: Act) -> None:
        low, high = self.mean - 2 * self.std, self.mean + 2 * self.std
        if self.std == 0:  # torch divides by it
            return fill(model, lambda weight: weight.fill_(self.mean))
        fill(model, lambda weight: nn.init.trunc_normal_(weight, self.mean, self.std, low, high))
