"""Picture of a range test, as PNG and for TensorBoard, which also gets the losses by step."""

from pathlib import Path
from typing import TYPE_CHECKING

from tensorboard.compat.proto.summary_pb2 import Summary

from trainer.base.atomic import write_figure
from trainer.inspection.loss_by_rate import LossByRate, loss_by_rate
from trainer.inspection.lr_finder import Finding
from trainer.inspection.lr_suggestion import shown
from trainer.rundir.event_file import EventFile
from trainer.rundir.title import in_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 9  # inches
COLORS = ("tab:orange", "tab:green", "tab:purple", "tab:brown")  # of the rules
HEADROOM = 0.35  # above the level, in falls


def draw(finding: Finding, path: Path, title: str) -> None:
    """Draw the loss against the rate, raw and smoothed, with a mark for each rule and for the rate chosen.

    Errors: OSError.
    """
    from matplotlib.figure import Figure  # 0.6 s

    curve = loss_by_rate(finding.test.rates, finding.test.losses)
    figure = Figure(figsize=(WIDTH, 5), layout="constrained")
    axes = figure.subplots()
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss")
    figure.suptitle(in_lines(title, WIDTH), fontsize=11)
    if curve.losses:
        axes.plot(curve.rates, curve.losses, ".", color="tab:gray", alpha=0.45, markersize=4, label="loss of a batch")
        axes.plot(curve.rates, curve.smoothed, color="tab:blue", linewidth=2, label="smoothed")
        axes.set_ylim(*limits(curve))
    mark_rules(axes, finding, curve)
    if finding.rate is not None:
        axes.axvline(finding.rate, color="tab:red", linewidth=2.5, alpha=0.8, label=f"suggested: {finding.rate:g}")
    axes.grid(alpha=0.3, which="both")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    write_figure(figure, path)


def mark_rules(axes: "Axes", finding: Finding, curve: LossByRate) -> None:
    """Mark the rate of each rule on the smoothed curve; hollow where the rule does not hold."""
    for rule, color in zip(finding.suggestion.rules, COLORS):
        if rule.rate is None:
            axes.plot([], [], "o", color=color, markerfacecolor="none", label=f"{rule.name}: does not hold")
            continue
        nearest = min(range(len(curve.rates)), key=lambda point: abs(curve.rates[point] / rule.rate - 1))
        fill, text = ("none", ", does not hold") if rule.why_not else (color, "")
        label = f"{rule.name}: {shown(rule.rate)}{text}"
        axes.axvline(rule.rate, color=color, linestyle=":", linewidth=1.2)
        axes.plot(rule.rate, curve.smoothed[nearest], "o", color=color, markerfacecolor=fill, label=label, zorder=5)


def limits(curve: LossByRate) -> tuple[float, float]:
    """Return the range of losses to show: a divergence goes out of the picture."""
    low = min(*curve.smoothed, *curve.losses)
    high = max(curve.level, *curve.first)
    room = HEADROOM * max(high - low, 1e-12)
    return low - 0.1 * room, high + room


def write_events(finding: Finding, directory: Path, picture: Path) -> None:
    """Write loss, smoothed loss and learning rate by step, and the picture, for TensorBoard. Errors: OSError."""
    curve, events = loss_by_rate(finding.test.rates, finding.test.losses), EventFile(directory)
    for step, (rate, loss) in enumerate(zip(finding.test.rates, finding.test.losses)):
        values = {"lr_find/lr": rate, "lr_find/loss": loss}
        if step < len(curve.smoothed):
            values["lr_find/loss_smoothed"] = curve.smoothed[step]
        events.add(Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]), step)
    events.add(Summary(value=[picture_summary(picture)]), 0)
    events.close()


def picture_summary(path: Path) -> Summary.Value:
    """Return a PNG as TensorBoard takes it."""
    from PIL import Image

    with Image.open(path, formats=["PNG"]) as image:
        width, height = image.size
    png = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=path.read_bytes())
    return Summary.Value(tag="lr_find", image=png)
