"""Curve of an activation and of its derivative, with the part where it saturates; as values and as PNG."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from omegaconf import DictConfig
from torch import nn

from trainer.base.atomic import write_figure
from trainer.base.hooks import pieces_of
from trainer.config.hydra_context import Invocation
from trainer.config.instantiate import factory
from trainer.config.keys import key_of
from trainer.engine.layer_statistics import FLAT
from trainer.rundir.title import title_from

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RANGE, STEPS = 10, 1000  # of the input, on either side of 0, and steps of the grid in a unit
SHOWN_AT = (-10.0, 0.0, 10.0)  # inputs whose values are printed
OTHERS = (-1.0, 0.0, 1.0)  # values of the other inputs of a unit that takes several
HIGHEST, STEEPEST = 10.5, 3.0  # of f and of |f'|: what is above leaves the picture
COLORS = ("tab:blue", "tab:orange", "tab:green")


@dataclass(frozen=True, kw_only=True)
class ActivationCurve:
    """Values of an activation over one of its inputs.

    Args:
        title: the option and its settings, as they are typed.
        x: (N,) ascending.
        values, slopes: f(x) and f'(x) by the value of a unit's other inputs; of one input a single curve, behind None.
        pieces: inputs of a unit.
        learnt: whether it has parameters, which are those of a fresh network.
    """

    title: str
    x: np.ndarray
    values: dict[float | None, np.ndarray]
    slopes: dict[float | None, np.ndarray]
    pieces: int
    learnt: bool

    def at(self, x: float, other: float | None = None) -> tuple[float, float]:
        """Return f and f' at an input of the grid."""
        place = int(np.abs(self.x - x).argmin())
        return float(self.values[other][place]) + 0.0, float(self.slopes[other][place]) + 0.0  # no -0

    @property
    def saturated(self) -> list[tuple[float, float]]:
        """The ends of each part of the range where |f'| < 0.01; none of a unit of several inputs."""
        if self.pieces > 1:
            return []
        flat = np.concatenate([[False], np.abs(self.slopes[None]) < FLAT, [False]])
        edges = np.flatnonzero(flat[1:] != flat[:-1])
        return [(float(self.x[low]), float(self.x[high - 1])) for low, high in edges.reshape(-1, 2)]


def make_activation_curve(cfg: DictConfig, invocation: Invocation) -> ActivationCurve:
    """Return the curve of a run's activation in evaluation mode, its derivative by autograd. Errors: ConfigError."""
    act = factory(cfg, "act", invocation)().double().eval()
    pieces = pieces_of(act)
    values, slopes = {}, {}
    x = torch.arange(-RANGE * STEPS, RANGE * STEPS + 1, dtype=torch.float64) / STEPS
    for other in OTHERS if pieces > 1 else (None,):
        values[other], slopes[other] = value_and_slope(act, x, pieces, other)
    learnt = any(True for _ in act.parameters())
    typed = [text for text in invocation.overrides if key_of(text).startswith("act.")]
    title = title_from(invocation.choices, typed, ("act",))
    return ActivationCurve(title=title, x=x.numpy(), values=values, slopes=slopes, pieces=pieces, learnt=learnt)


def value_and_slope(act: nn.Module, x: torch.Tensor, pieces: int, other: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Return f and f' of a unit (N,) over its first input; all its others have one value."""
    first = x[:, None].clone().requires_grad_()
    rest = torch.full((len(x), pieces - 1), other or 0.0, dtype=x.dtype)
    outputs = act(torch.cat([first, rest], 1))
    slope = torch.autograd.grad(outputs.sum(), first, allow_unused=True)[0] if outputs.requires_grad else None
    slope = torch.zeros_like(first) if slope is None else slope
    return outputs.detach()[:, 0].numpy(), slope[:, 0].numpy()


def describe(curve: ActivationCurve) -> list[str]:
    """Return the values at -10, 0 and 10, and where the activation saturates, in lines."""
    lines = []
    for other in curve.values:
        where = "" if other is None else f"  (other inputs {other:g})"
        pairs = ((x, *curve.at(x, other)) for x in SHOWN_AT)
        lines.append("  ".join(f"f({x:g}) = {f:.4g}, f' = {slope:.4g};" for x, f, slope in pairs).rstrip(";") + where)
    if curve.pieces > 1:
        lines.append(
            f"a unit has {curve.pieces} inputs: the first one varies; where it saturates depends on the others"
        )
    elif curve.saturated:
        parts = (
            f"x < {high:.4g}" if low <= -RANGE else f"x > {low:.4g}" if high >= RANGE else f"{low:.4g} to {high:.4g}"
            for low, high in curve.saturated
        )
        lines.append(f"saturated, |f'| < {FLAT:g}: {', '.join(parts)}")
    else:
        lines.append(f"saturates nowhere between {-RANGE} and {RANGE}")
    if curve.learnt:
        lines.append("it has parameters of its own, which are learnt; this is how it begins")
    return lines


def draw(curve: ActivationCurve, path: Path) -> None:
    """Draw f on the left and f' on the right, with the saturated part shaded. Errors: OSError."""
    from matplotlib.figure import Figure  # 0.6 s

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    parts = zip(figure.subplots(1, 2), (curve.values, curve.slopes), ("f(x)", "f'(x)"), (HIGHEST, STEEPEST))
    for axes, curves, name, highest in parts:
        draw_part(axes, curve, curves, highest)
        axes.set(title=name, xlabel="x" if curve.pieces == 1 else f"first of {curve.pieces} inputs of a unit")
    figure.suptitle(curve.title, fontsize=10)
    write_figure(figure, path)


def draw_part(axes: "Axes", curve: ActivationCurve, curves: dict[float | None, np.ndarray], highest: float) -> None:
    """Draw one of both functions."""
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.axvline(0, color="0.6", linewidth=0.8)
    for place, (low, high) in enumerate(curve.saturated):
        axes.axvspan(low, high, color="tab:red", alpha=0.13, linewidth=0, label=None if place else f"|f'| < {FLAT:g}")
    for (other, values), color in zip(curves.items(), COLORS):
        label = None if other is None else f"other inputs {other:g}"
        axes.plot(curve.x, values, color=color, linewidth=2, label=label)
    inside = [values[np.abs(values) <= highest] for values in curves.values()]
    axes.set_ylim(*limits([part for part in inside if len(part)]))
    axes.set_xlim(-RANGE, RANGE)
    axes.grid(alpha=0.3)
    if curve.saturated or curve.pieces > 1:
        axes.legend(fontsize=8, loc="best")


def limits(parts: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return the ends of the vertical axis, with some room."""
    low, high = min(part.min() for part in parts), max(part.max() for part in parts)
    room = 0.08 * (high - low) or 0.5
    return low - room, high + room
