"""Report at a run's end: its files, figures, events, and what becomes of it where something fails."""

import csv
import json

import numpy as np
import pytest
from conftest import command, make_image_folder, only_run
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support, r2_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trainer.engine import split_report
from trainer.rundir import integrity, reader

SHORT = ("model=linear", "epochs=2", "threads=1", "device=cpu")
TEXTS = {"predictions.csv", "classes.csv", "confusion.csv", "mistakes.csv", "uncertain.csv"}
PICTURES = {"confusion.png", "calibration.png", "mistakes.png", "uncertain.png"}


def run_of(folder, *words):
    code, out, errors = command(folder, *SHORT, *words)
    assert code == 0, errors
    return only_run(folder), out


def rows_in(path):
    return list(csv.DictReader(path.open(newline="")))


def events_of(run, split="val"):
    return EventAccumulator(str(run / split), size_guidance={"images": 0, "scalars": 0}).Reload()


@pytest.mark.parametrize(
    "words", [(), ("data=wine",), ("data=breast_cancer",), ("loss=hinge",), ("loss=bce",), ("loss=mse",)]
)
def test_the_figures_are_scikit_learns_on_the_written_predictions(words, tmp_path):
    run, out = run_of(tmp_path, *words)
    summary, rows = reader.read_summary(run), rows_in(run / "report" / "predictions.csv")
    true, predicted = ([row[key] for row in rows] for key in ("true", "predicted"))
    report = summary["report"]
    assert report["split"] == "test" and report["samples"] == len(rows) == summary["samples"]["test"]
    names = [row["class"] for row in report["by_class"]]
    expected = precision_recall_fscore_support(true, predicted, labels=names, zero_division=0)
    for key, column in zip(("precision", "recall", "f1", "support"), expected):
        assert [row[key] for row in report["by_class"]] == pytest.approx(column.tolist())
    (_, *matrix) = csv.reader((run / "report" / "confusion.csv").open(newline=""))
    assert [[int(cell) for cell in row[1:]] for row in matrix] == confusion_matrix(
        true, predicted, labels=names
    ).tolist()
    assert report["accuracy"] == pytest.approx(summary["test"]["accuracy"])
    assert f"macro F1 {report['macro']['f1']:.4f}" in out
    assert ("ece" in report["calibration"]) == (words not in (("loss=hinge",), ("loss=mse",)))
    if "ece" in report["calibration"]:
        p = np.array([float(row["probability"]) for row in rows])
        right, places = np.array(true) == np.array(predicted), np.ceil(p * 15)
        bins = [
            (right[places == place].mean(), p[places == place].mean(), (places == place).mean()) for place in {*places}
        ]
        assert report["calibration"]["ece"] == pytest.approx(sum(w * abs(a - c) for a, c, w in bins), abs=1e-6)


def test_the_files_of_images_and_of_tables(tmp_path):
    (tmp_path / "images").mkdir()
    run, out = run_of(tmp_path / "images")
    assert {path.name for path in (run / "report").iterdir()} == TEXTS | PICTURES and f"{run.name}/report" in out
    (tmp_path / "table").mkdir()
    run, out = run_of(tmp_path / "table", "data=wine")
    assert {path.name for path in (run / "report").iterdir()} == TEXTS | PICTURES - {"mistakes.png", "uncertain.png"}
    assert {"alcohol", "proline"} < {*rows_in(run / "report" / "uncertain.csv")[0]}


def test_a_regression_in_its_own_unit(tmp_path):
    run, out = run_of(tmp_path, "data=diabetes")
    rows, summary = rows_in(run / "report" / "predictions.csv"), reader.read_summary(run)
    true, predicted = (np.array([float(row[key]) for row in rows]) for key in ("true", "predicted"))
    assert true.min() > 20 and (true % 1 == 0).all()  # as the file has them
    (found,) = summary["report"]["by_output"]
    assert found["mae"] == pytest.approx(np.abs(true - predicted).mean(), rel=1e-5)
    assert found["r2"] == pytest.approx(r2_score(true, predicted), rel=1e-5)
    assert found["r2"] == pytest.approx(summary["test"]["r2"], rel=1e-4) and f"MAE {found['mae']:.4g}" in out
    worst = rows_in(run / "report" / "mistakes.csv")[0]
    assert int(worst["index"]) == np.abs(true - predicted).argmax() and "bmi" in worst
    assert {path.name for path in (run / "report").iterdir()} == {"predictions.csv", "mistakes.csv", "residuals.png"}


