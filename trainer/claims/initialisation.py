"""Claims on initialisation: signals through a deep network of wide layers."""

import math
from collections.abc import Callable

import torch
from torch import nn

from trainer.base.standard_normal import expectation
from trainer.claims.claim import Finding, Option

WIDTH, LAYERS, SAMPLES = 4096, 6, 16
SATURATED = 0.95  # of tanh
BAND = 0.17  # of the logarithm of a deviation, see the docstring


def signals_through_wide_layers(
    xavier: Callable = Option("init", "xavier_normal"),
    he: Callable = Option("init", "he_normal"),
    small: Callable = Option("init", "small_normal"),
    large: Callable = Option("init", "large_normal"),
    unit: Callable = Option("init", "normal"),
) -> Finding:
    """Check six starts of a network of widths 4096, 4096, ..., seven in all, on a batch of 16: signals live or not.

    A unit z = sum_i w_i x_i of independent weights of mean 0 and deviation s / sqrt(4096) has variance s^2 E[x^2], and
    is normal by the central limit. So q = E[x^2] follows q <- E[f(s sqrt(q) z)^2], z standard normal, from q = 1. tanh:
    s = 0.64 (std 0.01) dies out, s = 3.2 (0.05) and s = 64 (1) saturate, s = 1 (Xavier) lives. ReLU has
    E[f^2] = s^2 q / 2: s = sqrt(2) (He) keeps 1, s = 1 halves it in each layer. The weights being drawn, log sqrt(q)
    has a deviation of at most sqrt(5 / (4 * 4096)) a layer: 0.043 after six, of which four are 0.17.
    """
    cases = {  # start, activation, s
        "small tanh": (small, Option("act", "tanh"), 0.01 * math.sqrt(WIDTH)),
        "large tanh": (large, Option("act", "tanh"), 0.05 * math.sqrt(WIDTH)),
        "unit tanh": (unit, Option("act", "tanh"), math.sqrt(WIDTH)),
        "Xavier tanh": (xavier, Option("act", "tanh"), 1.0),
        "Xavier ReLU": (xavier, Option("act", "relu"), 1.0),
        "He ReLU": (he, Option("act", "relu"), math.sqrt(2)),
    }
    layer = nn.Linear(WIDTH, WIDTH, bias=False)
    holds, predicted, measured = True, [], []
    for name, (init, act, scale) in cases.items():
        expected, found = predicted_spreads(act(), scale), spreads(init(), act, layer)
        holds = holds and all(abs(math.log(one / other)) < BAND for (one, _), (other, _) in zip(found, expected))
        # At 0.5 the deviation of a fraction of 65,536 units is 0.002; the layer's spread moves it more.
        holds = holds and all(abs(one - other) < 0.03 for (_, one), (_, other) in zip(found, expected))
        predicted.append(f"{name} {said(*expected[-1])}")
        measured.append(said(*found[-1]))
    return Finding(predicted=", ".join(predicted), measured=", ".join(measured), holds=holds)


def said(spread: float, saturated: float) -> str:
    """Return the root mean square of the last layer, or the fraction of its units that saturate."""
    return f"{saturated:.0%} saturated" if saturated > 0.3 else f"{spread:.3f}"


def predicted_spreads(act: nn.Module, scale: float) -> list[tuple[float, float]]:
    """Return root mean square and saturated fraction behind each layer."""
    q, found = 1.0, []
    for _ in range(LAYERS):
        inner = scale * math.sqrt(q)
        q = expectation(lambda z, inner=inner: act(inner * z).square())
        beyond = math.erfc(math.atanh(SATURATED) / inner / math.sqrt(2)) if isinstance(act, nn.Tanh) else 0.0
        found.append((math.sqrt(q), beyond))
    return found


@torch.no_grad()
def spreads(init: Callable, act: Callable, layer: nn.Linear) -> list[tuple[float, float]]:
    """Return root mean square and saturated fraction behind each layer of a network; its weights are drawn in turn."""
    x, found, f = torch.randn(SAMPLES, WIDTH), [], act()
    for _ in range(LAYERS):
        init(nn.Sequential(layer), x, None, act)
        x = f(layer(x))
        saturated = (x.abs() > SATURATED).float().mean().item() if isinstance(f, nn.Tanh) else 0.0
        found.append((x.square().mean().sqrt().item(), saturated))
    return found
