"""How much an activation shrinks the signal, measured on the module itself."""

import math
from collections.abc import Callable

import torch
from torch import nn

from trainer.base.checks import require

Act = Callable[[], nn.Module]
REACH, PANELS = 13, 128  # deviations to each side, steps in each: kinks at whole numbers lie between panels


def gain(act: Act) -> float:
    """g = 1 / sqrt(E[f(z)^2]), z standard normal: weights of deviation g / sqrt(fan_in) give back a mean square of 1.

    Simpson's rule in float64 on [-13, 13], error below 1e-8. Of an activation with k = `pieces` it is the largest of k independent
    normals that is squared: their largest has the density k Phi(z)^(k - 1) phi(z), and the module is given k times the same z.

    Source: He et al., 2015, arXiv:1502.01852, eq. (10), where ReLU's sqrt(2) is 1 / sqrt(1/2); Goodfellow et al., 2013, for the pieces.
    """
    module = act().double().cpu().eval()
    pieces = getattr(module, "pieces", 1)
    z = torch.linspace(-REACH, REACH, 2 * REACH * PANELS + 1, dtype=torch.float64)
    simpson = torch.ones_like(z)
    simpson[1:-1:2], simpson[2:-1:2] = 4, 2
    density = pieces * torch.special.ndtr(z) ** (pieces - 1) * torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    with torch.no_grad():
        values = module(z.unsqueeze(1).repeat(1, pieces)).squeeze(1)
    return float((values.square() * density * simpson).sum() / (3 * PANELS)) ** -0.5


def factor(chosen: float | str, act: Act) -> float:
    """The number of a field `gain`, or the gain of the activation where it says `act`."""
    return gain(act) if chosen == "act" else chosen


def require_gain(chosen: float | str) -> None:
    """Hold a field `gain` to its rule. Errors: ValueError."""
    if chosen != "act":
        if isinstance(chosen, str):
            raise ValueError(f"gain must be > 0, or act, got {chosen}")
        require("> 0", gain=chosen)
