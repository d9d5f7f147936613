"""curves.png: loss, score, learning rate and gradient norm over the epochs of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.base.atomic import write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WINDOWS = 20  # the moving average spans a twentieth of the points: a few dozen are drawn as they are
COLORS = {"train": "tab:blue", "val": "tab:orange"}


def draw(rows: Sequence[dict], path: Path, note: str = "") -> None:
    """Draw loss and score of train and val, raw points and moving average, above the learning rate and gradient norm.

    Args:
        rows: of metrics.jsonl.
        path: of the PNG, which is written atomically.
        note: a title, for a run that did not complete.
    Errors: OSError.
    """
    from matplotlib.figure import Figure  # 0.6 s

    figure = Figure(figsize=(10, 6.5))
    upper, lower = figure.subplots(2, 2, sharex=True, height_ratios=[3, 1])
    # Laid out by hand, titles too: matplotlib would draw everything twice to find places.
    figure.subplots_adjust(left=0.075, right=0.985, top=0.92, bottom=0.08, wspace=0.16, hspace=0.2)
    for axes, name in zip(upper, ("loss", "r2" if any("r2" in row for row in rows) else "accuracy")):
        draw_metric(axes, rows, name)
    losses = [row["loss"] for row in rows if row["loss"]]
    if losses and min(losses) > 0 and max(losses) > 20 * min(losses):
        upper[0].set_yscale("log")
    train = [row for row in rows if row["split"] == "train"]
    for axes, key, title in zip(lower, ("lr", "grad_norm"), ("learning rate", "gradient norm")):
        points = [(row["epoch"], row[key]) for row in train if row.get(key) is not None]
        if points:
            axes.plot(*zip(*points), ".-", color="tab:gray")
        else:
            say_empty(axes)
        axes.set_title(title, y=1.0)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
    if note:
        figure.suptitle(note, color="tab:red", y=0.99)
    write_figure(figure, path)


def draw_metric(axes: "Axes", rows: Sequence[dict], name: str) -> None:
    """Draw one metric of every split; non-finite values (None) are left out."""
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
    axes.set_title(name, y=1.0)
    axes.grid(alpha=0.3)
    if axes.has_data():
        axes.legend()
    else:
        say_empty(axes)


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
