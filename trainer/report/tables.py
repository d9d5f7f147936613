"""Tables of a report as CSV: all predictions, figures by class, the confusion matrix, the worst samples."""

import csv
import io
from collections.abc import Iterable, Sequence

import numpy as np

from trainer.base.text import as_csv_cell, significant
from trainer.report.classes import ClassFigures
from trainer.report.predictions import Predictions
from trainer.report.samples import Samples

MAX_PREDICTIONS = 1_000_000  # rows of predictions.csv
LISTED = 100  # samples of mistakes.csv and uncertain.csv


def predictions(found: Predictions, names: Sequence[str], samples: Samples) -> bytes:
    """Return the first MAX_PREDICTIONS predictions, in the order of the split.

    Args:
        names: of the classes, or of the outputs of a regression.
    """
    count = min(len(found), MAX_PREDICTIONS)
    columns: list[Iterable] = [map(as_csv_cell, map(samples.name, range(count)))]
    if found.task == "regression":
        columns += [texts(values[:count], 7) for pair in zip(found.true.T, found.predicted.T) for values in pair]
    else:
        cells = [as_csv_cell(name) for name in names]
        columns += [[cells[place] for place in places[:count].tolist()] for places in (found.true, found.predicted)]
        columns += [texts(scores[:count], 9) for scores in (found.score, found.true_score)]
    return in_csv([headings(found, names, samples), *zip(*columns)])


def headings(found: Predictions, names: Sequence[str], samples: Samples) -> list[str]:
    """Return the headings of a prediction's cells."""
    if found.task == "regression":
        kinds = ("true", "predicted")
        several = found.outputs > 1
        return [samples.heading, *(f"{kind}_{name}" if several else kind for name in names for kind in kinds)]
    score = "probability" if found.has_probabilities else "output"
    return [samples.heading, "true", "predicted", score, f"{score}_of_true"]


def texts(values: np.ndarray, digits: int) -> list[str]:
    """Return numbers with so many digits: 7 are those that float32 has for sure, 9 give the same float32 again."""
    return [significant(value, digits) for value in values.tolist()]


def worst(found: Predictions, names: Sequence[str], samples: Samples, indices: np.ndarray) -> bytes:
    """Return some predictions with their losses and, of a table, the cells of their rows."""
    head = [*headings(found, names, samples), "loss", *samples.columns]
    known = zip(indices.tolist(), samples.rows(indices))
    rows = ([*line(found, names, samples, index), *cells] for index, cells in known)
    return in_csv([as_csv_cell(value) for value in row] for row in (head, *rows))


def line(found: Predictions, names: Sequence[str], samples: Samples, index: int) -> list[object]:
    """Return the cells of one prediction, with its loss."""
    if found.task == "regression":
        values = [value for pair in zip(found.true[index], found.predicted[index]) for value in pair]
    else:
        values = [names[found.true[index]], names[found.predicted[index]], found.score[index], found.true_score[index]]
    shown = (value if isinstance(value, str) else significant(value, 6) for value in (*values, found.losses[index]))
    return [samples.name(index), *shown]


def by_class(found: ClassFigures, classes: Sequence[str]) -> bytes:
    """Return a row for each class; cells of figures that are not defined are empty."""
    rows: list[list[object]] = [["class", "precision", "recall", "f1", "support"]]
    for place, name in enumerate(classes):
        figures = (column[place] for column in (found.precision, found.recall, found.f1))
        shown = ("" if np.isnan(value) else float(value) for value in figures)
        rows.append([as_csv_cell(name), *shown, int(found.support[place])])
    return in_csv(rows)


def confusion(found: ClassFigures, classes: Sequence[str]) -> bytes:
    """Return the confusion matrix: a row for each true class, a column for each predicted one."""
    cells = [as_csv_cell(name) for name in classes]
    head = ["true \\ predicted", *cells]
    return in_csv([head, *([name, *row] for name, row in zip(cells, found.matrix.tolist()))])


def in_csv(rows: Iterable[Sequence[object]]) -> bytes:
    """Return rows as CSV in UTF-8."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode(errors="replace")
