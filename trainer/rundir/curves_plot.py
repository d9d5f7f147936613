"""curves.png: what a run looked like."""

import io
from collections.abc import Sequence
from pathlib import Path

from trainer.base.atomic import atomic_write

SHARE = 20  # the moving average spans a twentieth of the points: a few dozen are drawn as they are


def draw(rows: Sequence[dict], path: Path, note: str = "") -> None:
    """Loss and score of train and val, raw points and moving average, with the learning rate below.

    Args:
        rows: of metrics.jsonl.
        path: of the PNG, which is written whole or not at all.
        note: what to say above it, where the run did not end as it should.
    Errors: OSError.
    """
    from matplotlib.figure import Figure  # 0.6 s

    sheet = Figure(
        figsize=(10, 6.5)
    )  # laid out by hand, titles too: matplotlib would draw everything twice to find places
    upper, lower = sheet.subplots(2, 2, sharex=True, height_ratios=[3, 1])
    sheet.subplots_adjust(left=0.075, right=0.985, top=0.92, bottom=0.08, wspace=0.16, hspace=0.2)
    for axes, name in zip(upper, ("loss", "r2" if any("r2" in row for row in rows) else "accuracy")):
        for split, color in (("train", "tab:blue"), ("val", "tab:orange")):
            points = [(row["epoch"], row[name]) for row in rows if row["split"] == split and row[name] is not None]
            if points:
                times, values = zip(*points)
                axes.plot(times, values, ".", color=color, alpha=0.35, markersize=4)
                axes.plot(times, moving_average(values), color=color, label=split)
        for row in rows:
            if row["split"] == "test" and row[name] is not None:
                axes.axhline(row[name], color="tab:green", linestyle=":", label="test (best weights)")
        axes.set_title(name, y=1.0)
        axes.grid(alpha=0.3)
        if axes.has_data():
            axes.legend()
        else:
            axes.text(0.5, 0.5, "no value was logged", ha="center", transform=axes.transAxes)
    losses = [row["loss"] for row in rows if row["loss"]]
    if losses and min(losses) > 0 and max(losses) > 20 * min(losses):
        upper[0].set_yscale("log")
    train = [row for row in rows if row["split"] == "train"]
    lower[0].plot([row["epoch"] for row in train], [row["lr"] for row in train], ".-", color="tab:gray")
    lower[0].set_title("learning rate", y=1.0)
    measured = [row for row in train if row.get("grad_norm") is not None]
    lower[1].plot([row["epoch"] for row in measured], [row["grad_norm"] for row in measured], ".-", color="tab:gray")
    lower[1].set_title("gradient norm", y=1.0)
    for axes in lower:
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
    if note:
        sheet.suptitle(note, color="tab:red", y=0.99)
    picture = io.BytesIO()
    sheet.savefig(picture, format="png", dpi=110)
    atomic_write(path, picture.getbuffer())


def moving_average(values: Sequence[float]) -> list[float]:
    """The mean of a twentieth of the points around each, as many on either side, fewer at the ends."""
    half = len(values) // SHARE // 2
    averages = []
    for index in range(len(values)):
        reach = min(half, index, len(values) - 1 - index)
        part = values[index - reach : index + reach + 1]
        averages.append(sum(part) / len(part))
    return averages
