"""Normalisation layers that take tables (B, D) and images (B, C, H, W) alike."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class Batch(_BatchNorm):
    """Normalise each channel over the batch and the image (Ioffe & Szegedy, 2015).

    y = gamma (x - mean) / sqrt(var + eps) + beta, with the batch's mean and biased variance in training and their
    running averages in evaluation; the running variance is the unbiased one.

    Args:
        channels: C, or D for tables.
        eps: added to the variance, > 0. torch: 1e-5.
        momentum: weight of the newest batch in the running averages, in (0, 1]. torch: 0.1 (Keras writes 1 minus it: 0.9).
        affine: learn gamma and beta.
    Shapes: (B, C, ...) -> (B, C, ...). Errors: ValueError in training when one value a channel is left to average.
    Source: arXiv:1502.03167, algorithm 1. Differs from the paper: no.
    """

    def __init__(self, channels: int, *, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True) -> None:
        super().__init__(channels, eps=eps, momentum=momentum, affine=affine)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any rank will do: batch_norm keeps dimension 1 and averages over the others."""


class Layer(nn.Module):
    """Normalise each sample over its own channels and pixels (Ba et al., 2016).

    y = gamma (x - mean) / sqrt(var + eps) + beta, mean and biased variance over all but the first dimension,
    gamma and beta one a channel; the same in training and evaluation.

    Args:
        channels: C, or D for tables.
        eps: added to the variance, > 0. torch: 1e-5.
        affine: learn gamma and beta.
    Shapes: (B, C, ...) -> (B, C, ...). Source: arXiv:1607.06450, eq. (3). Differs from the paper: no.
    """

    def __init__(self, channels: int, *, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        return torch.group_norm(x, 1, self.weight, self.bias, self.eps)
