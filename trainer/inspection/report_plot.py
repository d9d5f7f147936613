"""Picture of a report: histograms of the activations by layer above what depends on depth, batch size and rate."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trainer.base.atomic import write_figure
from trainer.inspection.activations import Signal, Values
from trainer.inspection.first_order import HIGH, LOW, FirstOrder
from trainer.inspection.gradient_noise import GradientNoise
from trainer.inspection.report import Report
from trainer.rundir.title import in_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

COLUMNS, MOST = 6, 12  # histograms in a row, and in all
BINS, TAIL = 60, 0.1  # of a histogram, and percent of the values at either end that it leaves out
WIDEN = 3  # gradient norms that are nearly equal look so
CUT, ALONE = 1.5, 0.9  # height at which a bar is cut, over the next one; fraction of the values from which it is not
WIDTH, PANEL = 15, 2.1  # inches of the picture, and of height of a row of histograms


def draw(report: Report, title: str, path: Path) -> None:
    """Write the picture as PNG. Errors: OSError."""
    from matplotlib.figure import Figure  # 0.6 s

    drawn = with_histogram(report)
    rows = max(-(-len(drawn) // COLUMNS), 1)
    figure = Figure(figsize=(WIDTH, 0.5 + PANEL * rows + 3.4), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.06)
    upper, lower = figure.subfigures(2, 1, height_ratios=[PANEL * rows, 3.4])
    draw_histograms(upper, drawn, report.values, rows, len(report.signals))
    panels = lower.subplots(1, 4)
    draw_spread(panels[0], report.signals)
    draw_gradients(panels[1], report.signals)
    draw_noise(panels[2], report.noise)
    draw_first_order(panels[3], report.first_order)
    figure.suptitle(in_lines(title, WIDTH), fontsize=11)
    write_figure(figure, path)


def with_histogram(report: Report) -> list[Signal]:
    """Return the layers with an activation, of models without any those with outputs; of many some, evenly spread."""
    if isinstance(report.values, str):
        return []
    known = [row for row in report.signals if row.names[-1] in report.values.activations]
    known = [row for row in known if row.dead is not None] or known
    if len(known) <= MOST:
        return known
    return [known[round(place)] for place in np.linspace(0, len(known) - 1, MOST)]


def draw_histograms(sheet: "SubFigure", rows: Sequence[Signal], values: Values | str, lines: int, total: int) -> None:
    """Draw the activations of the layers side by side, on one axis for all."""
    if not rows:
        axes = sheet.subplots()
        axes.set_axis_off()
        say(axes, values if isinstance(values, str) else "no layer of this model gives one tensor")
        return
    arrays = [values.activations[row.names[-1]].numpy() for row in rows]
    arrays = [array[np.isfinite(array)] for array in arrays]
    ends = [np.percentile(array, [TAIL, 100 - TAIL]) for array in arrays if len(array)] or [(0.0, 1.0)]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    grid = sheet.subplots(lines, min(COLUMNS, len(rows)), squeeze=False)
    for axes in grid.flat[len(rows) :]:
        axes.set_axis_off()
    for axes, row, array in zip(grid.flat, rows, arrays):
        draw_histogram(axes, array, (low, high))
        axes.set_title(f"{row.name}: {row.kind}\nmean {number(row.mean)}, std {number(row.std)}", fontsize=8)
        axes.set_yticks([])
        axes.tick_params(labelsize=7)
    some = f", {len(rows)} of the layers" if len(rows) == MOST < total else ""
    sheet.supxlabel(f"activations{some}", fontsize=9)


def draw_histogram(axes: "Axes", array: np.ndarray, ends: tuple[float, float]) -> None:
    """Draw a histogram; a bar far above all others, as that of a ReLU's zeros, is cut and named."""
    counts, edges = np.histogram(array, bins=BINS, range=ends)
    axes.stairs(counts, edges, fill=True, color="tab:blue")
    highest, next_highest = np.sort(counts)[-1], np.sort(counts)[-2]
    if CUT * next_highest < highest < ALONE * counts.sum():
        axes.set_ylim(0, CUT * next_highest)
        place = edges[counts.argmax()]
        axes.text(
            0.97,
            0.93,
            f"{highest / len(array):.0%} at {place:.2g}",
            ha="right",
            va="top",
            fontsize=7,
            transform=axes.transAxes,
        )


