"""Figure of a ranking, ranking.png: scores by setting and against a number, above the curves. No torch here.

The panels, from above: every setting's score, seed by seed; where a number was swept, the score against it; the curves.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from trainer.base.atomic import write_figure
from trainer.base.metrics import LOSS
from trainer.comparison import findings
from trainer.comparison.ranking import EVALUATIONS, Ranking, Setting
from trainer.comparison.record import Record, number
from trainer.rundir import reader
from trainer.rundir.title import in_lines, title_from

MAX_SETTINGS = 30  # with a line of their own
LABEL_LENGTH = 70  # letters
MAX_CURVES = 36  # in one picture; of more, each setting has only its mean
LARGEST_RATIO = 1e4  # of a loss to the lowest one: what is above by far leaves the picture
TIMES = ("epoch", "step", "seconds")  # keys of a row, over which curves are drawn
WIDTH, CURVES, AGAINST = 11, 3.6, 3.2  # inches
OTHERS = "0.75"  # grey: the settings behind the best
FEWEST_NUMBERS = 3  # of a key, for a panel of its own
MAX_LINES = 8  # in it
MAX_TICKS, MAX_TIMES = 12, 6  # with a label; of the time of a curve


def draw(ranking: Ranking, path: Path) -> None:
    """Draw dots above (small: a seed; large: their mean, with a bar of one standard deviation), and curves below.

    The curves are those of the training loss and of the validation's scores. They go over epochs; where runs take other
    numbers of steps for one, over steps and seconds as well.

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
    swept = swept_number(settings)
    heights = [0.9 + 0.32 * len(settings), *([AGAINST] if swept else []), CURVES * len(times)]
    title = in_lines(title_of_runs(ranking.jobs), WIDTH)
    sheet = Figure(figsize=(WIDTH, sum(heights) + 0.2 * (title.count("\n") + 1)), layout="constrained")
    sheet.suptitle(title, fontsize=10)
    upper, *middle, lower = sheet.subfigures(len(heights), 1, height_ratios=heights)
    draw_scores(upper.subplots(), ranking, settings, colors)
    if swept:
        draw_against(middle[0].subplots(), ranking, settings, colors, swept)
    panels = [("train", LOSS.name), *(("val", metric) for metric in reversed(ranking.metrics))]
    for row, time in zip(lower.subplots(len(times), len(panels), squeeze=False), times):
        for axes, (split, metric) in zip(row, panels):
            draw_curves(axes, settings, colors, metric, time, split)
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


def swept_number(settings: Sequence[Setting]) -> str | None:
    """Return the column with the most numbers, from three on, if the others leave few enough lines; None without it."""
    columns = [*settings[0].cells] if settings else []
    numbers = {column: {number_in(setting.cells[column]) for setting in settings} - {None} for column in columns}
    found = max(columns, key=lambda column: len(numbers[column]), default=None)
    if (
        found is None
        or len(numbers[found]) < FEWEST_NUMBERS
        or len({line_of(each, found) for each in settings}) > MAX_LINES
    ):
        return None
    return found


def number_in(cell: str) -> float | None:
    """Return the number of a cell, or of a list of one; None where it is none."""
    try:
        value = float(cell.strip("[]"))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def line_of(setting: Setting, column: str) -> str:
    """Return the label of the line on which a setting lies: its cells in the other columns."""
    return " ".join(f"{key}={cell}" for key, cell in setting.shown.items() if key != column)


