"""Report in words: the lines for the console, its table, and its plain values for summary.json."""

import math
from collections.abc import Sequence

from trainer.base.text import columns, counted, figure, markdown_table, significant
from trainer.report.calibration import Calibration
from trainer.report.classes import ClassFigures
from trainer.report.predictions import Predictions
from trainer.report.samples import Samples
from trainer.report.values import ValueFigures

TABLE = 12  # classes up to which the console shows a table
PAIRS = 2  # confused pairs in a line
KEPT = 100  # classes up to which summary.json has the figures of each
KEPT_PAIRS = 10
ROW = 6  # columns of a table in a line


def lines_of_classes(
    found: ClassFigures, classes: Sequence[str], calibration: Calibration | None, reason: str
) -> list[str]:
    """Return lines with the averages, the worst class and the most confused pairs.

    Args:
        reason: why there is no calibration.
    """
    means = {"macro F1": found.macro["f1"], "balanced accuracy": found.balanced_accuracy}
    means |= {} if found.top_five is None else {"top-5": found.top_five}
    means |= {} if calibration is None else {"ECE": calibration.ece}
    lines = ["  ".join(f"{name} {figure(value)}" for name, value in means.items())]
    if len(found.confused):
        worst = found.worst
        values = {"precision": found.precision[worst], "recall": found.recall[worst], "F1": found.f1[worst]}
        shown = "  ".join(f"{name} {figure(value)}" for name, value in values.items())
        lines.append(f"worst class: {classes[worst]}  {shown}  ({counted('sample', int(found.support[worst]))})")
        pairs = (
            f"{classes[a]} taken for {classes[b]} ({number:,} of {of:,})" for a, b, number, of in found.confused[:PAIRS]
        )
        lines.append(f"most confused: {', '.join(pairs)}")
    if reason:
        lines.append(f"no calibration: {reason}")
    return lines


def table_of_classes(found: ClassFigures, classes: Sequence[str]) -> list[list[str]]:
    """Return headings and a row for each class as texts; nothing for many classes."""
    if len(classes) > TABLE:
        return []
    rows = [["class", "precision", "recall", "F1", "samples"]]
    for place, name in enumerate(classes):
        figures = (column[place] for column in (found.precision, found.recall, found.f1))
        shown = ("-" if math.isnan(value) else figure(value) for value in figures)
        rows.append([name, *shown, f"{found.support[place]:,}"])
    return rows


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table: the first column to the left, numbers to the right."""
    widths = [max(map(columns, column)) for column in zip(*rows)]
    padded = (
        [name + " " * (widths[0] - columns(name)), *(text.rjust(width) for text, width in zip(cells, widths[1:]))]
        for name, *cells in rows
    )
    return ["  ".join(cells) for cells in padded]


def lines_of_values(found: ValueFigures, names: Sequence[str], unit: str) -> list[str]:
    """Return a line for each output, of many for the worst ones."""
    unit = f"  (in {unit})" if unit else ""
    several = len(names) > 1
    order = sorted(range(len(names)), key=lambda place: found.r2[place])[:TABLE] if len(names) > TABLE else None
    lines = []
    for place in range(len(names)) if order is None else order:
        values = {"MAE": found.mae[place], "RMSE": found.rmse[place]}
        shown = "  ".join(f"{name} {significant(value, 4)}" for name, value in values.items())
        lines.append(f"{f'{names[place]}: ' if several else ''}{shown}  R2 {figure(found.r2[place])}{unit}")
    return lines


def lines_of_rows(found: Predictions, names: Sequence[str], samples: Samples, indices: Sequence[int]) -> list[str]:
    """Return a line for each of a few samples of a table: its name, what it is and was taken for, its first cells."""
    lines, headings = [], samples.columns
    for index, cells in zip(indices, samples.rows(indices)):
        shown = ", ".join(f"{column} {value}" for column, value in [*zip(headings, cells)][:ROW])
        more = ", ..." if len(headings) > ROW else ""
        lines.append(f"{samples.heading} {samples.name(index)}: {outcome(found, names, index)}; {shown}{more}")
    return lines


def outcome(found: Predictions, names: Sequence[str], index: int) -> str:
    """Return what a sample is and what the model says, in words."""
    if found.task == "regression":
        several = len(names) > 1
        pairs = zip(names, found.true[index], found.predicted[index])
        return "; ".join(
            f"{f'{name} ' if several else ''}is {significant(true, 4)}, predicted {significant(predicted, 4)}"
            for name, true, predicted in pairs
        )
    said = f"{names[found.predicted[index]]} ({found.score[index]:.2f})"
    return f"is {names[found.true[index]]}, predicted {said}"


def plain_classes(found: ClassFigures, classes: Sequence[str], calibration: Calibration | None, reason: str) -> dict:
    """Return the figures of classes as summary.json holds them; of many classes, those of the worst ones by F1."""
    by_class = [
        {
            "class": name,
            "precision": float(found.precision[place]),
            "recall": float(found.recall[place]),
            "f1": float(found.f1[place]),
            "support": int(found.support[place]),
        }
        for place, name in enumerate(classes)
    ]
    if len(by_class) > KEPT:
        there = [row for row in by_class if row["support"]]
        by_class = sorted(there, key=lambda row: (row["f1"], row["recall"]))[:KEPT]
    pairs = [
        {"true": classes[true], "predicted": classes[predicted], "count": count, "of": support}
        for true, predicted, count, support in found.confused[:KEPT_PAIRS]
    ]
    known = {"accuracy": found.accuracy, "balanced_accuracy": found.balanced_accuracy}
    known |= {} if found.top_five is None else {"top_5": found.top_five}
    known |= {"macro": found.macro, "weighted": found.weighted, "by_class": by_class, "confused": pairs}
    return {**known, "calibration": {"why_not": reason} if calibration is None else plain_calibration(calibration)}


def plain_calibration(found: Calibration) -> dict:
    """Return the calibration as summary.json holds it."""
    bins = zip(found.places, found.counts, found.confidence, found.accuracy)
    rows = [
        {
            "from": place / found.bins,
            "to": (place + 1) / found.bins,
            "count": int(count),
            "confidence": float(mean),
            "accuracy": float(accuracy),
        }
        for place, count, mean, accuracy in bins
    ]
    return {"ece": found.ece, "bins": rows}


def plain_values(found: ValueFigures, names: Sequence[str], unit: str) -> dict:
    """Return the figures of a regression as summary.json holds them."""
    figures = zip(names, found.mae, found.rmse, found.r2)
    rows = [
        {"output": name, "mae": float(mae), "rmse": float(rmse), "r2": float(r2)} for name, mae, rmse, r2 in figures
    ]
    return {"by_output": rows, **({"unit": unit} if unit else {})}


def as_markdown(lines: Sequence[str], table: Sequence[Sequence[str]]) -> str:
    """Return the lines and the table for TensorBoard."""
    rows = "\n".join(markdown_table(table[0], table[1:])) if table else ""
    return "\n\n".join([*lines, rows] if rows else lines)
