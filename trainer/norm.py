"""Normalisation layers for tables (B, D) and images (B, C, H, W) alike: each class is a factory, (channels) -> layer.

`place` tells the layer factory the place of the norm: before the activation, as in the papers, or after it. `on_input`
puts one more before the first layer of the model.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainer.base.checks import require, require_one_of


def require_values(name: str, x: Tensor, groups: int, least: int) -> None:
    """Require a minimum of values that a norm averages in each group of a sample. Errors: ValueError."""
    total = math.prod(x.shape[1:])
    if total // groups < least:
        smaller = [count for count in range(1, groups) if x.shape[1] % count == 0 and total // count >= least]
        advice = [f"norm.groups={smaller[-1]}"] if name == "group" and smaller else []
        advice += ["norm=batch"] if total == 1 else ["norm=batch", "norm=rms"]
        few = "one value" if total == groups else "two values (they become 1 and -1)"
        shape = tuple(x.shape[1:])
        raise ValueError(
            f"norm={name}: there is only {few} to average, in a layer with outputs of shape {shape};"
            f" try {', '.join(advice)}"
        )


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Fields that all norms share.

    Args:
        affine: learn gamma and beta.
        place: before_act or after_act. Papers: before_act.
        on_input: normalise the model's input as well.
    Errors: ValueError.
    """

    affine: bool = True
    place: str = "before_act"
    on_input: bool = False

    def __post_init__(self) -> None:
        require_one_of("before_act", "after_act", place=self.place)


@dataclass(frozen=True, kw_only=True)
class Norm(Placed):
    """Fields that all norms with statistics share.

    Args:
        eps: added to the variance, >= 0. torch: 1e-5 (Keras: 1e-3).
        affine, place, on_input: as in Placed.
    Errors: ValueError.
    """

    eps: float = 1e-5

    def __post_init__(self) -> None:
        require(">= 0", eps=self.eps)
        super().__post_init__()


@dataclass(frozen=True, kw_only=True)
class Identity:
    """No normalisation: nn.Identity."""

    def __call__(self, channels: int) -> nn.Module:
        return nn.Identity()


@dataclass(frozen=True, kw_only=True)
class Batch(Norm):
    """Normalise each channel over the batch and the image (Ioffe & Szegedy, 2015).

    y = gamma (x - mean) / sqrt(var + eps) + beta, with the batch's mean and biased variance in training and their
    running averages in evaluation; the running variance is the unbiased one. The averages tend to the data set's
    statistics.

    Args:
        eps: added to the variance, > 0, as torch asks. torch: 1e-5 (Keras: 1e-3).
        momentum: weight of the newest batch in the running averages, in (0, 1]. torch: 0.1. Keras names
            the weight of the past: its momentum=0.99 is 0.01 here.
        affine, place, on_input: as in Norm.
    Shapes: (B, C, ...) -> (B, C, ...). Errors: ValueError in training when one value a channel is left to average.
    Source: arXiv:1502.03167, algorithm 1. Differs from the paper: no.
    """

    momentum: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require("> 0", eps=self.eps)
        require("in (0, 1]", momentum=self.momentum)

    def __call__(self, channels: int) -> nn.Module:
        return BatchNorm(channels, self.eps, self.momentum, self.affine)


