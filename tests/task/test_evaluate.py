"""task=evaluate scores a run on the data that it was trained with, or on data that is typed for it."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import command, make_image_folder, only_run

from trainer.inference.load import load
from trainer.rundir import checkpoint
from trainer.rundir.integrity import damaged_files
from trainer.rundir.reader import read_summary

ROWS = [f"{number},{number % 7},{'ab'[number % 2]}\n" for number in range(60)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on a table, of which a tenth is held out for validation and a fifth for the test."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "table.csv").write_text("".join(["x,y,label\n", *ROWS]))
    words = ("data=csv", "data.path=table.csv", "data.target=label", "model=linear", "epochs=2", "threads=1")
    code, _, errors = command(folder, *words, "device=cpu")
    assert code == 0, errors
    return folder


@pytest.fixture
def copied(trained, tmp_path):
    """A copy of the run and its table, and what evaluates the run: code, output, errors."""
    folder = tmp_path / "copied"
    shutil.copytree(trained, folder)
    return folder, lambda *words: command(folder, "task=evaluate", f"runs=[{only_run(folder)}]", "device=cpu", *words)


@pytest.mark.parametrize(
    "rows", [ROWS[:-1], [*ROWS[:-1], "59,3,a\n"], ROWS[::-1]], ids=["fewer", "a label", "an order"]
)
def test_other_samples_under_the_same_name_are_refused(rows, trained, copied, tmp_path):
    folder, evaluate = copied
    shutil.move(trained / "table.csv", tmp_path / "kept.csv")
    try:
        (folder / "table.csv").write_text("".join(["x,y,label\n", *rows]))
        code, out, errors = evaluate()
    finally:
        shutil.move(tmp_path / "kept.csv", trained / "table.csv")
    assert code == 3 and "data are not those that it was trained with: other samples or labels" in errors, out + errors
    assert "type data.root=DIR or data.path=FILE" in errors and len(errors.splitlines()) == 1


def test_other_data_is_one_split_of_new_samples(copied):
    """Every row of it, and the model as it was trained: its preprocessing and classes, not those of the other file."""
    folder, evaluate = copied
    code, _, errors = evaluate("data=csv", "data.path=other.csv", "data.target=label")
    assert code in (2, 3), errors  # its target is the run's
    (folder / "other.csv").write_text(
        "".join(["y,label,more,x\n", *(f"{y},{z},7,{x}\n" for x, y, z in cells(ROWS[:9]))])
    )
    for words in (["data.path=other.csv"], ["data=csv", "data.path=other.csv"]):
        code, out, errors = evaluate(*words)
        assert code == 0 and "on other data than its own, data.path=other.csv: 9 samples" in out, errors
        assert not [line for line in out.splitlines() if line.startswith(("train ", "val ", "test "))]
    evaluation, report = latest(folder)
    (split,) = evaluation["evaluated"][0]["splits"].values()
    assert [row["true"] for row in report] == [row[2] for row in cells(ROWS[:9])]
    assert [row["row"] for row in report] == [str(number) for number in range(2, 11)]
    model, samples = (
        load(only_run(folder), device="cpu"),
        torch.tensor([[float(x), float(y)] for x, y, _ in cells(ROWS[:9])]),
    )
    found = model(samples)
    assert [float(row["probability"]) for row in report] == pytest.approx(found.max(1).values.tolist(), rel=1e-5)
    right = [name == model.classes[place] for (_, _, name), place in zip(cells(ROWS[:9]), found.argmax(1))]
    assert split["accuracy"] == pytest.approx(sum(right) / 9) == split["report"]["accuracy"]


def cells(rows):
    return [row.strip().split(",") for row in rows]


def latest(folder):
    """Return evaluation.json of the newest evaluation, and the rows of its predictions.csv."""
    place = max(folder.glob("outputs/*/*/evaluation.json"), key=lambda path: path.stat().st_mtime_ns).parent
    return json.loads((place / "evaluation.json").read_text()), rows_in(place / "report" / "predictions.csv")


def rows_in(path):
    return list(csv.DictReader(path.open(newline="")))


def test_the_same_data_at_another_place_is_the_runs_own(copied):
    folder, evaluate = copied
    (folder / "table.csv").rename(folder / "moved.csv")
    code, out, errors = evaluate("data.path=moved.csv")
    rows = [line.split()[0] for line in out.splitlines() if line.startswith(("train ", "val ", "test "))]
    assert code == 0 and rows == ["train", "val", "test"] and "other data" not in out, errors


def test_the_files_of_an_evaluation_are_in_a_directory_of_its_own(copied):
    folder, evaluate = copied
    run = only_run(folder)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    code, out, errors = evaluate()
    assert code == 0 and not [*damaged_files(run, read_summary(run))], errors
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    evaluation, rows = latest(folder)
    splits, summary = evaluation["evaluated"][0]["splits"], read_summary(run)
    assert [*splits] == ["train", "val", "test"] and splits["test"]["report"] == summary["report"]
    assert [splits[name]["report"]["samples"] for name in splits] == [*summary["samples"].values()]
    assert rows == rows_in(run / "report" / "predictions.csv") and "macro F1" in out
    assert code == 0 and command(folder, "task=compare", "runs=[outputs]")[0] == 0  # it is no run


OTHERS = {
    "a class that is not known": ("y,x,label\n1,2,a\n1,2,zebra\n", "label: in row 3, zebra is no class of the model"),
    "without the target": ("y,x\n1,2\n", "lacks the column label"),
    "without an input": ("y,label\n1,a\n", "lacks the column x"),
    "empty": ("", "is empty"),
    "nothing but a header": ("y,x,label\n", "holds no sample that can be read"),
    "nothing that can be read": ("y,x,label\nz,1,a\n", "'z' is not a number"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_table_that_is_no_other_data_is_refused_in_one_line(name, copied):
    folder, evaluate = copied
    text, said = OTHERS[name]
    (folder / "other.csv").write_text(text)
    code, _, errors = evaluate("data.path=other.csv")
    assert code == 3 and said in errors and len(errors.splitlines()) == 1, errors
    assert not [*folder.glob("outputs/*/*/evaluation.json")]


def test_rows_that_cannot_be_read_are_counted_and_a_class_may_be_absent(copied):
    folder, evaluate = copied
    (folder / "other.csv").write_text("x,y,label\n1,2,a\n,2,a\n3,z,a\n4,5,\n6,0,a\n")
    code, out, errors = evaluate("data.path=other.csv")
    assert code == 0 and "3 inputs could not be read and were left out" in out and "y: 'z' is not a number" in out, (
        errors
    )
    assert [row["row"] for row in latest(folder)[1]] == ["2", "6"]


@pytest.fixture(scope="module")
def insects(tmp_path_factory):
    """A run on images of two classes."""
    folder = tmp_path_factory.mktemp("insects")
    make_image_folder(folder / "insects")
    words = ("data=image_folder", "data.root=insects", "model=linear", "epochs=1", "batch_size=4", "threads=1")
    code, _, errors = command(folder, *words, "device=cpu", "data.cache=none")
    assert code == 0, errors
    return folder


def images_of(folder, *names):
    """Make FOLDER/NAME for each name, with two images that nobody has seen."""
    from PIL import Image

    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (12, 12), (9 * number, 50, 0)).save(folder / name / f"{number}.png")
    return folder


def evaluate_on(insects, place, *words):
    run = only_run(insects)
    return command(place.parent, "task=evaluate", f"runs=['{run}']", f"data.root={place.name}", "device=cpu", *words)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("ant", "bee"), ": 4 samples"),
        (("bee",), "note: it has no samples of ant"),
        (("BEE", "Ant"), ": 4 samples"),
        (("test/ant", "test/bee", "val/ant"), "its test/ alone"),
        (("pictures/ant", "pictures/bee"), ": 4 samples"),
    ],
)
def test_a_folder_of_classes_is_one_split_without_the_training_images(names, said, insects, tmp_path):
    place, kept = images_of(tmp_path / "other", *names), insects / "insects"
    kept.rename(insects / "away")
    try:
        code, out, errors = evaluate_on(insects, place)
    finally:
        (insects / "away").rename(kept)
    assert code == 0 and "on other data than its own, data.root=other" in out and said in out, errors
    rows = latest(tmp_path)[1]
    assert len(rows) == 2 * len([name for name in names if not name.startswith("val")])
    assert all(Path(row["path"]).parent.name.lower() == row["true"] for row in rows)


def test_a_folder_with_a_table_of_labels(insects, tmp_path):
    place = images_of(tmp_path / "other", "ant") / "ant"
    (place / "metadata.csv").write_text("file_name,label\n0.png,bee\n1.png,ant\n")
    code, out, errors = evaluate_on(insects, place)
    assert code == 0 and [row["true"] for row in latest(tmp_path / "other")[1]] == ["ant", "bee"], errors + out


def test_a_folder_that_is_no_other_data_is_refused_in_one_line(insects, tmp_path):
    place = images_of(tmp_path / "other", "ant", "beee")
    code, _, errors = evaluate_on(insects, place)
    assert code == 3 and "beee is no class of the model; did you mean bee?" in errors
    code, _, errors = evaluate_on(insects, images_of(tmp_path / "zoo", "ant", "zebra"))
    assert code == 3 and "data.root=zoo: zebra is no class of the model; it knows ant, bee" in errors
    code, _, errors = evaluate_on(insects, place / "ant")
    assert code == 3 and "lie in no class folder, so that they have no label" in errors
    (tmp_path / "empty").mkdir()
    assert evaluate_on(insects, tmp_path / "empty")[0] == 3
    assert not [*tmp_path.rglob("evaluation.json")]


def test_an_image_that_cannot_be_read_is_left_out(insects, tmp_path):
    place = images_of(tmp_path / "other", "ant")
    (place / "ant" / "broken.png").write_bytes(b"no image")
    code, out, errors = evaluate_on(insects, place)
    assert code == 0 and "1 input could not be read and was left out" in out and "broken.png" in out, errors
    assert len(latest(tmp_path)[1]) == 2


def test_arrays_are_evaluated_as_a_whole_in_the_models_order_of_classes(tmp_path):
    rng = np.random.default_rng(0)
    inputs, labels = rng.normal(size=(80, 3)).astype(np.float32), np.array(["b", "a", "c", "a"] * 20)
    np.savez(tmp_path / "own.npz", x=inputs, y=labels)
    words = ("data=npz", "data.path=own.npz", "model=linear", "epochs=1", "threads=1", "device=cpu")
    code, _, errors = command(tmp_path, *words)
    assert code == 0, errors
    run, others = only_run(tmp_path), np.array(["c", "b"] * 20)
    np.savez(tmp_path / "other.npz", x=inputs[:40] + 1, y=others)
    code, out, errors = command(tmp_path, "task=evaluate", f"runs=[{run}]", "data.path=other.npz", "device=cpu")
    assert code == 0 and "data.path=other.npz: 40 samples" in out and "no samples of a" in out, errors
    model = load(run, device="cpu")
    said = np.array(model.classes)[model(inputs[:40] + 1).argmax(1).numpy()]
    score = latest(tmp_path)[0]["evaluated"][0]["splits"]["other data"]["accuracy"]
    assert score == pytest.approx((said == others).mean())


def test_several_runs_have_a_folder_each_and_are_compared_on_other_data(copied):
    folder, _ = copied
    run = only_run(folder)
    for name in ("one", "two"):
        shutil.copytree(run, folder / "runs" / name)
    (folder / "other.csv").write_text("".join(["x,y,label\n", *ROWS[:9]]))
    code, out, errors = command(folder, "task=evaluate", "runs=[runs]", "data.path=other.csv", "device=cpu")
    assert code == 0 and out.count("on other data than its own") == 2 and "runs/one (other data)" in out, errors
    assert len([*folder.glob("outputs/*/*/*/report/predictions.csv")]) == 2


def test_a_pointer_or_a_checkpoint_that_is_damaged_is_made_up_for_or_said(copied):
    folder, evaluate = copied
    run = only_run(folder)
    score = f"test   {read_summary(run)['test']['loss']:.4f}"
    (run / "checkpoints" / "best").write_bytes(b"\xffstep-1.pt")
    code, out, errors = evaluate()
    assert code == 0 and score in out and "(best weights)" in out, errors
    newest, *older = checkpoint.newest_first(run / "checkpoints")
    digest = checkpoint.digest_path(newest)
    digest.write_bytes(b"\x80" + digest.read_bytes()[1:])
    code, out, errors = evaluate()
    if older:
        assert code == 0 and f"note: passed over: {newest}: damaged: its digest does not match" in out, errors
    else:
        assert code == 3 and "none of its checkpoints is complete" in errors