def test_files_and_rows_are_named_as_their_source_names_them(tmp_path):
    make_image_folder(tmp_path / "insects")
    run, _ = run_of(tmp_path, "data=image_folder", "data.root=insects", "batch_size=4")
    rows = rows_in(run / "report" / "predictions.csv")
    places = [tmp_path / row["path"] for row in rows]
    assert len(rows) == 4 and all(
        place.is_file() and place.parent.name == row["true"] for place, row in zip(places, rows)
    )
    table = tmp_path / "table"
    table.mkdir()
    lines = [f"{number},{number % 5},{'red' if number % 3 else 'blue'},{'ab'[number % 2]}\n" for number in range(60)]
    (table / "t.csv").write_text("".join(["id,x,colour,label\n", *lines]))
    run, _ = run_of(table, "data=csv", "data.path=t.csv", "data.target=label")
    for row in rows_in(run / "report" / "uncertain.csv"):
        number = int(row["row"]) - 2  # the header is row 1
        assert row["true"] == "ab"[number % 2] and row["x"] == str(number % 5)
        assert row["colour"] == ("red" if number % 3 else "blue")


def test_the_validation_split_stands_in_for_the_test_and_without_both_there_is_none(tmp_path):
    make_image_folder(tmp_path / "insects")
    words = ("data=image_folder", "data.root=../insects", "data.test_fraction=0", "batch_size=4")
    for folder, more, split in (("one", (), "val"), ("two", ("data.val_fraction=0",), None)):
        (tmp_path / folder).mkdir()
        run, out = run_of(tmp_path / folder, *words, *more)
        report = reader.read_summary(run)["report"]
        assert (report and report["split"]) == split and (run / "report").exists() == bool(split)
        assert reader.read_summary(run)["test"] is None and ("Errors:" in out) == bool(split)


def test_tensorboard_has_pictures_and_figures_in_its_two_rows(tmp_path):
    run, _ = run_of(tmp_path)
    events, report = events_of(run), reader.read_summary(run)["report"]
    pictures = {f"test/{name.removesuffix('.png')}": (run / "report" / name).read_bytes() for name in PICTURES}
    assert {tag for tag in events.Tags()["images"] if tag.startswith("test/")} == {*pictures}
    for tag, png in pictures.items():
        (image,) = events.Images(tag)
        assert image.encoded_image_string == png and image.width > 100
    assert events.Scalars("test/ece")[0].value == pytest.approx(report["calibration"]["ece"])
    assert {"test/macro_f1", "test/balanced_accuracy"} <= {*events.Tags()["scalars"]}
    assert {path.parent.name for path in run.rglob("events*")} == {"train", "val"}


def test_jobs_of_a_sweep_have_the_numbers_alone(tmp_path):
    code, _, errors = command(tmp_path, "-m", *SHORT, "data=iris", "seed=0,1")
    assert code == 0, errors
    for summary in tmp_path.glob("outputs/sweeps/*/*/*/summary.json"):
        assert json.loads(summary.read_text())["report"]["macro"]["f1"] and not (summary.parent / "report").exists()
        assert not any(tag.startswith("test/") for tag in events_of(summary.parent).Tags()["scalars"])


@pytest.mark.parametrize("place", ["make_report", "Collector"])
def test_a_report_that_fails_ends_no_run(place, tmp_path, monkeypatch):
    def fail(*arguments):
        raise ValueError("no such letter")

    if place == "Collector":
        monkeypatch.setattr(split_report.Collector, "add", fail)
    else:
        monkeypatch.setattr(split_report, place, fail)
    run, out = run_of(tmp_path, "data=iris")
    summary = reader.read_summary(run)
    assert summary["status"] == "finished" and summary["report"] is None and summary["test"]["accuracy"] > 0
    assert "no report on the test split (ValueError: no such letter)" in out and not (run / "report").exists()


def test_a_longer_run_replaces_the_report_and_damage_to_it_is_found(tmp_path):
    run, _ = run_of(tmp_path, "data=iris")
    before = (run / "report" / "predictions.csv").read_bytes()
    (run / "report" / "residuals.png").write_bytes(b"of another version")
    (run / "report" / "mine.txt").write_text("a note")
    code, _, errors = command(tmp_path, f"resume={run}", "epochs=+4")
    names = {path.name for path in (run / "report").iterdir()}
    assert code == 0 and "residuals.png" not in names and "mine.txt" in names, errors
    after = (run / "report" / "predictions.csv").read_bytes()
    assert before != after
    (run / "report" / "predictions.csv").write_bytes(before)
    assert [*integrity.damaged_files(run, reader.read_summary(run))] == ["report/predictions.csv"]
    code, out, errors = command(tmp_path, f"resume={run}")
    assert code == 0 and "damaged, and made again" in out, errors
    assert (run / "report" / "predictions.csv").read_bytes() == after


def test_views_are_averaged_in_the_report_as_in_the_scores(tmp_path):
    run, _ = run_of(tmp_path, "tta=flip", "averaging=ema")
    summary = reader.read_summary(run)
    assert summary["report"]["accuracy"] == pytest.approx(summary["test"]["accuracy"])
    rows = rows_in(run / "report" / "predictions.csv")
    loss = -np.mean([np.log(float(row["probability_of_true"])) for row in rows])
    assert loss == pytest.approx(summary["test"]["loss"], rel=1e-5)
