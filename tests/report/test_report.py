"""Files, lines and plain values of a report."""

import csv
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from test_predictions import collected, random_classes

from trainer.base.captions import caption_font, cut_in_the_middle
from trainer.data.inputs import Predicted, inputs_of_shape, named_columns
from trainer.data.splits import Split
from trainer.loss import CrossEntropy, Hinge, MeanSquaredError
from trainer.report import image_sheet, residuals_plot
from trainer.report.headline import Headline
from trainer.report.report import Subject, make_report
from trainer.report.samples import Samples
from trainer.report.values import figures_of_values


def subject_of(images, targets, classes, target=Predicted()):  # noqa: B008
    inputs = inputs_of_shape(images.shape[1:])
    samples = Samples(Split(images, targets), inputs)
    return Subject(classes=classes, target=target, samples=samples, title="data=made model=none", split="test")


def report_on(classes=3, count=60, criterion=CrossEntropy(), images=True, whole=True, names=None):  # noqa: B008
    outputs, targets = random_classes(count, classes)
    pixels = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8) if images else torch.rand(count, 4)
    names = names or [f"class {place}" for place in range(classes)]
    found = collected("classification", criterion, outputs + targets, targets)
    return found, make_report(found, subject_of(pixels, targets, names), whole)


def table_in(payload):
    return list(csv.DictReader(io.StringIO(payload.decode())))


def size_of(png):
    with Image.open(io.BytesIO(png)) as picture:
        picture.load()
        return picture.size


def test_images_have_pictures_and_tables_have_rows():
    _, report = report_on()
    texts = ["predictions.csv", "classes.csv", "confusion.csv", "mistakes.csv", "uncertain.csv"]
    assert {*report.files} == {
        *texts,
        *(f"{name}.png" for name in ("confusion", "calibration", "mistakes", "uncertain")),
    }
    _, of_table = report_on(images=False)
    assert {*of_table.files} == {*texts, "confusion.png", "calibration.png"}
    assert {"x1", "x2", "x3", "x4"} < {*table_in(of_table.files["mistakes.csv"])[0]}
    assert sum(line.startswith("index ") for line in of_table.lines) == 3 and not any(
        "index" in x for x in report.lines
    )


def test_numbers_alone_are_without_files():
    _, report = report_on(whole=False)
    assert not report.files and not report.pictures and report.figures["macro"] and report.lines and report.table


def test_the_written_predictions_give_the_same_figures():
    found, report = report_on(classes=4)
    rows = table_in(report.files["predictions.csv"])
    assert [float(row["probability"]) for row in rows] == pytest.approx(found.score.tolist(), rel=1e-8)
    assert np.mean([row["true"] == row["predicted"] for row in rows]) == report.figures["accuracy"]
    cells = [[row["true"], row["predicted"]] for row in rows]
    (head, *matrix) = csv.reader(io.StringIO(report.files["confusion.csv"].decode()))
    for name, *counts in matrix:
        assert [int(count) for count in counts] == [cells.count([name, other]) for other in head[1:]]


def test_a_loss_without_probabilities_has_no_calibration_and_says_so():
    _, report = report_on(criterion=Hinge())
    assert "calibration.png" not in report.files and "mistakes.png" in report.files and "ece" not in report.points
    assert "no calibration: the outputs of this loss stand for no probabilities" in report.lines
    assert report.figures["calibration"] == {"why_not": "the outputs of this loss stand for no probabilities"}
    assert "output" in table_in(report.files["predictions.csv"])[0]


def test_probabilities_that_are_no_numbers_leave_out_the_calibration_alone():
    outputs, targets = random_classes(20, 3)
    outputs[3] = float("nan")
    found = collected("classification", CrossEntropy(), outputs, targets)
    report = make_report(found, subject_of(torch.rand(20, 3, 8, 8), targets, ["a", "b", "c"]))
    assert "no calibration: 1 prediction not finite (NaN or Inf)" in report.lines and "confusion.png" in report.files


@pytest.mark.parametrize("classes", [2, 3, 20, 21, 60, 61, 300])
def test_pictures_of_any_number_of_classes_have_a_size_that_can_be_looked_at(classes):
    _, report = report_on(classes, count=400)
    assert all(100 < side < 1600 for png in report.pictures.values() for side in size_of(png))
    assert bool(report.table) == (classes <= 12)
    kept = report.figures["by_class"]
    assert len(kept) == min(classes, 100) and len(report.figures["confused"]) <= 10
    if classes > 100:  # the worst ones
        assert kept[0]["f1"] == 0 and [row["f1"] for row in kept] == sorted(row["f1"] for row in kept)
    assert len(table_in(report.files["classes.csv"])) == classes
    assert json.loads(json.dumps(report.figures)) == report.figures


def test_names_of_any_kind_are_shown_and_are_no_formulas():
    names = ["=1+1", "a$b$ " * 20, "x\x1b[2J\ny", "\u732b", "<b>|`"]  # a formula, mathematics, a terminal's, CJK, HTML
    shown = ["'=1+1", ("a$b$ " * 20).strip(), "x?[2J y", "\u732b", "<b>|`"]
    _, report = report_on(5, names=names)
    rows = table_in(report.files["predictions.csv"])
    assert {row["true"] for row in rows} == {*shown} and len(report.pictures) == 4
    assert "\x1b" not in report.markdown and r"\<b>\|" in report.markdown


