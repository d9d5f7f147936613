"""Gap between training and validation at the best evaluation, from the rows of metrics.jsonl. No torch here."""

from collections.abc import Mapping, Sequence

from trainer.base.metrics import LOSS, METRICS
from trainer.base.text import epochs


def training_averages(rows: Sequence[Mapping], step: int) -> dict[str, float]:
    """Return the training loss and score as they were while training from the evaluation before a step up to it.

    A row of the training split is the average of the steps since the row before, by whose number it counts.
    """
    before = max((row["step"] for row in rows if row["split"] == "val" and row["step"] < step), default=0)
    train = [row for row in rows if row["split"] == "train" and row["step"] <= step]
    counts = [row["step"] - previous for row, previous in zip(train, [0, *(row["step"] for row in train)])]
    parts = [(row, count) for row, count in zip(train, counts) if row["step"] > before]
    found = {}
    for name in METRICS:
        values = [(row[name], count) for row, count in parts if row.get(name) is not None]
        if values and len(values) == len(parts) and (total := sum(count for _, count in values)):
            found[name] = sum(value * count for value, count in values) / total
    return found


def gaps(rows: Sequence[Mapping], best: Mapping | None) -> dict[str, tuple[float, float]]:
    """Return loss and score of training and of validation at the best evaluation, by name; empty without one."""
    train = training_averages(rows, best["step"]) if best else {}
    order = sorted(train, key=lambda name: name != LOSS.name)
    return {name: (train[name], best[name]) for name in order if best.get(name) is not None}


def label_of(best: Mapping) -> str:
    """Return `best (epoch 5)`."""
    return f"best (epoch {epochs(best['epoch'])})"
