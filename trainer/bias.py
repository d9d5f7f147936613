"""Initialisers of biases: `(model, targets, criterion) -> None`, once, after the weights. Norm layers stay."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.base.checks import require
from trainer.base.layers import weight_layers
from trainer.base.protocols import Criterion, HasBestConstant


def biases(layers: Iterable[nn.Module]) -> list[Tensor]:
    """Return the biases of the layers that have one."""
    return [layer.bias for layer in layers if layer.bias is not None]


@dataclass(frozen=True, kw_only=True)
class Zero:
    """Zero biases: b = 0 in every dense layer and convolution."""

    @torch.no_grad()
    def __call__(self, model: nn.Module, targets: Tensor, criterion: Criterion) -> None:
        for bias in biases(weight_layers(model)):
            bias.zero_()


@dataclass(frozen=True, kw_only=True)
class Constant:
    """Constant biases: b = value in the hidden layers, so that ReLUs begin alive; b = head in the last layer.

    Args:
        value: of the hidden layers' biases, any finite number. cs231n: 0.01 to 0.1.
        head: of the last layer's biases, the initial outputs, any finite number.
    Errors: ValueError where no hidden layer has a bias.
    """

    value: float = 0.1
    head: float = 0.0

    def __post_init__(self) -> None:
        require("in (-inf, inf)", value=self.value, head=self.head)

    @torch.no_grad()
    def __call__(self, model: nn.Module, targets: Tensor, criterion: Criterion) -> None:
        *hidden, last = weight_layers(model)
        found = biases(hidden)
        if not found:
            why = "the norms replace it" if hidden else "the model has no hidden layer"
            raise ValueError(f"needs a bias in the hidden layers, but {why}; try bias=zero, norm=none")
        for bias in found:
            bias.fill_(self.value)
        if last.bias is not None:
            last.bias.fill_(self.head)


@dataclass(frozen=True, kw_only=True)
class Marginal:
    """Bias of the last layer from the training targets: the best constant prediction of the loss; hidden biases are 0.

    cross_entropy: log of each class's frequency; bce: the logit of each output's; mse: the mean; hinge: see there.
    While the weights are small, the first loss is that of the constant: the entropy of the labels, the variance.

    Errors: ValueError where the last layer has no bias, and for a loss without `constant`.
    Source: Goodfellow et al., Deep Learning, 2016, section 8.4. Differs from the book: frequencies are at least that of
    half a sample.
    """

    @torch.no_grad()
    def __call__(self, model: nn.Module, targets: Tensor, criterion: Criterion) -> None:
        if not isinstance(criterion, HasBestConstant):
            needs = f"needs the best constant prediction, and {type(criterion).__name__} has no method `constant`"
            raise ValueError(f"{needs}; try bias=zero")
        layers = list(weight_layers(model))
        if layers[-1].bias is None:
            raise ValueError("needs a bias in the last layer, but the model has none there; try bias=zero")
        for bias in biases(layers):
            bias.zero_()
        layers[-1].bias.copy_(criterion.constant(targets.cpu().double()))  # MPS has no float64
