"""Expectations over a standard normal distribution."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

REACH, PANELS = 13, 128  # deviations to each side, steps in each: kinks at whole numbers lie between panels
DRAWS = 2**16


def expectation(f: Callable[[Tensor], Tensor]) -> float:
    """Return E[f(z)], z standard normal, by Simpson's rule in float64 on [-13, 13]; its error is below 1e-8.

    Args:
        f: takes (N,) values of z, returns (N,).
    """
    z = torch.linspace(-REACH, REACH, 2 * REACH * PANELS + 1, dtype=torch.float64)
    simpson = torch.ones_like(z)
    simpson[1:-1:2], simpson[2:-1:2] = 4, 2
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    return float((f(z) * density * simpson).sum() / (3 * PANELS))


def mean_over_draws(f: Callable[[Tensor], Tensor], dimensions: int) -> float:
    """Return E[f(z)], z of several independent standard normals, on 65,536 points of a Sobol sequence.

    Args:
        f: takes (N, dimensions), returns (N,).
    """
    points = torch.quasirandom.SobolEngine(dimensions, scramble=True, seed=0).draw(DRAWS, dtype=torch.float64)
    return float(f(torch.special.ndtri(points.clamp(1e-12, 1 - 1e-12))).mean())
