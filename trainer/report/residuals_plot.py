"""Picture of a regression's predictions against the true values, with their residuals."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from trainer.base.atomic import png_of
from trainer.base.text import significant
from trainer.report.headline import Headline
from trainer.report.predictions import Predictions
from trainer.report.values import ValueFigures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_OUTPUTS, MOST_POINTS = 4, 5_000
WIDTH, ROW = 11, 3.3  # inches


def draw(found: Predictions, figures: ValueFigures, names: Sequence[str], title: str, subtitle: str) -> bytes:
    """Return as PNG a row for each output: predicted against true values, residuals, and how they are spread."""
    return png_of(drawn(found, figures, names, Headline(title, subtitle, WIDTH)))


def drawn(found: Predictions, figures: ValueFigures, names: Sequence[str], head: Headline) -> "Figure":
    """Return the figure of `draw`."""
    from matplotlib.figure import Figure  # 0.6 s

    shown = min(found.outputs, MOST_OUTPUTS)
    height = ROW * shown + head.height
    figure = Figure(figsize=(WIDTH, height))
    head.draw(figure)
    edges = {"top": 1 - (head.height + 0.3) / height, "bottom": 0.5 / height, "left": 0.07, "right": 0.985}
    figure.subplots_adjust(**edges, wspace=0.24, hspace=0.42)
    some = np.linspace(0, len(found) - 1, min(len(found), MOST_POINTS)).round().astype(int)
    for place, (left, middle, right) in enumerate(figure.subplots(shown, 3, squeeze=False)):
        true, predicted = found.true[some, place], found.predicted[some, place]
        residuals = predicted - true
        points = {"s": 10, "alpha": 0.6 if len(some) < 1000 else 0.25, "linewidths": 0}
        ends = [min(true.min(), predicted.min()), max(true.max(), predicted.max())]
        left.plot(ends, ends, "--", color="tab:gray", linewidth=1)
        left.scatter(true, predicted, **points)
        left.set_xlabel(f"true {names[place]}")
        left.set_ylabel(f"predicted {names[place]}")
        left.set_title(
            f"MAE {significant(figures.mae[place], 4)}   RMSE {significant(figures.rmse[place], 4)}   "
            f"R\u00b2 {figures.r2[place]:.4f}",
            fontsize=9,
        )
        middle.axhline(0, linestyle="--", color="tab:gray", linewidth=1)
        middle.scatter(predicted, residuals, **points)
        middle.set_xlabel(f"predicted {names[place]}")
        middle.set_ylabel("predicted - true")
        middle.set_title("residuals", fontsize=9)
        right.hist(found.predicted[:, place] - found.true[:, place], bins=40, color="tab:gray")
        right.axvline(0, linestyle="--", color="black", linewidth=1)
        right.set_xlabel("predicted - true")
        right.set_ylabel("samples")
        right.set_title("distribution of the residuals", fontsize=9)
        for axes in (left, middle, right):
            axes.tick_params(labelsize=8)
            axes.ticklabel_format(scilimits=(-3, 5))  # of longer numbers the labels of two charts would touch
            axes.locator_params(axis="x", nbins=5)
    return figure
