"""Figure of a recipe: the score of every trial against its learning rate and its weight decay."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.base.atomic import write_figure
from trainer.recipe.search import Stage
from trainer.recipe.story import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = ("0.7", "tab:blue", "tab:orange", "tab:green", "tab:purple", "tab:brown", "tab:pink")  # of the stages
HEIGHT, WIDTH = 4.4, 5.2  # inches of a part
LOWEST = 0.1  # quantile of the scores below which points leave the picture: runs that have learnt nothing


def draw(
    stages: Sequence[Stage],
    labels: Sequence[str],
    keys: Sequence[str],
    result: Result,
    title: str,
    path: Path,
) -> None:
    """Draw a part for each key, with the chosen value marked and the plateau of good learning rates shaded.

    Args:
        stages: of the search, each in a colour.
        labels: of the stages.
        keys: of the learning rate and, where it is searched, of the weight decay.
        result: what was chosen.
    Errors: OSError.
    """
    from matplotlib.figure import Figure  # 0.6 s

    figure = Figure(figsize=(0.6 + WIDTH * len(keys), HEIGHT), layout="constrained")
    parts = figure.subplots(1, len(keys), sharey=True, squeeze=False)[0]
    for axes, key in zip(parts, keys):
        for stage, label, color in zip(stages, labels, [*COLORS, *COLORS[1:]]):
            mark(axes, stage, key, label, color)
        axes.axvline(result.point[key], color="tab:red", alpha=0.7, label="chosen")
        set_scale(axes, [trial.point[key] for stage in stages for trial in stage.trials])
        axes.set_xlabel(key)
        axes.grid(alpha=0.3, which="both")
    low, high = result.good
    if low < high:
        parts[0].axvspan(low, high, color="tab:green", alpha=0.12, label=f"as good: {low:g} to {high:g}")
    metric = stages[-1].best.metric.name
    figure.suptitle(title, fontsize=11)
    parts[0].set(ylabel=f"best validation {metric}", ylim=limits(stages))
    figure.legend(*parts[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    write_figure(figure, path)


def mark(axes: "Axes", stage: Stage, key: str, label: str, color: str) -> None:
    """Mark the trials of a stage that have a score; a filled mark is the stage's best one."""
    scored = [trial for trial in stage.trials if trial.score is not None]
    points = [trial.point[key] for trial in scored], [trial.score for trial in scored]
    axes.plot(*points, "o", color=color, markerfacecolor="none", markersize=6, label=label)
    if stage.best:
        axes.plot(stage.best.point[key], stage.best.score, "o", color=color, markersize=7)


def set_scale(axes: "Axes", values: Sequence[float]) -> None:
    """Set a scale by powers of ten; where a value is 0, one that is even below the smallest other."""
    if all(value > 0 for value in values):
        axes.set_xscale("log")
        return
    smallest = min((value for value in values if value > 0), default=1.0)
    axes.set_xscale("symlog", linthresh=smallest)
    axes.set_xlim(-smallest / 2, 2 * max(*values, smallest))


def limits(stages: Sequence[Stage]) -> tuple[float, float]:
    """Return the range of scores to show: that of all trials but the worst tenth."""
    metric = stages[-1].best.metric
    scores = sorted(
        (trial.score for stage in stages for trial in stage.trials if trial.score is not None), key=metric.cost
    )
    shown = scores[: max(2, round((1 - LOWEST) * len(scores)))]
    room = 0.06 * (max(shown) - min(shown)) or 0.01
    return min(shown) - room, max(shown) + room
