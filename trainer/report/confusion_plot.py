"""Picture of a confusion matrix."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from trainer.base.atomic import png_of
from trainer.base.text import in_one_line
from trainer.report.classes import ClassFigures
from trainer.report.headline import Headline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NUMBERED = 20  # classes up to which each cell has its number
NAMED = 60  # classes up to which each has its name at the side; of more, some have their number
LONGEST = 18  # letters of a name
LISTED = 12  # confused pairs beside the matrix of many classes
LETTER, CELL, SMALL_CELL, LARGEST = 0.085, 0.42, 0.17, 8.0  # inches: a letter of a name, a cell, the whole matrix
AXIS, LISTING, LEAST = 0.45, 3.6, 5.2  # inches: labels of an axis, list of pairs, width of the figure


def draw(found: ClassFigures, classes: Sequence[str], title: str, subtitle: str) -> bytes:
    """Return the matrix as PNG: a row for each true class, coloured by the fractions of the row."""
    from matplotlib.figure import Figure  # 0.6 s

    count, names = len(classes), [short(name) for name in classes]
    named, numbered = count <= NAMED, count <= NUMBERED
    side = max(8 * CELL, CELL * count) if numbered else min(LARGEST, SMALL_CELL * count) if named else LARGEST
    labels = AXIS + (LETTER * max(map(len, names)) if named else 0.3)
    width = max(side + labels + (0.2 if numbered else LISTING), LEAST)
    head = Headline(title, subtitle, width)
    height = side + labels + head.height + 0.1
    figure = Figure(figsize=(width, height))
    head.draw(figure)
    axes = figure.add_axes((labels / width, labels / height, side / width, side / height))
    draw_matrix(axes, found.matrix, numbered)
    if named:
        axes.set_xticks(range(count), names, rotation=90, fontsize=8, parse_math=False)
        axes.set_yticks(range(count), names, fontsize=8, parse_math=False)
    axes.tick_params(length=2)
    axes.set_xlabel("predicted class (colour: fraction of the row)", fontsize=9)
    axes.set_ylabel("true class" if named else "true class (its place in classes.csv, from 0)", fontsize=9)
    if not numbered:
        pairs = [
            f"{names[a]} \u2192 {names[b]}  {number:,} of {total:,}" for a, b, number, total in found.confused[:LISTED]
        ]
        text = "\n".join(["most confused (true \u2192 predicted):", "", *(pairs or ["none"])])
        figure.text((labels + side + 0.2) / width, (labels + side) / height, text, va="top", fontsize=8.5)
    return png_of(figure)


def draw_matrix(axes: "Axes", matrix: np.ndarray, numbered: bool) -> None:
    """Draw the cells, with their numbers where there is room for them."""
    from matplotlib.colors import PowerNorm

    rows = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    # Few mistakes of many classes would not be seen: small fractions are darker there than their value.
    axes.imshow(rows, cmap="Blues", norm=PowerNorm(1.0 if numbered else 0.5, 0, 1), interpolation="nearest")
    for row, column in np.argwhere(matrix) if numbered else ():
        color = "white" if rows[row, column] > 0.55 else "black"
        number = f"{matrix[row, column]}"
        axes.text(column, row, number, ha="center", va="center", color=color, fontsize=8 if len(number) < 5 else 6)


def short(name: str) -> str:
    """Return a name of at most LONGEST letters."""
    name = in_one_line(name)
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}\u2026"
