"""Picture of a lottery: the score against the fraction of weights left."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from trainer.base.atomic import write_figure
from trainer.rundir.title import in_lines

WIDTH = 7.0  # inches
MOST_TICKS = 10  # side by side
LINES = {  # label, colour and mark of each kind
    "ticket": ("ticket: rewound weights", "tab:blue", "o-"),
    "random": ("random ticket: same mask, fresh weights", "tab:orange", "s--"),
}
Point = tuple[float, float, float]  # fraction left, mean, standard deviation


def draw(curves: Mapping[str, Sequence[Point]], label: str, title: str, path: Path) -> None:
    """Draw tickets and random tickets, and the dense network as a line with a band of one deviation. Errors: OSError.

    Args:
        curves: points of `ticket`, `random` and `dense`.
        label: of the score.
    """
    from matplotlib.figure import Figure  # 0.6 s
    from matplotlib.ticker import NullFormatter

    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    axes = figure.subplots()
    ((_, dense, deviation),) = curves["dense"]
    axes.axhline(dense, color="0.4", linewidth=1.2, label="dense network")
    if deviation:
        axes.axhspan(dense - deviation, dense + deviation, color="0.5", alpha=0.15, linewidth=0)
    for kind, (name, color, mark) in LINES.items():
        if points := curves[kind]:
            left, mean, deviations = zip(*points)
            percent = [100 * each for each in left]
            spread = deviations if any(deviations) else None
            axes.errorbar(percent, mean, yerr=spread, fmt=mark, color=color, markersize=5, capsize=3, label=name)
    axes.set_xscale("log")
    axes.set_xlim(100, 0.85 * min(100 * point[0] for points in curves.values() for point in points))  # dense first
    ticks = [100 * point[0] for point in (*curves["dense"], *curves["ticket"])]
    axes.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks], rotation=45 if len(ticks) > MOST_TICKS else 0)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()
    axes.set(xlabel="weights left, %", ylabel=label)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", fontsize=9)
    figure.suptitle(in_lines(title, WIDTH), fontsize=10)
    write_figure(figure, path)
