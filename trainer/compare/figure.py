"""ranking.png: every setting's score, seed by seed, above the curves it came from. No torch here."""

import statistics
from collections.abc import Iterator
from pathlib import Path

from trainer.compare.ranking import FIGURES, Ranking, Setting
from trainer.compare.record import number

MOST = 30  # settings that get a line of their own
COLOURED = 10  # the best ones; the others are grey
LONGEST = 70  # letters of a label


def draw(ranking: Ranking, path: Path) -> None:
    """Dots above (small: a seed; large: their mean, with the standard deviation), whose colours are those of the curves below.

    Args:
        ranking: what to draw; of more than 30 settings the best 30.
        path: of the PNG.
    """
    from matplotlib import colormaps  # 0.6 s
    from matplotlib.figure import Figure

    settings = ranking.settings[:MOST]
    paint = colormaps["tab10"].colors
    colors = [paint[place] if place < min(COLOURED, len(paint)) else "0.7" for place in range(len(settings))]
    height = 0.9 + 0.32 * len(settings)
    sheet = Figure(figsize=(11, height + 4.2), layout="constrained")
    upper, lower = sheet.subfigures(2, 1, height_ratios=[height, 4.2])
    dots(upper.subplots(), ranking, settings, colors)
    for axes, metric in zip(lower.subplots(1, len(ranking.metrics), squeeze=False)[0], reversed(ranking.metrics)):
        curves(axes, settings, colors, metric)
    sheet.savefig(path, dpi=110)


def dots(axes, ranking: Ranking, settings: list[Setting], colors: list) -> None:
    """A line a setting, the best on top."""
    for place, (setting, color) in enumerate(zip(settings, colors)):
        scores = setting.scores(ranking.when, ranking.metric)
        axes.plot(scores, [place] * len(scores), "o", color=color, markersize=4, alpha=0.5)
        if scores:
            deviation = setting.deviation(ranking.when, ranking.metric)
            axes.errorbar(statistics.fmean(scores), place, xerr=deviation, fmt="o", color=color, markersize=8, capsize=4)
        tested = setting.mean("test", ranking.metric)
        if tested is not None and ranking.when != "test":
            axes.plot(tested, place, "D", markerfacecolor="none", markeredgecolor="0.2", markersize=6)
    axes.plot([], [], "o", color="0.4", markersize=8, label=dict(FIGURES)[ranking.when])
    if ranking.when != "test" and any(setting.mean("test", ranking.metric) is not None for setting in settings):
        axes.plot([], [], "D", markerfacecolor="none", markeredgecolor="0.2", markersize=6, label="test")
    axes.set_yticks(range(len(settings)), [label(place, setting) for place, setting in enumerate(settings, start=1)])
    axes.set_ylim(len(settings) - 0.5, -0.5)
    axes.xaxis.set_label_position("top")
    axes.xaxis.tick_top()
    left_out = len(ranking.settings) - len(settings)
    axes.set_xlabel(f"{ranking.metric}{f' (the best {len(settings)} of {len(ranking.settings)} settings)' if left_out else ''}", labelpad=6)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)


def label(place: int, setting: Setting) -> str:
    """A setting's words; those of matplotlib's own language lose their meaning."""
    words = setting.label if len(setting.label) <= LONGEST else f"{setting.label[: LONGEST - 3]}..."
    state = "" if setting.ended else f" ({setting.status})"
    return f"{place}  {words}{state}".replace("$", r"\$")


def curves(axes, settings: list[Setting], colors: list, metric: str) -> None:
    """The validation split's scorings: thin for a seed, thick for their mean where there are several; the best setting in front."""
    lowest, highest = float("inf"), 0.0
    for place, (setting, color) in enumerate(zip(settings, colors)):
        lines = [line for job in setting.counted if (line := dict(points(job.rows, metric)))]
        for line in lines:
            alone = len(lines) == 1
            style = {"linewidth": 1.8 if alone else 0.8, "alpha": 1.0 if alone else 0.4, "marker": "." if len(line) == 1 else None}
            axes.plot(line.keys(), line.values(), color=color, zorder=3 - place / 100, **style)
            lowest, highest = min(lowest, *line.values()), max(highest, *line.values())
        shared = sorted(set.intersection(*map(set, lines))) if len(lines) > 1 else []
        axes.plot(shared, [statistics.fmean(line[epoch] for line in lines) for epoch in shared], color=color, linewidth=1.8, zorder=3 - place / 100)
    from matplotlib.ticker import MaxNLocator

    if metric == "loss" and 0 < 20 * lowest < highest:
        axes.set_yscale("log")
    axes.set(title=f"val {metric}", xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)


def points(rows, metric: str) -> Iterator[tuple[float, float]]:
    """Epoch and value of each scoring of the validation split."""
    for row in rows:
        if row.get("split") == "val" and (value := number(row.get(metric))) is not None:
            yield row["epoch"], value
