"""Pictures of explanations: images beside their maps, and bars of what columns add."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from trainer.base.atomic import write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS, GAP, SPACE = 4, 0.04, 0.06  # pairs in a row; space within one, and between two
COLOR_MAP, OPAQUE = "inferno", 0.8  # of a map, and how much of the image its largest value hides
DARK, CONTRAST = 0.3, 0.4  # of the grey image below it: both black and white stay apart from the map
LETTERS = 12  # of a heading, in an inch
SMALLEST = 128  # pixels that an image under its map has at least
BARS, ROWS = 12, 8  # columns of a table for all rows together, and rows with a chart of their own
LEAST = 4  # bars that a chart has room for
TICKS = 4  # on the axis of a chart, beyond its first: the labels of six digits have room
RAISES, LOWERS, EITHER = "tab:red", "tab:blue", "tab:gray"
NAME = 24  # characters of a name


class Bars(NamedTuple):
    """Chart of a row: its title, the columns with their cells, and what each adds."""

    title: str
    names: Sequence[str]
    values: Sequence[float]


def draw_maps(
    path: Path, images: Sequence[np.ndarray], maps: Sequence[np.ndarray], titles: Sequence[str], heading: str
) -> None:
    """Write a PNG of images (H, W, 3) in [0, 1], each beside itself under its map (H, W) in [0, 1]. Errors: OSError."""
    from matplotlib.figure import Figure  # 0.6 s

    columns = min(COLUMNS, len(images))
    rows = -(-len(images) // columns)
    shape = images[0].shape[0] / images[0].shape[1]
    width, height = 2.9, 0.36 + min(4.0, 1.4 * shape)
    width = max(6.0, width * columns)
    lines = [part for line in heading.split("\n") for part in wrap(line, int(LETTERS * width))]
    figure = Figure(figsize=(width, height * rows + 0.2 * len(lines) + 0.1), layout="constrained")
    figure.get_layout_engine().set(wspace=SPACE)
    grid = [*figure.subplots(rows, columns, squeeze=False).flat]
    for axes in grid:
        axes.set_axis_off()
    for axes, image, map_, title in zip(grid, images, maps, titles):
        show_pair(axes, image, map_)
        axes.set_title(title, fontsize=8, pad=3)
    figure.suptitle("\n".join(lines), fontsize=10)
    write_figure(figure, path, dpi=120)


def show_pair(axes: "Axes", image: np.ndarray, map_: np.ndarray) -> None:
    """Draw an image (H, W, 3), and beside it itself under its map (H, W)."""
    height, width = map_.shape
    start = width * (1 + GAP)
    axes.imshow(image, extent=(0, width, height, 0), interpolation="nearest")
    axes.imshow(overlaid(image, map_), extent=(start, start + width, height, 0), interpolation="nearest")
    axes.set_xlim(0, start + width)
    axes.set_ylim(height, 0)


def overlaid(image: np.ndarray, map_: np.ndarray) -> np.ndarray:
    """Return an image (H, W, 3) in [0, 1] under its map (H, W): grey where the map is 0, yellow where it is 1.

    Small ones are enlarged by a whole number, the map smoothly.
    """
    from matplotlib import colormaps
    from PIL import Image

    factor = max(1, -(-SMALLEST // max(map_.shape)))
    height, width = (factor * side for side in map_.shape)
    large = Image.fromarray(np.asarray(map_, np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    heat = np.asarray(large)[..., None]
    grey = np.repeat(np.repeat(DARK + CONTRAST * image.mean(2, keepdims=True), factor, 0), factor, 1)
    return (1 - OPAQUE * heat) * grey + OPAQUE * heat * colormaps[COLOR_MAP](heat[..., 0])[..., :3]


def draw_bars(path: Path, overall: Bars, rows: Sequence[Bars], heading: str) -> None:
    """Write a PNG of bars: of all rows together on the left, of each of the first ones on the right. Errors: OSError.

    What raises the answer is red, what lowers it blue.

    Args:
        overall: columns by the mean size of what they add, the largest first.
        rows: what the columns of each row add.
    """
    from matplotlib.figure import Figure  # 0.6 s

    shown = rows[:ROWS]
    lines = -(-len(shown) // 2)
    figure = Figure(figsize=(12, max(3.2, 1.9 * lines) + 0.6), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1, 2])
    draw_chart(left.subplots(), overall, [EITHER] * len(overall.values))
    grid = [*right.subplots(lines, min(2, len(shown)), squeeze=False).flat]
    for axes in grid:
        axes.set_axis_off()
    for axes, bars in zip(grid, shown):
        axes.set_axis_on()
        draw_chart(axes, bars, [RAISES if value > 0 else LOWERS for value in bars.values])
    figure.suptitle(heading, fontsize=11)
    write_figure(figure, path)


def draw_chart(axes: "Axes", bars: Bars, colors: Sequence[str]) -> None:
    """Draw horizontal bars, the first on top."""
    places = range(len(bars.values))
    axes.barh(places, bars.values, color=colors, height=0.7)
    axes.set_yticks(places, bars.names, fontsize=8, parse_math=False)
    axes.set_ylim(max(len(places), LEAST) - 0.5, -0.5)
    axes.axvline(0, color="black", linewidth=0.6)
    axes.tick_params(axis="x", labelsize=7)
    axes.locator_params(axis="x", nbins=TICKS)
    axes.set_title(bars.title, fontsize=9)
    axes.grid(axis="x", alpha=0.3)


def shortened(name: str) -> str:
    """Return a name that is not too long for a chart, with an ellipsis where its middle was cut."""
    half = NAME // 2
    return name if len(name) <= NAME else f"{name[: half - 1]}\u2026{name[-half:]}"
