"""Figure of an ensemble: score and loss against the number of members."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trainer.base.atomic import write_figure
from trainer.ensemble.result import Result
from trainer.rundir.title import in_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(result: Result, title: str, path: Path) -> None:
    """Draw a part for the score and, where there is one, for the loss. Errors: OSError."""
    from matplotlib.figure import Figure  # 0.6 s

    figures = [result.scorer.name, *(["loss"] if result.scorer.has_loss else [])]
    width = 0.6 + 4.8 * len(figures)
    figure = Figure(figsize=(width, 4.4), layout="constrained")
    parts = figure.subplots(1, len(figures), squeeze=False)[0]
    for axes, name in zip(parts, figures):
        draw_part(axes, result, name)
    figure.suptitle(in_lines(title, width), fontsize=10)
    figure.legend(*parts[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9)
    write_figure(figure, path)


def draw_part(axes: "Axes", result: Result, name: str) -> None:
    """Draw one figure of the ensemble against the number of members."""
    from matplotlib.ticker import MaxNLocator

    single = (result.losses if name == "loss" else result.scores).mean(1)
    mean, deviation = result.curves[name]
    sizes = np.arange(1, len(mean) + 1)
    axes.plot(np.ones(len(single)), single, "o", color="0.6", markersize=4, label="members")
    axes.plot(sizes, mean, "o-", color="tab:blue", markersize=4, label="averages of so many, mean and std")
    axes.fill_between(sizes, mean - deviation, mean + deviation, color="tab:blue", alpha=0.15, linewidth=0)
    axes.axhline(single[result.best], color="tab:red", linestyle="--", linewidth=1, label="best member on val")
    if result.path[name]:
        picks = np.arange(1, len(result.path[name]) + 1)
        axes.plot(picks, result.path[name], "s-", color="tab:green", markersize=4, label="selected on val")
    axes.set(xlabel="members in the average", ylabel=f"{result.split} {name}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
