"""Activations that torch.nn does not have."""

import functools

import torch
from torch import Tensor, nn

from trainer.base.checks import require


class Exponential(nn.Module):
    """Exponential f(x) = e^x, range (0, inf).

    f'(0) = 1; |f'| < 0.01 where x < -4.605; grows without bound, so that deep nets overflow.
    Shapes: any.
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.exp()


class Maxout(nn.Module):
    """Maximum of `pieces` linear functions of the input (Goodfellow et al., 2013).

    h_c = max_j (w_cj x + b_cj), j = 1 ... pieces. The layer factory makes the layer before wider, with channels *
    pieces outputs, the pieces of a channel side by side. Piecewise linear in x: no slope of its own, and no saturation.

    Args:
        pieces: linear functions a channel, >= 2. Paper: 2 to 5.
    Shapes: (B, C * pieces, ...) -> (B, C, ...). Errors: ValueError.
    Source: arXiv:1302.4389, eq. (1). Differs from the paper: no.
    """

    def __init__(self, *, pieces: int = 2) -> None:
        super().__init__()
        require(">= 2", pieces=pieces)
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        return functools.reduce(torch.maximum, x.unflatten(1, (-1, self.pieces)).unbind(2))

    def extra_repr(self) -> str:
        return f"pieces={self.pieces}"
