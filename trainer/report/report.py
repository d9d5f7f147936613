"""Report on what a model gets wrong: figures, files and pictures of its predictions on a split."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from trainer.base.helper import helper
from trainer.base.text import counted, escaped, in_one_line, significant
from trainer.data.inputs import Predicted
from trainer.report import (
    calibration_plot,
    confusion_plot,
    image_sheet,
    residuals_plot,
    tables,
    texts,
)
from trainer.report.calibration import Calibration, calibrate
from trainer.report.classes import ClassFigures, figures_of_classes
from trainer.report.predictions import Predictions
from trainer.report.samples import Samples
from trainer.report.values import ValueFigures, figures_of_values

PAIRS = 100  # confused pairs that are kept
PICTURES = 24  # images of mistakes.png and uncertain.png
NAMED = 3  # samples of a table that are shown on the console


@dataclass(frozen=True, kw_only=True)
class Report:
    """Report on a split.

    Args:
        figures: as plain values, for summary.json.
        lines: in words, for the console.
        table: headings and a row for each class; empty for many classes.
        points: figures by name, for TensorBoard.
        files: contents by name; none where only numbers are wanted.
        predictions: what it is made of.
        subject: what it is on.
    """

    figures: dict
    lines: list[str]
    table: list[list[str]] = field(default_factory=list)
    points: dict[str, float] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    predictions: Predictions | None = None
    subject: "Subject | None" = None

    @property
    def pictures(self) -> dict[str, bytes]:
        """The files that are pictures, by their names without the ending."""
        return {name.removesuffix(".png"): png for name, png in self.files.items() if name.endswith(".png")}

    @property
    def text(self) -> list[str]:
        """The lines and the table for the console, the first line with the split's name."""
        first, *others = self.lines
        return [f"{self.figures['split']}: {first}", *(f"  {line}" for line in [*others, *texts.aligned(self.table)])]

    @property
    def markdown(self) -> str:
        """The lines and the table for TensorBoard."""
        return texts.as_markdown([escaped(line) for line in self.lines], self.table)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Subject of a report: a split and its targets.

    Args:
        classes: their names; none for a regression.
        target: what is predicted.
        samples: of the split.
        title: data, model and whatever differs from others.
        split: its name.
    """

    classes: Sequence[str]
    target: Predicted
    samples: Samples
    title: str
    split: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", [*map(in_one_line, self.classes)])

    def subtitle(self, what: str, count: int) -> str:
        """Return the second line of a picture's title."""
        return f"{what} ({self.split}, {counted('sample', count)})"


def make_report(found: Predictions, subject: Subject, whole: bool = True) -> Report:
    """Return the report on predictions, one at least.

    Args:
        whole: with files; else the figures and the lines alone.
    """
    head = {"split": subject.split, "samples": len(found)}
    report_on = report_on_values if found.task == "regression" else report_on_classes
    return replace(report_on(found, subject, head, whole), predictions=found, subject=subject)


def report_on_classes(found: Predictions, subject: Subject, head: dict, whole: bool) -> Report:
    """Return the report on predictions of classes."""
    classes, reason = subject.classes, why_no_calibration(found)
    computed = helper.call(figures_of_classes, found, PAIRS)
    calibrated = None if reason else helper.call(calibrate, found.true == found.predicted, found.score)
    figures, calibration = computed(), calibrated and calibrated()
    plain = texts.plain_classes(figures, classes, calibration, reason)
    points = {"macro_f1": figures.macro["f1"], "balanced_accuracy": figures.balanced_accuracy}
    points |= {} if figures.top_five is None else {"top_5": figures.top_five}
    points |= {} if calibration is None else {"ece": calibration.ece}
    lines = texts.lines_of_classes(figures, classes, calibration, reason)
    if not subject.samples.are_images:
        lines += texts.lines_of_rows(found, classes, subject.samples, found.mistakes(NAMED))
    return Report(
        figures={**head, **plain},
        lines=lines,
        table=texts.table_of_classes(figures, classes),
        points=points,
        files=files_of_classes(found, subject, figures, calibration) if whole else {},
    )


def why_no_calibration(found: Predictions) -> str:
    """Return why the scores of predictions are no probabilities; empty where they are."""
    if not found.has_probabilities:
        return "the outputs of this loss stand for no probabilities"
    wrong = int((~np.isfinite(found.score)).sum())
    return f"{counted('prediction', wrong)} not finite (NaN or Inf)" if wrong else ""


