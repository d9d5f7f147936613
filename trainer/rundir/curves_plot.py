"""curves.png: loss, score, learning rate and gradient norm over the epochs of a run."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.base.atomic import write_figure
from trainer.base.text import figure as with_digits
from trainer.config.rule import is_number
from trainer.rundir import gap, reader
from trainer.rundir.title import in_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT, LINE = 10, 6.5, 0.2  # inches: of the picture, and of a line of its title
WINDOWS = 20  # the moving average spans a twentieth of the points: a few dozen are drawn as they are
MUCH = 100  # times the median
COLORS = {"train": "tab:blue", "val": "tab:orange"}


def draw_run(directory: Path, rows: Sequence[dict], summary: Mapping, title: str) -> None:
    """Draw curves.png of a run from its rows and its summary, as far as it has one. Errors: OSError."""
    best = summary.get("best")
    best = best if isinstance(best, dict) and is_number(best.get("step")) and is_number(best.get("epoch")) else None
    draw(rows, directory / "curves.png", reader.describe_end(summary), title, best)


def draw(rows: Sequence[dict], path: Path, note: str = "", title: str = "", best: Mapping | None = None) -> None:
    """Draw loss and score of train and val, raw points and moving average, above the learning rate and gradient norm.

    Args:
        rows: of metrics.jsonl.
        path: of the PNG, which is written atomically.
        note: on a run that did not complete.
        title: of the run.
        best: the best evaluation, which is marked: step, epoch and scores.
    Errors: OSError.
    """
    from matplotlib.figure import Figure  # 0.6 s

    lines = in_lines(title, WIDTH)
    # Laid out by hand, titles too: matplotlib would draw everything twice to find places.
    head = LINE * (lines.count("\n") + 1 if lines else 0) + (LINE if note else 0)
    height = HEIGHT + head
    figure = Figure(figsize=(WIDTH, height))
    upper, lower = figure.subplots(2, 2, sharex=True, height_ratios=[3, 1])
    edges = {"top": 1 - (0.5 + head) / height, "bottom": 0.52 / height, "left": 0.075, "right": 0.985}
    figure.subplots_adjust(**edges, wspace=0.16, hspace=0.2)
    found = gap.gaps(rows, best)
    for axes, name in zip(upper, ("loss", "r2" if any("r2" in row for row in rows) else "accuracy")):
        draw_metric(axes, rows, name, best, found.get(name))
    losses = [row["loss"] for row in rows if row["loss"]]
    if losses and min(losses) > 0 and max(losses) > 20 * min(losses):
        upper[0].set_yscale("log")
    train = [row for row in rows if row["split"] == "train"]
    for axes, key, name in zip(lower, ("lr", "grad_norm"), ("learning rate", "gradient norm")):
        points = [(row["epoch"], row[key]) for row in train if row.get(key) is not None]
        if points:
            axes.plot(*zip(*points), ".-", color="tab:gray")
            if key == "grad_norm" and has_spike([value for _, value in points]):
                axes.set_yscale("log")
        else:
            say_empty(axes)
        axes.set_title(name, y=1.0)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
    top = 1 - 0.08 / height
    if lines:
        figure.text(0.5, top, lines, ha="center", va="top", fontsize=10)
    if note:
        figure.text(0.5, 1 - (0.08 + head - LINE) / height, note, color="tab:red", ha="center", va="top", fontsize=12)
    write_figure(figure, path)


def draw_metric(
    axes: "Axes",
    rows: Sequence[dict],
    name: str,
    best: Mapping | None = None,
    pair: tuple[float, float] | None = None,
) -> None:
    """Draw one metric of every split; non-finite values (None) are left out.

    Args:
        best: the best evaluation, which gets a dotted line.
        pair: the metric in training and in validation there, whose difference is written above.
    """
    finite = [row for row in rows if row.get(name) is not None]
    for split, color in COLORS.items():
        points = [(row["epoch"], row[name]) for row in finite if row["split"] == split]
        if points:
            epochs, values = zip(*points)
            axes.plot(epochs, values, ".", color=color, alpha=0.35, markersize=4)
            axes.plot(epochs, moving_average(values), "o" if len(points) == 1 else "-", color=color, label=split)
    for row in finite:
        if row["split"] == "test":
            axes.axhline(row[name], color="tab:green", linestyle=":", label="test (best weights)")
    if best and axes.has_data():
        axes.axvline(best["epoch"], color="0.35", linestyle=":", label=gap.label_of(best))
    axes.set_title(f"{name}   (val - train at the best: {with_digits(pair[1] - pair[0])})" if pair else name, y=1.0)
    axes.grid(alpha=0.3)
    if axes.has_data():
        axes.legend()
    else:
        say_empty(axes)


def has_spike(values: Sequence[float]) -> bool:
    """Return whether one of some positive values is so large that nothing else would be seen beside it."""
    return min(values) > 0 and max(values) > MUCH * statistics.median(values)


def say_empty(axes: "Axes") -> None:
    """Write that there is nothing to draw."""
    axes.text(0.5, 0.5, "no value was logged", ha="center", transform=axes.transAxes)


def moving_average(values: Sequence[float]) -> list[float]:
    """Return the mean of a twentieth of the points around each, as many on either side, fewer at the ends."""
    half = len(values) // WINDOWS // 2
    averages = []
    for index in range(len(values)):
        reach = min(half, index, len(values) - 1 - index)
        part = values[index - reach : index + reach + 1]
        averages.append(sum(part) / len(part))
    return averages
