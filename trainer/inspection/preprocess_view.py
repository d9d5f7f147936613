"""Samples before and after the preprocessing: scatter of two features and their scales, or images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from trainer.base.atomic import write_figure
from trainer.base.classes import labels_of
from trainer.base.protocols import Apply
from trainer.base.text import counted
from trainer.config.hydra_context import Invocation
from trainer.data.image_files import read
from trainer.data.inputs import TableInput
from trainer.data.splits import Splits
from trainer.engine.image_grid import full_range
from trainer.rundir.fit_map import COLORS, class_colors, colors_of_values, widened
from trainer.rundir.title import in_lines, title_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

IMAGES, POINTS = 6, 2000  # samples that are drawn
LISTED = 8  # features in a table
MOST_TRIED = 1000  # features
ROUNDING = 1e-6  # of the mean of standardised values in float32
LETTERS = 14  # of a feature's name


@dataclass(frozen=True, kw_only=True)
class PreprocessView:
    """Training samples before and after the preprocessing.

    Args:
        before, after: (N, ...) floats; images in [0, 1] before.
        colors: (N, 3) of the samples, by class or by value.
        names: of the features of a table.
        by_feature: whether each value after depends on the one feature before that has its place.
    """

    before: Tensor
    after: Tensor
    colors: np.ndarray
    names: Sequence[str]
    by_feature: bool

    @property
    def is_table(self) -> bool:
        """True if the samples are rows of numbers."""
        return self.before.dim() == 2

    def scales(self) -> list[tuple[str, float, float, float | None, float | None]]:
        """Return name, mean and deviation of each feature before, and the same after, where it is the same feature."""
        before = moments(self.before)
        after = moments(self.after) if self.by_feature else [(None, None)] * len(before)
        return [(name, *pair, *other) for name, pair, other in zip(self.names, before, after)]


def make_view(data: Splits, apply: Apply) -> PreprocessView:
    """Return the view of a run's training split, of tables all samples, of images a few."""
    whole = len(data.input_shape) == 1
    count = len(data.train) if whole else min(IMAGES, len(data.train))
    rows = torch.linspace(0, len(data.train) - 1, count).round().long()
    before = read(data.train.images, rows)
    targets = data.train.targets[rows].cpu()
    if data.task == "regression":
        ends = widened(float(targets[:, 0].min()), float(targets[:, 0].max()))
        colors = colors_of_values(targets[:, 0].numpy(), ends)
    else:
        colors = class_colors(len(COLORS))[labels_of(targets).numpy() % len(COLORS)]
    after = apply(before.clone()).detach()
    before = before.float() / 255 if before.dtype == torch.uint8 else before.float()
    columns = data.inputs.columns if isinstance(data.inputs, TableInput) else ()
    names = [column.name for column in columns if column.width == 1]
    width = before.shape[1] if whole else 0
    names = names if len(names) == width else [f"x{place}" for place in range(1, width + 1)]
    by_feature = whole and keeps_features(apply, before)
    return PreprocessView(before=before, after=after, colors=colors, names=names, by_feature=by_feature)


def keeps_features(apply: Apply, rows: Tensor) -> bool:
    """Return whether each value of a preprocessed row depends on the feature in its place alone, tried on one row."""
    width = rows.shape[1]
    if apply(rows[:1].clone()).shape != (1, width) or width > MOST_TRIED:
        return False
    moved = rows[:1] + torch.diag(rows.std(0, correction=0) + 1)
    changed = apply(moved.clone()) != apply(rows[:1].clone())
    return not (changed & ~torch.eye(width, dtype=torch.bool)).any()


def moments(values: Tensor) -> list[tuple[float, float]]:
    """Return mean and biased deviation of each feature, in float64."""
    deviation, mean = torch.std_mean(values.double(), 0, correction=0)
    return [*zip(mean.tolist(), deviation.tolist())]


def short(value: float) -> str:
    """Return a number with four digits, 0 for the rounding of float32."""
    return f"{0 if abs(value) < ROUNDING else value:.4g}"


def ratio(deviations: Sequence[float]) -> float:
    """Return the largest deviation over the smallest one that is not 0; 1 where all are 0."""
    known = [value for value in deviations if value > 0]
    return max(known) / min(known) if known else 1.0


