"""Figures of the gallery, one function for each kind."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from exhibits.results import LABEL, Results
from exhibits.runs import Group, Measured
from trainer.comparison.plot import number_in

SIZE = (6.4, 3.4)  # inches
Pairs = Sequence[tuple[Group, Measured]]


def bars(pairs: Pairs, label: str, low: float = 0.0, log: bool = False) -> Figure:
    """Draw a bar for each setting, with its deviation and a dot for each seed.

    Args:
        low: beginning of the axis; above 0 a line from there would mislead, and the mean is drawn as a diamond.
    """
    names = ["\n".join(wrap(group.label, 44, break_long_words=False)) for group, _ in pairs]
    width = max(len(line) for name in names for line in name.split("\n"))
    figure = Figure(figsize=(4.2 + 0.075 * width, 0.9 + 0.38 * len(pairs)), layout="constrained")
    axes = figure.subplots()
    for place, (group, value) in enumerate(pairs):
        if value.mean is None:
            axes.annotate(
                " diverged" if group.diverged else " none", (0, place), xycoords=("axes fraction", "data"), va="center"
            )
            continue
        if low or log:
            axes.errorbar(value.mean, place, xerr=value.deviation, color="C0", marker="D", capsize=3)
        else:
            axes.barh(place, value.mean, xerr=value.deviation, color="C0", alpha=0.6, capsize=3)
        axes.plot(value.values, [place] * len(value.values), ".", color="black", markersize=5)
    axes.set_yticks(range(len(pairs)), names, fontsize=9)
    axes.set_ylim(len(pairs) - 0.5, -0.5)
    axes.set_xlabel(label)
    if log:
        axes.set_xscale("log")
    else:
        axes.set_xlim(left=low)
    axes.grid(alpha=0.3, axis="x")
    return figure


def against(pairs: Pairs, key: str, label: str, by: str | None = None, log: bool = True, axes: Axes | None = None):
    """Draw a figure against a key whose values are numbers, a line for each value of another key.

    Args:
        by: that other key; None for one line for each command.
        log: whether the axis of the key is logarithmic.
        axes: where to draw; None for a figure of its own.
    """
    figure = None
    if axes is None:
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.subplots()
    lines: dict[str, list] = {}
    for group, value in pairs:
        x = number_in(group.words.get(key, ""))
        if x is not None and value.mean is not None:
            name = label if by is None else f"{by.rpartition('.')[2]}={group.words.get(by, '')}"
            lines.setdefault(name, []).append((x, value.mean, value.deviation))
    for name, points in lines.items():
        x, mean, deviation = zip(*sorted(points))
        axes.errorbar(x, mean, yerr=deviation, marker="o", markersize=4, capsize=3, label=name)
    if log:
        axes.set_xscale("log")
        ticks = sorted({x for points in lines.values() for x, *_ in points})
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
    axes.set(xlabel=key, ylabel=label)
    axes.grid(alpha=0.3)
    if len(lines) > 1:
        axes.legend(fontsize=9)
    return figure


def heat(pairs: Pairs, x: str, y: str, label: str) -> Figure:
    """Draw the mean for each pair of values of two keys; a cell where all runs diverged has no colour."""
    columns, rows = (list(dict.fromkeys(group.words[key] for group, _ in pairs)) for key in (x, y))
    table = np.full((len(rows), len(columns)), np.nan)
    texts = {}
    for group, value in pairs:
        place = rows.index(group.words[y]), columns.index(group.words[x])
        if value.mean is None:
            texts[place] = "diverged"
        else:
            table[place] = value.mean
            texts[place] = f"{value.mean:.2f}\n±{value.deviation:.2f}"
    figure = Figure(figsize=(SIZE[0], 1.2 + 0.62 * len(rows)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(table, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    for (row, column), text in texts.items():
        dark = np.isnan(table[row, column]) or table[row, column] > 0.6
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color="black" if dark else "white")
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.set(xlabel=x, ylabel=y)
    figure.colorbar(image, label=label)
    return figure


def curves(
    groups: Sequence[Group],
    split: str,
    metric: str,
    log: bool = False,
    top: float | None = None,
    label: Callable[[Group], str] = lambda group: group.label,
    time: str = "step",
    axes: Axes | None = None,
) -> Figure | None:
    """Draw curves of a metric: thin for a seed, thick for the mean.

    Args:
        split: whose rows are drawn.
        top: end of the axis.
        time: key of the axis of time.
    """
    figure = None
    if axes is None:
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.subplots()
    for place, group in enumerate(groups):
        lines = []
        for job in group.jobs:
            rows = [row for row in job.rows if row["split"] == split and row.get(metric) is not None]
            lines.append({row[time]: row[metric] for row in rows if row["step"] or split != "train"})
            axes.plot(*zip(*lines[-1].items()), color=f"C{place}", linewidth=0.6, alpha=0.4)
        shared = sorted(set.intersection(*map(set, lines)))
        means = [fmean(line[step] for line in lines) for step in shared]
        axes.plot(shared, means, color=f"C{place}", linewidth=1.8, label=label(group))
    if log:
        axes.set_yscale("log")
    if top is not None:
        axes.set_ylim(top=top)
    axes.set(xlabel=time, ylabel=f"{split} {metric}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def paths(places: Sequence[Path], groups: Sequence[Group]) -> Figure:
    """Draw the paths of several files landscape.json on the surface of the first one, and the loss over steps.

    Args:
        groups: the runs of the same optimizers.
    """
    contents = [json.loads(place.read_text()) for place in places]
    first = contents[0]
    found = [path for content in contents for path in content["paths"]]
    figure = Figure(figsize=(9.4, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    a, b, loss = (np.array(first[key], dtype=float) for key in ("a", "b", "loss"))
    levels = np.geomspace(np.nanmin(loss), np.nanmax(loss), 16)
    left.contour(a, b, loss, levels=levels, norm=LogNorm(), cmap="Greys_r", linewidths=0.7)
    for path in found:
        points = np.array(path["points"])
        left.plot(points[:, 0], points[:, 1], marker=".", markersize=3, linewidth=1, label=path["optimizer"], alpha=0.8)
    left.plot(*np.array(found[0]["points"])[0], "k*", markersize=10, label="start")
    left.set(xlabel=first["axes"][0], ylabel=first["axes"][1], xlim=(a[0], a[-1]), ylim=(b[0], b[-1]))
    left.legend(fontsize=8)
    curves(groups, "val", "loss", log=True, label=lambda group: group.words["optimizer"], axes=right)
    return figure


def bars_of(metric: str = LABEL, low: float = 0.0, log: bool = False) -> Callable[[Results], Figure]:
    """Return what draws a bar for each setting of an experiment."""
    return lambda results: bars(results.values(metric), metric, low, log)


def line_of(key: str, by: str | None = None, metric: str = LABEL, log: bool = True) -> Callable[[Results], Figure]:
    """Return what draws a figure of an experiment against a key."""
    return lambda results: against(results.values(metric), key, metric, by, log)