def files_of_classes(
    found: Predictions, subject: Subject, figures: ClassFigures, calibration: Calibration | None
) -> dict[str, bytes]:
    """Return the files of a report on classes."""
    classes, samples, count = subject.classes, subject.samples, len(found)
    right, drawn = f"accuracy {figures.accuracy:.4f}", {}
    files = {
        "predictions.csv": tables.predictions(found, classes, samples),
        "classes.csv": tables.by_class(figures, classes),
    }
    if figures.matrix is not None:
        files["confusion.csv"] = tables.confusion(figures, classes)
        subtitle = subject.subtitle(f"confusion matrix, {right}", count)
        drawn["confusion.png"] = helper.call(confusion_plot.draw, figures, classes, subject.title, subtitle)
    if calibration is not None:
        subtitle = subject.subtitle(f"calibration, {right}, ECE {calibration.ece:.4f}", count)
        drawn["calibration.png"] = helper.call(calibration_plot.draw, calibration, subject.title, subtitle)
    total, sure = len(found.wrong), found.has_probabilities
    kinds = (
        ("mistakes", found.mistakes(tables.LISTED), found.score if sure else found.losses),
        ("uncertain", found.uncertain(tables.LISTED), found.score if sure else found.margin),
    )
    largest, smallest = ("probability of a wrong class", "probability") if sure else ("loss", "margin")
    what = {
        "mistakes": f"mistakes, those with the largest {largest} first: {min(total, PICTURES)} of {total:,}",
        "uncertain": f"the least certain predictions, those with the smallest {smallest} first",
    }
    for name, chosen, numbers in kinds:
        files[f"{name}.csv"] = tables.worst(found, classes, samples, chosen)
        if samples.are_images and len(chosen):
            shown = chosen[:PICTURES]
            captions = [caption_of(found, classes, index, numbers[index]) for index in shown]
            subtitle = subject.subtitle(what[name], count)
            files[f"{name}.png"] = image_sheet.draw(samples.images(shown), captions, subject.title, subtitle)
    return files | {name: picture() for name, picture in drawn.items()}


def caption_of(found: Predictions, classes: Sequence[str], index: int, number: float) -> image_sheet.Caption:
    """Return the true class of a sample, and the predicted one with a number: its probability, loss or margin."""
    true, predicted = found.true[index], found.predicted[index]
    color = "right" if true == predicted else "wrong"
    return [(f"true {classes[true]}", "", "plain"), (f"said {classes[predicted]}", f"{number:.2f}", color)]


def report_on_values(found: Predictions, subject: Subject, head: dict, whole: bool) -> Report:
    """Return the report on a regression's predictions."""
    names = subject.target.output_names(found.outputs)
    wrong = int((~np.isfinite(found.predicted).all(1)).sum())
    if wrong:
        reason = f"{counted('prediction', wrong)} not finite (NaN or Inf)"
        return Report(figures={**head, "why_not": reason}, lines=[f"no figures: {reason}"])
    figures, samples = helper.call(figures_of_values, found)(), subject.samples
    lines = texts.lines_of_values(figures, names, subject.target.unit)
    worst = found.mistakes(tables.LISTED)
    lines += texts.lines_of_rows(found, names, samples, worst[:NAMED]) if not samples.are_images else []
    files = files_of_values(found, subject, figures, names, worst) if whole else {}
    points = {"mae": float(figures.mae.mean()), "rmse": float(figures.rmse.mean())}
    return Report(
        figures={**head, **texts.plain_values(figures, names, subject.target.unit)},
        lines=lines,
        points=points,
        files=files,
    )


def files_of_values(
    found: Predictions, subject: Subject, figures: ValueFigures, names: Sequence[str], worst: np.ndarray
) -> dict[str, bytes]:
    """Return the files of a report on a regression."""
    samples, subtitle = subject.samples, subject.subtitle("predicted against true values", len(found))
    drawn = helper.call(residuals_plot.draw, found, figures, names, subject.title, subtitle)
    files = {
        "predictions.csv": tables.predictions(found, names, samples),
        "mistakes.csv": tables.worst(found, names, samples, worst),
    }
    if samples.are_images:
        shown = worst[:PICTURES]
        what = subject.subtitle("the largest losses first", len(found))
        captions = [
            [(f"true {joined(found.true[i])}", "", "plain"), (f"said {joined(found.predicted[i])}", "", "wrong")]
            for i in shown
        ]
        files["mistakes.png"] = image_sheet.draw(samples.images(shown), captions, subject.title, what)
    return files | {"residuals.png": drawn()}


def joined(values: np.ndarray) -> str:
    """Return the values of a sample in short."""
    return ", ".join(significant(value, 4) for value in values)