class BatchNorm(_BatchNorm):
    """Batch norm of torch for inputs of any rank."""

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept any rank: batch_norm keeps dimension 1 and averages over the others."""


@dataclass(frozen=True, kw_only=True)
class Layer(Norm):
    """Normalise each sample over its own channels and pixels (Ba et al., 2016).

    y = gamma (x - mean) / sqrt(var + eps) + beta, mean and biased variance over all but the first dimension,
    gamma and beta one a channel; the same in training and evaluation.

    Args:
        eps, affine, place, on_input: as in Norm.
    Shapes: (B, C, ...) -> (B, C, ...). Errors: ValueError, also where a sample has two values or fewer.
    Source: arXiv:1607.06450, eq. (3). Differs from the paper: no.
    """

    def __call__(self, channels: int) -> nn.Module:
        return GroupNorm(1, channels, self.eps, self.affine, "layer")


@dataclass(frozen=True, kw_only=True)
class Instance(Norm):
    """Normalise each channel of each sample over its own pixels (Ulyanov et al., 2016).

    y = gamma (x - mean) / sqrt(var + eps) + beta, mean and biased variance over height and width; the same in training
    and evaluation.

    Args:
        eps, affine, place, on_input: as in Norm.
    Shapes: (B, C, H, W) -> (B, C, H, W). Errors: ValueError, also with two values a channel or fewer, as in tables.
    Source: arXiv:1607.08022, eq. (2). Differs from the paper: no.
    """

    def __call__(self, channels: int) -> nn.Module:
        return GroupNorm(channels, channels, self.eps, self.affine, "instance")


@dataclass(frozen=True, kw_only=True)
class Group(Norm):
    """Normalise each sample over groups of channels and their pixels (Wu & He, 2018).

    y = gamma (x - mean) / sqrt(var + eps) + beta, mean and biased variance over the C / groups channels of a group and
    the image, gamma and beta one a channel; the same in training and evaluation.

    Args:
        groups: G, >= 1. Paper: 32. Where G does not divide C, or makes groups of one channel, the next smaller number
            that does neither.
        eps, affine, place, on_input: as in Norm.
    Shapes: (B, C, ...) -> (B, C, ...). Errors: ValueError, also with two values a group or fewer, as in tables of 64
    units.
    Source: arXiv:1803.08494, eq. (7).
    Differs from the paper: fewer groups where 32 do not fit (the paper's layers all have 64 m channels).
    """

    groups: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        require(">= 1", groups=self.groups)

    def __call__(self, channels: int) -> nn.Module:
        most = min(self.groups, max(1, channels // 2))
        groups = max(count for count in range(1, most + 1) if channels % count == 0)
        return GroupNorm(groups, channels, self.eps, self.affine, "group")


class GroupNorm(nn.GroupNorm):
    """Group norm of torch that refuses groups of one value or two, in evaluation as well.

    A single value normalised by itself is 0 and two are 1 and -1 for any input, so no layer before would learn.
    """

    def __init__(self, groups: int, channels: int, eps: float, affine: bool, name: str) -> None:
        super().__init__(groups, channels, eps, affine)
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        require_values(self.name, x, self.num_groups, 3)
        return super().forward(x)


@dataclass(frozen=True, kw_only=True)
class Rms(Norm):
    """Divide each sample by its own root mean square (Zhang & Sennrich, 2019).

    y = gamma x / sqrt(mean(x^2) + eps) + beta, the mean over all but the first dimension, gamma and beta one a channel;
    the same in training and evaluation. The mean is not subtracted.

    Args:
        eps: added to the mean square, >= 0. Keras: 1e-6.
        affine: learn gamma and beta (the paper's bias is added after the division too).
        place, on_input: as in Norm.
    Shapes: (B, C, ...) -> (B, C, ...). Errors: ValueError, also where a sample has one value, of which only the sign
    would remain.
    Source: arXiv:1910.07467, eq. (2) and (4). Differs from the paper: eps, which it leaves out.
    """

    eps: float = 1e-6

    def __call__(self, channels: int) -> nn.Module:
        return RmsNorm(channels, self.eps, self.affine)


class RmsNorm(nn.Module):
    """Root mean square norm, gamma x / rms(x) + beta, of any rank (torch.nn.RMSNorm normalises the last dimensions)."""

    normalizes = True

    def __init__(self, channels: int, eps: float, affine: bool) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        require_values("rms", x, 1, 2)
        x = nn.functional.rms_norm(x, x.shape[1:], eps=self.eps)
        return x if self.weight is None else scale_and_shift(x, self.weight, self.bias)


@dataclass(frozen=True, kw_only=True)
class DynamicTanh(Placed):
    """Dynamic Tanh, in place of a norm (Zhu et al., 2025): squeeze large values, take no statistics.

    y = gamma tanh(alpha x) + beta, alpha one learned number for the layer, gamma and beta one a channel; the same in
    training and evaluation. As |tanh(alpha x)| < alpha |x|, deep nets without shortcuts fade.

    Args:
        alpha: at the start, > 0. Paper: 0.5 (0.2 to 1 in large language models).
        affine, place, on_input: as in Placed.
    Shapes: (B, C, ...) -> (B, C, ...). Errors: ValueError.
    Source: arXiv:2503.10622, eq. (1) and algorithm 1. Differs from the paper: no.
    """

    alpha: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require("> 0", alpha=self.alpha)

    def __call__(self, channels: int) -> nn.Module:
        return TanhNorm(channels, self.alpha, self.affine)


class TanhNorm(nn.Module):
    """Layer of norm=dyt, gamma tanh(alpha x) + beta."""

    normalizes = True

    def __init__(self, channels: int, alpha: float, affine: bool) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.full((1,), alpha))
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.alpha * x)
        return x if self.weight is None else scale_and_shift(x, self.weight, self.bias)


def scale_and_shift(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return gamma x + beta, gamma and beta one a channel (C,), of x (B, C, ...)."""
    shape = (-1, *[1] * (x.dim() - 2))
    return torch.addcmul(bias.view(shape), x, weight.view(shape))
