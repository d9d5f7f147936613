"""fit.png: the fitted curve of a model of one feature, the decision regions of one of two, and the samples."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trainer.base.atomic import write_figure
from trainer.rundir.fit_map import COLORS, HIGH, LOW, MIDDLE, FitMap, colors_of_map
from trainer.rundir.title import in_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 7.2, 5.4  # inches
LETTERS = 16  # of a name in the legend
MARKS = {"train": "o", "val": "^"}
TINT = {"train": "tab:blue", "val": "tab:orange"}  # of the samples of a regression of one feature
CURVES = ("tab:red", "tab:green", "tab:purple", "tab:brown")  # of its outputs, as far as they have one


def draw(found: FitMap, path: Path, title: str) -> None:
    """Draw the picture. Errors: OSError."""
    from matplotlib.figure import Figure  # 0.6 s

    lines = list(filter(None, (in_lines(title, WIDTH), found.caption)))
    figure = Figure(figsize=(WIDTH, HEIGHT))
    head = 0.2 * sum(line.count("\n") + 1 for line in lines)
    figure.subplots_adjust(left=0.115, right=0.8, top=1 - (0.2 + head) / HEIGHT, bottom=0.1)
    figure.text(0.5, 1 - 0.1 / HEIGHT, "\n".join(lines), ha="center", va="top", fontsize=9.5)
    axes = figure.subplots()
    if len(found.features) == 2:
        draw_plane(figure, axes, found)
    elif found.classes:
        draw_probabilities(axes, found)
    else:
        draw_curve(axes, found)
    axes.set_xlabel(found.features[0])
    axes.set_xlim(found.grid[0][0], found.grid[0][-1])
    legend = axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)
    for text in legend.get_texts():
        text.set_text(text.get_text() if len(text.get_text()) <= LETTERS else f"{text.get_text()[: LETTERS - 1]}\u2026")
    write_figure(figure, path)


def draw_curve(axes: "Axes", found: FitMap) -> None:
    """Draw the values of a regression over its feature, up to four of them."""
    shown = min(len(found.outputs), len(CURVES))
    for split, (inputs, targets) in found.samples.items():
        for place in range(shown):
            label = split if not place else None
            size = 14 if len(inputs) < 300 else 8
            axes.scatter(inputs[:, 0], targets[:, place], s=size, c=TINT[split], alpha=0.55, linewidths=0, label=label)
    for place in range(shown):
        name = f"fitted {found.outputs[place]}" if len(found.outputs) > 1 else "fit"
        axes.plot(found.grid[0], found.predictions[:, place], color=CURVES[place], linewidth=2.2, label=name)
    axes.set_ylim(*found.limits)
    axes.set_ylabel(found.outputs[0] if len(found.outputs) == 1 else "values")
    axes.grid(alpha=0.3)


def draw_probabilities(axes: "Axes", found: FitMap) -> None:
    """Draw the prediction of each class over the feature, and its samples in a row below."""
    low, high = (0.0, 1.0) if found.probabilities else (found.predictions.min(), found.predictions.max())
    row = 0.05 * ((high - low) or 1.0)
    for place, name in enumerate(found.outputs):
        color = COLORS[place % len(COLORS)]
        axes.plot(found.grid[0], found.predictions[:, place], color=color, linewidth=2.2, label=name)
        for inputs, targets in found.samples.values():
            own = inputs[targets == place, 0]
            axes.plot(own, np.full(len(own), low - row * (place + 1)), "|", color=color, markersize=7, alpha=0.6)
    axes.set_ylim(low - row * (len(found.outputs) + 1), high + row)
    if found.probabilities:
        axes.set_yticks(np.linspace(0, 1, 6))
    axes.set_ylabel("probability" if found.probabilities else "output")
    axes.grid(alpha=0.3)


def draw_plane(figure: "Figure", axes: "Axes", found: FitMap) -> None:
    """Draw the regions of the classes, or the values of a regression, over both features."""
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    x, y = found.grid
    colors = colors_of_map(found.predictions, found.classes, found.probabilities, found.limits)
    step_x, step_y = (x[1] - x[0]) / 2, (y[1] - y[0]) / 2
    place = (x[0] - step_x, x[-1] + step_x, y[0] - step_y, y[-1] + step_y)
    axes.imshow(colors, extent=place, origin="lower", aspect="auto", interpolation="bilinear", zorder=0)
    if found.classes:
        draw_boundaries(axes, found)
        for number, name in enumerate(found.outputs):
            for split, (inputs, targets) in found.samples.items():
                draw_samples(axes, inputs[targets == number], split, name, color=COLORS[number % len(COLORS)])
        if len(found.samples) > 1:
            axes.plot([], [], MARKS["val"], color="0.3", markersize=5, label="val")
    else:
        scale = LinearSegmentedColormap.from_list("values", (LOW, MIDDLE, HIGH)), Normalize(*found.limits)
        for split, (inputs, targets) in found.samples.items():
            draw_samples(axes, inputs, split, split, c=targets[:, 0], cmap=scale[0], norm=scale[1])
        from matplotlib.cm import ScalarMappable

        bar = figure.add_axes([0.84, 0.1, 0.025, 0.55])
        figure.colorbar(ScalarMappable(scale[1], scale[0]), cax=bar, label=found.outputs[0])
    axes.set_ylim(y[0], y[-1])
    axes.set_ylabel(found.features[1])


def draw_samples(axes: "Axes", inputs: np.ndarray, split: str, name: str, **color: object) -> None:
    """Draw samples in the plane: those of training as dots, those of validation as triangles."""
    label = name if split == "train" or name == split else None
    style = {"marker": MARKS[split], "s": 20 if split == "train" else 26, "linewidths": 0.5}
    edge = "white" if "color" in color else "0.25"
    axes.scatter(inputs[:, 0], inputs[:, 1], label=label, zorder=2, edgecolors=edge, **style, **color)


def draw_boundaries(axes: "Axes", found: FitMap) -> None:
    """Draw a line where a class stops being the largest one."""
    for number in range(len(found.outputs) if len(found.outputs) > 2 else 1):
        others = np.delete(found.predictions, number, -1).max(-1)
        ahead = np.nan_to_num(found.predictions[..., number] - others)
        if ahead.min() < 0 < ahead.max():
            axes.contour(*found.grid, ahead, levels=[0.0], colors="0.2", linewidths=1.0, zorder=1)