def number(value: float | None) -> str:
    """Return a number with two significant digits, or that it is not finite."""
    return "not finite" if value is None else f"{value:.2g}"


def draw_spread(axes: "Axes", rows: Sequence[Signal]) -> None:
    """Draw mean and standard deviation of the activations by depth."""
    known = [(depth, row) for depth, row in enumerate(rows, 1) if row.mean is not None and row.std is not None]
    known = [(depth, row) for depth, row in known if row.dead is not None] or known  # behind an activation
    axes.set_title("activations by depth", fontsize=10)
    axes.set_xlabel("layer")
    if not known:
        return say(axes, "not known")
    depths, means = [depth for depth, _ in known], np.array([row.mean for _, row in known])
    stds = np.array([row.std for _, row in known])
    axes.plot(depths, means, "o-", color="tab:blue", label="mean")
    axes.plot(depths, stds, "s-", color="tab:orange", label="standard deviation")
    axes.axhline(0, color="0.6", linewidth=0.8)
    number_layers(axes, len(rows))
    axes.grid(alpha=0.3)
    legend_below(axes)


def draw_gradients(axes: "Axes", rows: Sequence[Signal]) -> None:
    """Draw the gradient norm of the weights by depth."""
    known = [(depth, row.grad_norm) for depth, row in enumerate(rows, 1) if row.grad_norm]
    axes.set_title("gradient norm of the weights by depth", fontsize=10)
    axes.set_xlabel("layer")
    if not known:
        return say(axes, "all gradients are zero, or none is known")
    axes.semilogy(*zip(*known), "o-", color="tab:red")
    norms = [norm for _, norm in known]
    axes.set_ylim(min(norms) / WIDEN, max(norms) * WIDEN)
    number_layers(axes, len(rows))
    axes.grid(alpha=0.3)


def draw_noise(axes: "Axes", found: GradientNoise | str) -> None:
    """Draw the variance of a batch's gradient by batch size, beside tr(Sigma) / B."""
    axes.set_title("variance of the gradient by batch size", fontsize=10)
    axes.set_xlabel("batch size B")
    if isinstance(found, str):
        return say(axes, found)
    known = [(point.size, point.variance) for point in found.points if point.variance > 0]
    if not known:
        return say(axes, "all gradients are equal")
    sizes = [size for size, _ in known]
    axes.loglog(*zip(*known), "o", color="tab:blue", label="measured")
    if found.trace > 0:
        axes.loglog(sizes, [found.trace / size for size in sizes], "-", color="0.4", label="tr(Sigma) / B")
    if found.square > 0:
        axes.axhline(found.square, color="tab:green", linestyle=":", label="|G|^2")
    axes.set_xticks(sizes, labels=map(str, sizes))
    axes.set_xticks([], minor=True)
    axes.grid(alpha=0.3)
    legend_below(axes)


def draw_first_order(axes: "Axes", found: FirstOrder | str | None) -> None:
    """Draw the actual decrease of the loss over the predicted one by rate."""
    axes.set_title("actual / predicted decrease by lr", fontsize=10)
    axes.set_xlabel("lr of one step of gradient descent")
    if found is None or isinstance(found, str):
        return say(axes, found or "the gradient is zero")
    known = [(each.rate, each.ratio) for each in found.points if np.isfinite(each.ratio)]
    axes.axhspan(LOW, HIGH, color="tab:green", alpha=0.12, linewidth=0)
    axes.semilogx(*zip(*known), "o-", color="tab:blue")
    if found.limit:
        axes.axvline(found.limit, color="tab:green", linestyle=":", label=f"holds up to {found.limit:.3g}")
        legend_below(axes)
    axes.set_ylim(-1, 2)
    axes.grid(alpha=0.3)


def legend_below(axes: "Axes") -> None:
    """Put the legend below the axis, where it hides nothing."""
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, frameon=False)


def number_layers(axes: "Axes", count: int) -> None:
    """Let the ticks of the depth be whole numbers, from 1 to the number of layers."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(0.5, count + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def say(axes: "Axes", text: str) -> None:
    """Write why there is nothing to draw."""
    axes.text(0.5, 0.5, text, ha="center", va="center", wrap=True, transform=axes.transAxes, fontsize=9)
