"""Reliability diagram of a model."""

from trainer.base.atomic import png_of
from trainer.report.calibration import Calibration
from trainer.report.headline import Headline

WIDTH, HEIGHT = 5.2, 4.9  # inches, without the title
SURE, UNSURE = "#f0a8a0", "#9fd4a0"


def draw(found: Calibration, title: str, subtitle: str) -> bytes:
    """Return as PNG how often predictions are right, by their probability, above how many there are."""
    from matplotlib.figure import Figure  # 0.6 s

    head = Headline(title, subtitle, WIDTH)
    height = HEIGHT + head.height
    figure = Figure(figsize=(WIDTH, height))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    figure.subplots_adjust(left=0.14, right=0.97, top=1 - (head.height + 0.05) / height, bottom=0.1, hspace=0.08)
    head.draw(figure)
    width = 1 / found.bins
    left, gap = found.places * width, found.confidence - found.accuracy
    bars = {"width": width, "align": "edge", "edgecolor": "white"}
    upper.bar(left, found.accuracy, color="tab:blue", label="fraction that is right", **bars)
    for some, color, label in ((gap > 0, SURE, "too sure"), (gap < 0, UNSURE, "too unsure")):
        if some.any():
            upper.bar(left[some], gap[some], bottom=found.accuracy[some], color=color, label=label, **bars)
    upper.plot([0, 1], [0, 1], "--", color="black", linewidth=1)
    upper.set_ylabel("fraction of right predictions")
    upper.set_ylim(0, 1)
    upper.set_xlim(0, 1)
    upper.legend(loc="upper left", fontsize=8)
    lower.bar(left, found.counts, color="tab:gray", **bars)
    lower.set_ylabel("predictions")
    for axes in (upper, lower):
        axes.yaxis.set_label_coords(-0.115, 0.5)
        axes.tick_params(labelsize=8)
    lower.set_xlabel("probability of the predicted class")
    return png_of(figure)
