"""Activations that torch.nn does not have."""

import functools
from typing import ClassVar

import torch
from torch import Tensor, nn

from trainer.base.checks import require
from trainer.base.standard_normal import expectation


class Exponential(nn.Module):
    """Exponential f(x) = e^x, range (0, inf).

    f'(0) = 1; |f'| < 0.01 where x < -4.605; grows without bound, so that deep nets overflow.
    Shapes: any.
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.exp()


class ReluSquared(nn.Module):
    """Squared ReLU f(x) = max(0, x)^2, range [0, inf) (So et al., 2021).

    f'(x) = 2 max(0, x), continuous at 0; grows without bound, as its slope does.
    Shapes: any. Source: arXiv:2109.08668, section 4 (Primer). Differs from the paper: no.
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.relu().square()


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

    def mean_square(self) -> float:
        """Return E[f(z)^2]: the largest of k standard normals has the density k Phi(z)^(k - 1) phi(z)."""
        k = self.pieces
        return expectation(lambda z: z.square() * (k * torch.special.ndtr(z) ** (k - 1)))

    def extra_repr(self) -> str:
        return f"pieces={self.pieces}"


class Swiglu(nn.Module):
    """Swish-gated linear unit (Shazeer, 2020): swish(a) b, swish(a) = a / (1 + e^-a).

    a_c and b_c are two linear functions of the input. The layer factory makes the layer before it twice as wide, with
    the two of a channel side by side.

    Shapes: (B, 2 C, ...) -> (B, C, ...).
    Source: arXiv:2002.05202, eq. (5) and (6). Differs from the paper: biases, where the layer has them; layers keep
    their width (the paper makes it 2/3, to keep the number of parameters).
    """

    pieces: ClassVar = 2

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.unflatten(1, (-1, self.pieces)).unbind(2)
        return nn.functional.silu(a) * b

    def mean_square(self) -> float:
        """Return E[f(z)^2] = E[swish(a)^2] E[b^2], a and b independent."""
        return expectation(lambda z: nn.functional.silu(z).square())
