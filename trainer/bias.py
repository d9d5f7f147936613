"""Initialisers of biases: `(model, images, targets, act) -> None`, once, after the weights. Norm layers keep their own."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.base.checks import require
from trainer.base.layers import weight_layers


def biases(layers: Iterable[nn.Module]) -> list[Tensor]:
    return [layer.bias for layer in layers if layer.bias is not None]


@dataclass(frozen=True, kw_only=True)
class Zero:
    """b = 0 in every dense layer and convolution."""

    @torch.no_grad()
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act) -> None:
        for bias in biases(weight_layers(model)):
            bias.zero_()


@dataclass(frozen=True, kw_only=True)
class Constant:
    """b = value in the hidden layers, so that ReLUs begin alive; b = head in the last layer, what the outputs begin with.

    Args:
        value: of the hidden layers' biases, any finite number. cs231n: 0.01 to 0.1.
        head: of the last layer's biases, any finite number.
    Errors: ValueError where no hidden layer has a bias.
    """

    value: float = 0.1
    head: float = 0.0

    def __post_init__(self) -> None:
        require("in (-inf, inf)", value=self.value, head=self.head)

    @torch.no_grad()
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act) -> None:
        *hidden, last = weight_layers(model)
        found = biases(hidden)
        if not found:
            why = "the norms took them away" if hidden else "the model has no hidden layer"
            raise ValueError(f"needs hidden layers with a bias, {why}; try bias=zero, norm=none")
        for bias in found:
            bias.fill_(self.value)
        if last.bias is not None:
            last.bias.fill_(self.head)


@dataclass(frozen=True, kw_only=True)
class Marginal:
    """The last layer's bias gives, while the weights are small, the marginal statistics of the training targets; hidden biases are 0.

    Rows that are one-hot (N, K): b_c = log p_c, p_c the share of class c, at least half a sample's. One column of zeros and ones:
    b = log(p / (1 - p)), both shares at least half a sample's. Other targets: b_k = mean of column k. So the first loss is that of
    the best constant prediction: the labels' entropy, the binary entropy, the variance.

    Errors: ValueError where the last layer has no bias.
    Source: Goodfellow et al., Deep Learning, 2016, section 8.4. Differs from the book: the floor of half a sample.
    """

    @torch.no_grad()
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act) -> None:
        layers = list(weight_layers(model))
        if layers[-1].bias is None:
            raise ValueError("needs a last layer with a bias, the model's has none; try bias=zero")
        for bias in biases(layers):
            bias.zero_()
        layers[-1].bias.copy_(marginal(targets))


def marginal(targets: Tensor) -> Tensor:
    """The outputs (K,) whose constant prediction fits the targets (N, K) best."""
    targets = targets.cpu().double()  # MPS has no float64
    mean, floor = targets.mean(0), 0.5 / len(targets)
    if not ((targets == 0) | (targets == 1)).all():
        return mean
    if targets.shape[1] == 1:
        return mean.clamp(floor, 1 - floor).logit()
    return mean.clamp(floor).log() if (targets.sum(1) == 1).all() else mean