def draw_against(axes, ranking: Ranking, settings: Sequence[Setting], colors: list, column: str) -> None:
    """Draw the score against a number that was swept, with a line for each combination of what else was.

    A bar is one standard deviation over the seeds, and a cross below a setting without a score.
    """
    from matplotlib import colormaps

    when, metric = ranking.when, ranking.metric.name
    lines: dict[str, list[tuple[float, Setting, object]]] = {}
    for setting, color in zip(settings, colors):
        if (value := number_in(setting.cells[column])) is not None:
            lines.setdefault(line_of(setting, column), []).append((value, setting, color))
    for place, (name, dots) in enumerate(sorted(lines.items())):
        known = [
            (x, mean, setting, color) for x, setting, color in dots if (mean := setting.mean(when, metric)) is not None
        ]
        known.sort(key=lambda dot: dot[0])
        paint = colormaps["Dark2"].colors[place] if len(lines) > 1 else "0.5"
        bars = [setting.deviation(when, metric) or 0.0 for _, _, setting, _ in known]
        x, means = [dot[0] for dot in known], [dot[1] for dot in known]
        axes.errorbar(
            x, means, yerr=bars, color=paint, marker="o", markersize=4, capsize=3, label=name.replace("$", r"\$")
        )
        if len(lines) == 1:
            axes.scatter(x, means, s=48, c=[color for *_, color in known], zorder=3)
        without = [x for x, setting, _ in dots if setting.mean(when, metric) is None]
        axes.plot(without, [0.03 + 0.05 * place] * len(without), "x", color=paint, transform=axes.get_xaxis_transform())
    spread_evenly(axes, {x for dots in lines.values() for x, *_ in dots})
    axes.set(xlabel=column, ylabel=ranking.by)
    axes.grid(alpha=0.3)
    if len(lines) > 1:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=9)


def spread_evenly(axes, values: Iterable[float]) -> None:
    """Scale the x axis so that the values are the more evenly spaced: linearly or by their logarithms.

    A zero among positive values keeps a place of its own beside the logarithms.
    """
    from matplotlib.ticker import NullLocator

    ordered = sorted(values)
    positive = [value for value in ordered if value > 0]
    if ordered[0] >= 0 and len(positive) > 1 and unevenness(map(math.log, positive)) < unevenness(ordered):
        if ordered[0] > 0:
            axes.set_xscale("log")
        else:
            axes.set_xscale("symlog", linthresh=positive[0], linscale=math.log10(positive[1] / positive[0]))
    if len(ordered) <= MAX_TICKS:
        axes.set_xticks(ordered, [f"{value:g}" for value in ordered])
        axes.xaxis.set_minor_locator(NullLocator())


def unevenness(values: Iterable[float]) -> float:
    """Return the standard deviation of the gaps between ascending values over their mean; 0 of a single gap."""
    values = [*values]
    gaps = [after - before for before, after in zip(values, values[1:])]
    return statistics.pstdev(gaps) / statistics.fmean(gaps)


def draw_curves(
    axes, settings: list[Setting], colors: list, metric: str, time: str = TIMES[0], split: str = "val"
) -> None:
    """Draw the curves of a split: thin for a seed, thick for the mean of several, the best setting in front."""
    lowest, highest = float("inf"), 0.0
    many = sum(len(setting.counted) for setting in settings) > MAX_CURVES
    for place, (setting, color) in enumerate(zip(settings, colors)):
        lines = [line for job in setting.counted if (line := points(rows_of(job, split), metric, time, split))]
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
            drawn = [
                value for line in axes.get_lines() for value in line.get_ydata() if value <= LARGEST_RATIO * lowest
            ]
            mark_those_above(axes, top := 10 * max(drawn))
            axes.set_ylim(lowest / 2, top)  # else one run that diverged flattens the others to a line
    axes.set(title=f"{split} {metric}", xlabel=time)
    axes.xaxis.set_major_locator(MaxNLocator(MAX_TIMES, integer=True))
    axes.grid(alpha=0.3)


def mark_those_above(axes, top: float) -> None:
    """Mark each curve that leaves the picture with an arrow and its largest value, in its colour, at the upper edge."""
    for line in axes.get_lines():
        over = [(value, when) for when, value in zip(*line.get_data()) if value > top]
        if over:
            (value, when), color, place = max(over), line.get_color(), axes.get_xaxis_transform()
            axes.plot(when, 0.96, "^", color=color, transform=place, zorder=4)
            text = axes.text(when, 0.96, f"   {value:.2g}", color=color, transform=place, va="center", fontsize=8)
            text.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0})


def rows_of(job: Record, split: str) -> Iterable[Mapping]:
    """Return the rows of a split, those of training read anew."""
    return job.rows if split == "val" else reader.read_rows(job.path, split)


def points(rows: Iterable[Mapping], metric: str, time: str = TIMES[0], split: str = "val") -> dict:
    """Return time and value of each row of a split, by its epoch."""
    known = [
        (epoch, number(row.get(time)), number(row.get(metric)))
        for row in rows
        if row["split"] == split and (epoch := number(row.get("epoch"))) is not None
    ]
    return {epoch: (when, value) for epoch, when, value in known if when is not None and value is not None}