def test_many_mistakes_are_listed_up_to_a_hundred_and_shown_up_to_24():
    found, report = report_on(5, count=600)
    rows = table_in(report.files["mistakes.csv"])
    assert len(found.wrong) > 100 and len(rows) == 100
    assert [int(row["index"]) for row in rows] == found.mistakes(100).tolist()
    assert float(rows[0]["probability"]) >= float(rows[1]["probability"])


def test_without_any_mistake():
    targets = torch.eye(3).repeat(4, 1)
    found = collected("classification", CrossEntropy(), 9 * targets, targets)
    report = make_report(found, subject_of(torch.rand(12, 1, 8, 8), targets, ["a", "b", "c"]))
    assert "mistakes.png" not in report.files and not table_in(report.files["mistakes.csv"])
    assert len(report.lines) == 1 and "macro F1 1.0000" in report.lines[0]


@pytest.mark.parametrize("outputs", [1, 2, 6])
def test_of_a_regression(outputs):
    rng = torch.Generator().manual_seed(1)
    targets = torch.randn(50, outputs, generator=rng)
    said = targets + 0.3 * torch.randn(50, outputs, generator=rng)
    target = Predicted(name="price", names=("price",), mean=(100.0,) * outputs, deviation=(20.0,) * outputs, unit="EUR")
    found = collected("regression", MeanSquaredError(), said, targets, target=target)
    samples = Samples(Split(torch.rand(50, 2), targets), named_columns(["x", "y"]))
    subject = Subject(classes=(), target=target, samples=samples, title="t", split="test")
    report = make_report(found, subject)
    assert {*report.files} == {"predictions.csv", "residuals.png", "mistakes.csv"}
    true, predicted = (20 * part.double().numpy() + 100 for part in (targets, said))
    for place, row in enumerate(report.figures["by_output"]):
        error = predicted[:, place] - true[:, place]
        r2 = 1 - (error**2).sum() / ((true[:, place] - true[:, place].mean()) ** 2).sum()
        expected = {"mae": np.abs(error).mean(), "rmse": np.sqrt((error**2).mean()), "r2": r2}
        assert row.pop("output") == ("price" if outputs == 1 else f"y{place + 1}")
        assert row == pytest.approx(expected, rel=1e-5)
    worst = int(((said - targets) ** 2).mean(1).argmax())
    assert int(table_in(report.files["mistakes.csv"])[0]["index"]) == worst
    assert report.figures["unit"] == "EUR" and "(in EUR)" in report.lines[0]


def test_values_that_are_no_numbers_or_are_one_sample():
    targets = torch.zeros(3, 1)
    found = collected("regression", MeanSquaredError(), torch.tensor([[1.0], [float("inf")], [2.0]]), targets)
    samples = Samples(Split(torch.rand(3, 2), targets), named_columns(["x", "y"]))
    subject = Subject(classes=(), target=Predicted(), samples=samples, title="t", split="test")
    assert make_report(found, subject).lines == ["no figures: 1 prediction not finite (NaN or Inf)"]
    found = collected("regression", MeanSquaredError(), torch.ones(1, 1), torch.zeros(1, 1))
    (row,) = make_report(found, subject).figures["by_output"]
    assert row["mae"] == 1 and np.isnan(row["r2"])


@pytest.mark.parametrize("deviation", [1e-4, 1.0, 285301.0, 1e9])
def test_labels_of_residuals_of_any_size_do_not_overlap(deviation):
    rng = torch.Generator().manual_seed(1)
    targets = torch.randn(60, 1, generator=rng)
    said = targets + 0.2 * torch.randn(60, 1, generator=rng)
    target = Predicted(name="price", names=("price",), mean=(2.5 * deviation,), deviation=(deviation,))
    found = collected("regression", MeanSquaredError(), said, targets, target=target)
    head = Headline("data=csv", "predicted against true values", residuals_plot.WIDTH)
    figure = residuals_plot.drawn(found, figures_of_values(found), ["price"], head)
    figure.draw_without_rendering()
    left, middle, right = figure.axes
    for axes, other in ((middle, left), (right, middle)):
        assert axes.yaxis.label.get_window_extent().x0 > other.get_window_extent().x1
    for axes in figure.axes:
        boxes = [label.get_window_extent() for label in axes.get_xticklabels() if label.get_text()]
        assert all(one.x1 + 2 < two.x0 for one, two in zip(boxes, boxes[1:]))


def test_the_longest_caption_is_not_cut():
    font = caption_font(image_sheet.SIZE)
    for length in range(1, 16):
        left, right = f"said {'automobilehangars'[:length]}", "0.69"
        width = image_sheet.longest([[(left, right, "plain")]], font)
        room = width - font.getlength(right) - image_sheet.SPACE
        assert cut_in_the_middle(left, font, room) == left
