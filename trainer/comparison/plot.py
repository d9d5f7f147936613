"""Figure of a ranking, ranking.png: every setting's score, seed by seed, above the curves behind it. No torch here."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from trainer.base.atomic import write_figure
from trainer.base.metrics import LOSS
from trainer.comparison import findings
from trainer.comparison.ranking import EVALUATIONS, Ranking, Setting
from trainer.comparison.record import Record, number
from trainer.rundir.title import in_lines, title_from

MAX_SETTINGS = 30  # with a line of their own
LABEL_LENGTH = 70  # letters
MAX_CURVES = 36  # in one picture; of more, each setting has only its mean
LARGEST_RATIO = 1e4  # of a loss to the lowest one: what is above leaves the picture
TIMES = ("epoch", "step", "seconds")  # keys of a row, over which curves are drawn
WIDTH, CURVES = 11, 4.2  # inches
OTHERS = "0.75"  # grey: the settings behind the best


def draw(ranking: Ranking, path: Path) -> None:
    """Draw dots above (small: a seed; large: their mean, with a bar of one standard deviation), and curves below.

    The curves go over epochs; where runs take other numbers of steps for one, over steps and seconds as well.

    Args:
        ranking: what to draw; of more than 30 settings the best 30.
        path: of the PNG, which is written atomically.
    Errors: OSError.
    """
    from matplotlib import colormaps  # 0.6 s
    from matplotlib.figure import Figure

    settings = ranking.settings[:MAX_SETTINGS]
    paint = [color for color in colormaps["tab10"].colors if len(set(color)) > 1]  # its grey is left to the others
    colors = [paint[place] if place < len(paint) else OTHERS for place in range(len(settings))]
    times = (
        TIMES if len({rate for setting in settings for job in setting.counted if (rate := job.pace)}) > 1 else TIMES[:1]
    )
    height, below = 0.9 + 0.32 * len(settings), CURVES * len(times)
    title = in_lines(title_of_runs(ranking.jobs), WIDTH)
    sheet = Figure(figsize=(WIDTH, height + below + 0.2 * (title.count("\n") + 1)), layout="constrained")
    sheet.suptitle(title, fontsize=10)
    upper, lower = sheet.subfigures(2, 1, height_ratios=[height, below])
    draw_scores(upper.subplots(), ranking, settings, colors)
    for row, time in zip(lower.subplots(len(times), len(ranking.metrics), squeeze=False), times):
        for axes, metric in zip(row, reversed(ranking.metrics)):
            draw_curves(axes, settings, colors, metric, time)
    write_figure(sheet, path)


def title_of_runs(runs: Sequence[Record]) -> str:
    """Return the title of a picture of several runs: the options and the overrides that all of them have."""
    first, *others = runs
    same = {
        key: option for key, option in first.options.items() if all(run.options.get(key) == option for run in others)
    }
    typed = [text for text in first.overrides if all(text in run.overrides for run in others)]
    return title_from(same, typed)


def draw_scores(axes, ranking: Ranking, settings: list[Setting], colors: list) -> None:
    """Draw a line for each setting, the best on top."""
    when, metric = ranking.when, ranking.metric.name
    seeds = [
        (score, place, colors[place])
        for place, setting in enumerate(settings)
        for score in setting.scores(when, metric)
    ]
    known = [(setting.mean(when, metric), place, colors[place]) for place, setting in enumerate(settings)]
    means = [dot for dot in known if dot[0] is not None]
    tests = [(setting.mean("test", metric), place) for place, setting in enumerate(settings) if when != "test"]
    tests = [dot for dot in tests if dot[0] is not None]
    if seeds:
        scores, places, paint = zip(*seeds)
        axes.scatter(scores, places, s=20, c=paint, alpha=0.6, linewidths=0, zorder=2.5)
        scores, places, paint = zip(*means)
        spreads = [setting.deviation(when, metric) or 0.0 for setting in map(settings.__getitem__, places)]
        low, high = ([score + sign * spread for score, spread in zip(scores, spreads)] for sign in (-1, 1))
        axes.hlines(places, low, high, colors=paint, linewidths=0.9)
        axes.scatter(scores, places, s=64, c=paint, zorder=3)
    axes.plot([], [], "o", color="0.4", markersize=8, label=dict(EVALUATIONS)[when])
    compares = not [*findings.incomparable(ranking)]
    at_chance = next((setting for setting in settings if findings.is_at_chance(ranking, setting)), None)
    if at_chance and compares:  # else the line might be far from every dot
        axes.axvline(findings.chance(ranking, at_chance), color="0.4", linestyle=":", label=ranking.metric.constant)
    if tests:
        axes.plot(*zip(*tests), "D", markerfacecolor="none", markeredgecolor="0.2", markersize=6, label="test")
    axes.set_yticks(range(len(settings)), [label(place, setting) for place, setting in enumerate(settings, start=1)])
    axes.set_ylim(len(settings) - 0.5, -0.5)
    axes.xaxis.set_label_position("top")
    axes.xaxis.tick_top()
    cut = len(ranking.settings) > len(settings)
    limits = f" (the best {len(settings)} of {len(ranking.settings)} settings)" if cut else ""
    unlike = "" if compares else " (no comparison: see ranking.md)"
    axes.set_xlabel(f"{metric}{limits}{unlike}", labelpad=6)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)


def label(place: int, setting: Setting) -> str:
    """Return a setting's label and place; a dollar sign does not begin matplotlib's mathematics."""
    text = setting.label if len(setting.label) <= LABEL_LENGTH else f"{setting.label[: LABEL_LENGTH - 3]}..."
    state = "" if setting.complete else f" ({setting.status})"
    return f"{text}{state}   {place}".replace("$", r"\$")


def draw_curves(axes, settings: list[Setting], colors: list, metric: str, time: str = TIMES[0]) -> None:
    """Draw the validation curves: thin for a seed, thick for the mean of several, the best setting in front."""
    lowest, highest = float("inf"), 0.0
    many = sum(len(setting.counted) for setting in settings) > MAX_CURVES
    for place, (setting, color) in enumerate(zip(settings, colors)):
        lines = [line for job in setting.counted if (line := points(job.rows, metric, time))]
        alone = len(lines) == 1
        for line in lines if alone or not many else ():
            style = {
                "linewidth": 1.8 if alone else 0.8,
                "alpha": 1.0 if alone else 0.4,
                "marker": "." if len(line) == 1 else None,
            }
            axes.plot(*zip(*line.values()), color=color, zorder=3 - place / 100, **style)
        values = [value for line in lines for _, value in line.values()]
        lowest, highest = min([lowest, *values]), max([highest, *values])
        shared = sorted(set.intersection(*map(set, lines))) if len(lines) > 1 else []
        means = [[statistics.fmean(each) for each in zip(*(line[epoch] for line in lines))] for epoch in shared]
        marker = "." if len(shared) == 1 else None
        axes.plot(
            *zip(*means) if means else ([], []), color=color, linewidth=1.8, zorder=3 - place / 100, marker=marker
        )
    from matplotlib.ticker import MaxNLocator

    if metric == LOSS.name and 0 < 20 * lowest < highest:
        axes.set_yscale("log")
        if highest > LARGEST_RATIO * lowest:
            axes.set_ylim(top=LARGEST_RATIO * lowest)  # else one run that diverged flattens the others to a line
    axes.set(title=f"val {metric}", xlabel=time)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)


def points(rows, metric: str, time: str = TIMES[0]) -> dict[float, tuple[float, float]]:
    """Return time and value of each evaluation of the validation split, by its epoch."""
    known = [(row["epoch"], number(row.get(time)), number(row.get(metric))) for row in rows if row["split"] == "val"]
    return {epoch: (when, value) for epoch, when, value in known if when is not None and value is not None}