def describe(view: PreprocessView) -> list[str]:
    """Return mean and deviation by feature before and after, and how far the scales lie apart; of images the range."""
    if not view.is_table:
        parts = (
            f"{when} {float(values.min()):.3g} to {float(values.max()):.3g}"
            for when, values in (("before", view.before), ("after", view.after))
        )
        shape = "x".join(map(str, view.after.shape[1:]))
        return [f"values of {len(view.before)} images: {', '.join(parts)}; a sample is {shape}"]
    rows, same = view.scales(), view.by_feature
    head = ["feature", "mean", "deviation", *(["mean after", "deviation after"] if same else [])]
    cells = [[row[0], *map(short, row[1:3]), *(map(short, row[3:]) if same else ())] for row in rows[:LISTED]]
    widths = [max(map(len, column)) for column in zip(head, *cells)]
    lines = ["  ".join(map(str.rjust, row, widths)).rstrip() for row in (head, *cells)]
    if len(rows) > LISTED:
        lines.append(f"and {len(rows) - LISTED} more features")
    before = ratio([row[2] for row in rows])
    after = ratio([deviation for _, deviation in moments(view.after.flatten(1))])
    made = "" if same else f" ({counted('new feature', view.after[0].numel())})"
    if len(rows) > 1 or not same:
        lines.append(f"largest deviation / smallest: {before:.3g} before, {after:.3g} after{made}")
    return lines


def draw(view: PreprocessView, path: Path, invocation: Invocation) -> None:
    """Draw two features before and after, or images. Errors: OSError."""
    from matplotlib.figure import Figure  # 0.6 s

    title = title_of(invocation, ("data", "preprocess"))
    width = 10 if view.is_table else 1.6 * len(view.before) + 0.6
    height = 5 if view.is_table else 4.2 if view.after.dim() == 4 else 2.5
    figure = Figure(figsize=(width, height), layout="constrained")
    if view.is_table:
        left, right = figure.subplots(1, 2)
        pair = extremes(view)
        draw_features(left, view.before, view, pair, "before")
        flat = view.after.flatten(1)
        others = pair if view.by_feature else (0, min(1, flat.shape[1] - 1))
        draw_features(right, flat, view, others, "after", named=view.by_feature)
    else:
        draw_images(figure, view)
    figure.suptitle(in_lines(title, width), fontsize=10)
    write_figure(figure, path)


def extremes(view: PreprocessView) -> tuple[int, int]:
    """Return the features with the smallest and the largest deviation, constants left out; two neighbours if equal."""
    deviations = [row[2] for row in view.scales()]
    known = [place for place, value in enumerate(deviations) if value > 0] or [0]
    if len(known) == 1:
        return known[0], known[0]
    small, large = min(known, key=deviations.__getitem__), max(known, key=deviations.__getitem__)
    return (small, large) if small != large else (known[0], known[1])


def draw_features(
    axes: "Axes", values: Tensor, view: PreprocessView, pair: tuple[int, int], when: str, named: bool = True
) -> None:
    """Draw two features on axes of one scale; a histogram of a single one."""
    some = np.linspace(0, len(values) - 1, min(len(values), POINTS)).round().astype(int)
    x, y = (values[some, place].numpy() for place in pair)
    names = [view.names[place] if named else f"feature {place + 1}" for place in pair]
    labels = [name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}\u2026" for name in names]
    axes.grid(alpha=0.3)
    if pair[0] == pair[1]:
        axes.hist(x, bins=40, color="tab:gray")
        axes.set(title=f"{when}: mean {x.mean():.3g}, deviation {x.std():.3g}", xlabel=labels[0], ylabel="samples")
        return
    axes.scatter(x, y, s=9, c=view.colors[some], alpha=0.6, linewidths=0)
    # One scale for both axes, around the middle of the samples: a feature with a small scale looks narrow.
    half = max(np.ptp(x), np.ptp(y)) / 2 * 1.08 or 1.0
    for set_limits, part in ((axes.set_xlim, x), (axes.set_ylim, y)):
        middle = (part.min() + part.max()) / 2
        set_limits(middle - half, middle + half)
    axes.set_aspect("equal")
    axes.set(
        xlabel=f"{labels[0]}  (deviation {x.std():.3g})", ylabel=f"{labels[1]}  (deviation {y.std():.3g})", title=when
    )


def draw_images(figure, view: PreprocessView) -> None:
    """Draw images above, and below them what the network gets, each stretched to the full range."""
    count, still_images = len(view.before), view.after.dim() == 4
    grid = figure.subplots(2 if still_images else 1, count, squeeze=False)
    pairs = [(view.before, view.before), *([(full_range(view.after), view.after)] if still_images else [])]
    for row, (images, numbers) in zip(grid, pairs):
        for axes, image, own in zip(row, images, numbers):
            shown = image if len(image) == 3 else image[:1].expand(3, -1, -1)
            axes.imshow(shown.permute(1, 2, 0).clamp(0, 1).numpy(), interpolation="nearest")
            axes.set_title(f"{float(own.min()):.2g} to {float(own.max()):.2g}", fontsize=8)
            axes.set_xticks([])
            axes.set_yticks([])
    grid[0][0].set_ylabel("before")
    if still_images:
        grid[1][0].set_ylabel("after, stretched")
    else:
        figure.supxlabel(f"after: {view.after[0].numel()} values a sample, no image", fontsize=9)
