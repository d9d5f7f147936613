"""Gain of an activation: the factor that makes up for how much it shrinks the signal, measured on the module itself."""

import math

import torch

from trainer.base.checks import require
from trainer.base.hooks import pieces_of
from trainer.base.protocols import Act

REACH, PANELS = 13, 128  # deviations to each side, steps in each: kinks at whole numbers lie between panels


def gain(act: Act) -> float:
    """Return g = 1 / sqrt(E[f(z)^2]), z standard normal.

    Weights of deviation g / sqrt(fan_in) keep a mean square of 1.

    Simpson's rule in float64 on [-13, 13], error below 1e-8. For an activation with k = `pieces` it is the largest of k
    independent normals that is squared: their largest has the density k Phi(z)^(k - 1) phi(z), and the module is given
    k times the same z.

    Source: He et al., 2015, arXiv:1502.01852, eq. (10), where ReLU's sqrt(2) is 1 / sqrt(1/2); Goodfellow et al., 2013,
    for the pieces.
    """
    module = act().double().cpu().eval()
    pieces = pieces_of(module)
    z = torch.linspace(-REACH, REACH, 2 * REACH * PANELS + 1, dtype=torch.float64)
    simpson = torch.ones_like(z)
    simpson[1:-1:2], simpson[2:-1:2] = 4, 2
    density = pieces * torch.special.ndtr(z) ** (pieces - 1) * torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    with torch.no_grad():
        values = module(z.unsqueeze(1).repeat(1, pieces)).squeeze(1)
    return float((values.square() * density * simpson).sum() / (3 * PANELS)) ** -0.5


def resolve_gain(setting: float | str, act: Act) -> float:
    """Return the value of a field `gain`: the number, or the gain of the activation where it is `act`."""
    return gain(act) if setting == "act" else setting


def require_gain(setting: float | str) -> None:
    """Check a field `gain`. Errors: ValueError unless it is `act` or > 0."""
    if setting != "act":
        if isinstance(setting, str):
            raise ValueError(f"gain must be > 0, or act, got {setting}")
        require("> 0", gain=setting)
