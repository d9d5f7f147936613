"""Picture of a loss landscape with the paths of optimizers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from trainer.base.atomic import write_figure
from trainer.inspection.landscape import Plane, Surface
from trainer.inspection.paths import WeightPath
from trainer.rundir.event_file import EventFile
from trainer.rundir.title import in_lines

LEVELS = 24
WIDTH = 9.5  # inches
RATIO = 20  # of the largest loss to the smallest from which levels are logarithmic; below, rings of a bowl equally wide
COLORS = ("tab:red", "tab:orange", "tab:purple", "white", "tab:pink", "tab:cyan", "tab:brown", "tab:olive")


def draw(
    surface: Surface, plane: Plane, paths: Sequence[WeightPath], losses: Sequence[float], title: str, directory: Path
) -> Path:
    """Write landscape.png, also for TensorBoard, and return its path. Errors: OSError.

    Args:
        losses: at the end of each path, with its own weights.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # 0.6 s
    from torch.utils.tensorboard.summary import image

    figure = Figure(figsize=(WIDTH, 7.5), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    draw_surface(figure, axes, surface)
    for path, loss, color in zip(paths, losses, [*COLORS] * (1 + len(paths) // len(COLORS))):
        points = plane.project(path.weights).numpy()
        label = f"{path.name}, lr {path.rate:.3g}: loss {loss:.3g} ({path.status}, step {path.steps[-1]:,})"
        axes.plot(*points.T, ".-", color=color, markersize=4, linewidth=1.4, label=label)
        axes.plot(*points[-1], "o", color=color, markersize=9, markeredgecolor="black", zorder=4)
    if paths:
        axes.plot(*plane.project(paths[0].weights[:1])[0].numpy(), "*", color="black", markersize=15, label="start")
    else:
        axes.plot(0, 0, "*", color="black", markersize=15, label="the weights")
    axes.set(xlabel=plane.labels[0], ylabel=plane.labels[1])
    axes.set_xlim(float(surface.a[0]), float(surface.a[-1]))
    axes.set_ylim(float(surface.b[0]), float(surface.b[-1]))
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, facecolor="0.85")
    figure.suptitle(in_lines(title, WIDTH), fontsize=10)
    target = directory / "landscape.png"
    write_figure(figure, target)
    pixels = torch.from_numpy(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    events = EventFile(directory)
    events.add(image("landscape", pixels, dataformats="HWC"), 0)
    events.close()
    return target


def draw_surface(figure, axes, surface: Surface) -> None:
    """Draw the loss as filled contours with a scale; white where it is not finite."""
    from matplotlib.colors import LogNorm

    a, b, loss = surface.a.numpy(), surface.b.numpy(), np.ma.masked_invalid(surface.loss.numpy())
    low, high = (float(loss.min()), float(loss.max())) if loss.count() else (0.0, 0.0)
    if high <= low:
        axes.text(0.5, 0.5, "the loss is the same everywhere, or not finite", ha="center", transform=axes.transAxes)
        return
    logarithmic = low > 0 and high > RATIO * low
    levels = np.geomspace(low, high, LEVELS) if logarithmic else low + (high - low) * np.linspace(0, 1, LEVELS) ** 2
    norm = {"norm": LogNorm(low, high)} if logarithmic else {}
    filled = axes.contourf(a, b, loss, levels=levels, cmap="viridis", **norm)
    axes.contour(a, b, loss, levels=levels, colors="black", linewidths=0.3, alpha=0.6)
    bar = figure.colorbar(filled, ax=axes, label="training loss")
    shown = levels[:: max(LEVELS // 8, 1)]
    bar.set_ticks(shown, labels=[f"{level:.3g}" for level in shown], minor=False)
    bar.minorticks_off()
