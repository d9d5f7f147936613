"""Predictions of files, tables and arrays, from Python and with task=predict."""

import csv
import io
import shutil
import sys
from dataclasses import replace
from itertools import count, islice

import numpy as np
import pandas
import pytest
import torch
from PIL import Image

from trainer.base.errors import DataError
from trainer.data.columns import as_days
from trainer.data.csv import Csv
from trainer.data.inputs import ImageInput, InputColumn, TableInput
from trainer.inference.model import Ensemble
from trainer.inference.predictions import stream
from trainer.inference.rows import days_of, encoded_rows, read_rows
from trainer.inference.sources import Item, items_of, sample_of

DIGITS = ("data=digits", "model=cnn", "epochs=1", "norm=batch")
IRIS = ("data=iris", "model=linear", "epochs=2")
FLOWER = {"sepal length (cm)": 5.1, "sepal width (cm)": 3.5, "petal length (cm)": 1.4, "petal width (cm)": 0.2}


def table(text, tmp_path, name="t.csv"):
    (tmp_path / name).write_text(text)
    return str(tmp_path / name)


MIXED = """id,size,when,colour,grade,ok,price
7,"1,200",2024-01-31,red,1,True,3.5
8,3.5,2024-02-01,blue,2,False,4.5
9,,2024-02-02 12:00,red,1,True,5.5
10,2,2024-02-03,,3,False,1.5
11,4,2024-02-04,green,2,True,2.5
12,5,2024-02-05,blue,1,False,3.0
13,6,2024-02-06,red,2,True,6.5
14,7,2024-02-07,red,1,False,7.5
15,8,2024-02-08,blue,2,True,8.5
16,9,2024-02-09,red,1,False,9.5
17,10,2024-02-10,blue,2,True,0.5
18,11,2024-02-11,red,1,False,1.0
"""


def encoded(path, kind):
    return encoded_rows([cells for _, cells in read_rows(path, kind)], kind)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_rows_of_the_training_file_become_the_samples_that_they_were(separator, tmp_path):
    text = MIXED if separator == "," else MIXED.replace('"1,200"', "1200").replace(",", separator)
    path = table(text, tmp_path)
    data = Csv(path=path, target="price", task="regression", missing="impute", categories=["grade"]).load()
    known = {tuple(row.tolist()) for split in (data.train, data.val, data.test) for row in split.images}
    found = encoded(path, data.inputs)
    assert {tuple(sample.tolist()) for sample in found} == known and len(found) == 12
    assert data.inputs.target == 6 and [column.kind for column in data.inputs.columns] == [
        "number",
        "date",
        "category",
        "category",
        "category",
    ]


def test_columns_are_found_by_name_whatever_their_order_and_others_are_left(tmp_path):
    kind = TableInput(columns=(InputColumn(name="a"), InputColumn(name="b", place=1)), count=3, target=2)
    (sample,) = encoded(table("note,b,a\nx,2,1\n", tmp_path), kind)
    assert sample.tolist() == [1, 2]
    with pytest.raises(DataError, match="lacks the column b; b may be its bb"):
        encoded(table("a,bb\n1,2\n", tmp_path), kind)


def test_without_a_header_columns_are_found_by_place(tmp_path):
    columns = (InputColumn(name="column 1"), InputColumn(name="column 3", place=2))
    kind = TableInput(columns=columns, header=False, count=3, target=1)
    for text in ("1,9,2\n", "1,2\n"):  # with the target, and without
        assert encoded(table(text, tmp_path), kind)[0].tolist() == [1, 2]
    with pytest.raises(DataError, match="has no header and 4 columns"):
        encoded(table("1,2,3,4\n", tmp_path), kind)


def test_cells_that_are_wrong_are_told_by_row(tmp_path):
    columns = (
        InputColumn(name="n"),
        InputColumn(name="d", kind="date", place=1),
        InputColumn(name="c", kind="category", categories=("x", "y"), place=2),
    )
    kind = TableInput(columns=columns, count=3)
    path = table(
        "n,d,c\n1,1970-01-03,y\nz,1970-01-02,x\n1,31.1.2024,x\n,1970-01-02,x\n1,2\n1,1970-01-02,new\n", tmp_path
    )
    first, *wrong, unknown = encoded(path, kind)
    assert first.tolist() == [1, 2, 0, 1]
    assert wrong == ["n: 'z' is not a number", "d: '31.1.2024' is no date as 2024-01-31", "n: is missing",
                     "has 2 values for 3 columns"]  # fmt: skip
    assert unknown.tolist() == [1, 1, 0, 0]  # as an unknown category in the training file's other splits


@pytest.mark.parametrize(
    "text", ["2024-01-31", "1969-12-31", "2024/1/5 10:30", "2024-02-29T23:59:59.5Z", "2024-01-31 10:00+02:00"]
)
def test_dates_are_those_that_pandas_reads(text):
    assert days_of(text) == pytest.approx(as_days(pandas.Series([text]))[0], abs=1e-9)


def test_no_dates():
    assert [days_of(text) for text in ("2024-13-01", "2024-02-30", "01.02.2024", "x")] == [None] * 4


@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
def test_encodings_and_compressions(ending, tmp_path):
    path = str(tmp_path / f"t.{ending}")
    pandas.DataFrame({"größe": [1.5, 2.5]}).to_csv(path, index=False, encoding="cp1252")
    kind = TableInput(columns=(InputColumn(name="größe"),), count=1)
    assert [sample.item() for sample in encoded(path, kind)] == [1.5, 2.5]


def test_a_file_that_is_no_table_is_refused(tmp_path):
    kind = TableInput(columns=(InputColumn(name="a"),), count=1)
    for content, words in (
        (b"", "is empty"),
        (b"a,b\n" + b"\0\1\2" * 9, "not a table"),
        (b"\x1f\x8bxxxxxxxx", "cannot be read"),
    ):
        (tmp_path / "x.csv").write_bytes(content)
        with pytest.raises(DataError, match=words):
            encoded(str(tmp_path / "x.csv"), kind)


def test_grey_images_keep_their_values_and_colours_are_weighted():
    kind = ImageInput(shape=(1, 1, 2))
    pixels = np.array([[[200, 200, 200], [255, 0, 0]]], dtype=np.uint8)
    assert sample_of(pixels, kind).tolist() == [[[200, 76]]]  # 0.299 * 255 = 76.2


@pytest.mark.parametrize("fit, corner", [("crop", 255), ("pad", 0), ("squash", 255)])
def test_an_image_of_another_size_is_fitted(fit, corner):
    kind = ImageInput(shape=(3, 4, 4), fit=fit)
    found = sample_of(np.full((4, 16, 3), 255, np.uint8), kind)
    assert found.shape == (3, 4, 4) and found[0, 0, 0] == corner and found[0, 2, 2] == 255


ARRAYS = {
    "batch": (5, 1, 8, 8),
    "channels last": (5, 8, 8, 1),
    "no channels": (5, 8, 8),
    "single": (1, 8, 8),
    "single picture": (8, 8),
}


@pytest.mark.parametrize("shape", ARRAYS.values(), ids=ARRAYS)
def test_arrays_of_images_in_any_usual_order(shape, trained, tmp_path):
    model = trained(*DIGITS).load(device="cpu")
    images = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    array = images.numpy().reshape(shape) if len(shape) > 2 and shape[0] == 5 else images[0].numpy().reshape(shape)
    expected = model(images[: 5 if shape[0] == 5 else 1])
    np.save(tmp_path / "x.npy", array)
    for given in (array, str(tmp_path / "x.npy"), torch.from_numpy(array)):
        found = model.predict(given, top=1)
        assert [item.label for item in found] == [model.classes[place] for place in expected.argmax(1)]
        assert [item.row for item in found] == [*range(len(expected))]


def test_an_array_of_another_shape_is_refused(trained):
    with pytest.raises(DataError, match=r"must be \(B, 1, 8, 8\), got \(2, 9, 9\)"):
        trained(*DIGITS).load(device="cpu").predict(np.zeros((2, 9, 9)))


def test_a_pickled_array_is_not_opened(trained, tmp_path):
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be read as an array"):
        trained(*DIGITS).load(device="cpu").predict(tmp_path / "x.npy")


def test_rows_as_dicts_and_as_a_frame_equal_samples(trained):
    model = trained(*IRIS).load(device="cpu")
    expected = model(torch.tensor([[*FLOWER.values()]])).max().item()
    for given in (FLOWER, [FLOWER, FLOWER], pandas.DataFrame([FLOWER]).iloc[:, ::-1]):
        found = model.predict(given)
        assert [item.probability for item in found] == pytest.approx([expected] * len(found))
    with pytest.raises(DataError, match="rows lack the columns sepal width"):
        model.predict({"sepal length (cm)": 5.1})


def test_pictures_of_pillow_and_paths_agree(trained, tmp_path):
    model = trained(*DIGITS).load(device="cpu")
    image = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4)
    image.save(tmp_path / "a.png")
    (one,), (two,) = model.predict(image), model.predict(tmp_path / "a.png")
    assert one.ranked == two.ranked and two.path == str(tmp_path / "a.png")


def test_a_stream_without_an_end_is_read_only_a_few_batches_ahead(trained):
    model, read = trained(*IRIS).load(device="cpu"), count()
    items = (Item("", place, torch.zeros(4)) for place in read)
    found = stream(model, items, batch_size=10)
    assert [item.row for item in islice(found, 20)] == [*range(20)]
    assert next(read) <= 100  # two batches were used, three are on their way
    found.close()


REFUSED = [
    (3, "cannot predict a int"),
    ([3], "cannot predict a int"),
    ("nowhere/x.png", "no such file or folder"),
    ("no*.png", "matches no file"),
]


@pytest.mark.parametrize("given, words", REFUSED)
def test_what_cannot_be_predicted_is_refused(given, words, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=words):
        trained(*DIGITS).load(device="cpu").predict(given)


def test_a_model_of_images_takes_no_table_and_the_other_way_round(trained, tmp_path):
    path = table("a\n1\n", tmp_path)
    with pytest.raises(DataError, match="the model takes image files"):
        trained(*DIGITS).load(device="cpu").predict(path)
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="not a table|lacks|cannot be read as a table"):
        trained(*IRIS).load(device="cpu").predict(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"holds no tables \(.csv, .tsv, .txt\)"):
        (tmp_path / "empty").mkdir()
        trained(*IRIS).load(device="cpu").predict(tmp_path / "empty")


# task=predict


@pytest.fixture
def predict(run_in_process, tmp_path, monkeypatch):
    """Run task=predict with the words given; return the code, both outputs, and the rows of predictions.csv."""

    def run(*words):
        code, printed, errors = run_in_process("task=predict", "device=cpu", "threads=1", *words)
        files = [*tmp_path.glob("outputs/*/*predict*/predictions.csv")]
        newest = max(files, key=lambda path: path.stat().st_mtime_ns, default=None)
        rows = [*csv.DictReader(newest.open(newline=""))] if newest else []
        return code, printed, errors, rows

    return run


def write_images(folder, count):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    for place in range(count):
        Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(folder / f"{place:03}.png")


def test_a_folder_with_broken_files_is_predicted_and_they_are_counted(predict, trained, tmp_path):
    run = trained(*DIGITS)
    write_images(tmp_path / "new" / "deeper", 12)
    (tmp_path / "new" / "broken.jpg").write_bytes(b"garbage")
    (tmp_path / "new" / "empty.png").touch()
    (tmp_path / "new" / "notes.txt").write_text("not an image")
    code, printed, errors, rows = predict(f"runs=[{run.directory}]", f"task.input={tmp_path}/new", "task.top=2")
    assert code == 0, errors
    good = [row for row in rows if not row["problem"]]
    model = run.load(device="cpu")
    expected = {item.path: item for item in model.predict([row["path"] for row in good])}
    assert len(rows) == 14 and len(good) == 12
    for row in good:
        item = expected[row["path"]]
        assert row["class"] == item.label and float(row["probability"]) == item.probability
        assert (row["class_2"], float(row["probability_2"])) == item.ranked[1]
    assert [*rows[0]] == ["path", "class", "probability", "class_2", "probability_2", "problem"]
    assert "14 images in" in printed and "2 images could not be predicted" in printed
    assert "broken.jpg: no format of images that is known" in printed and "empty.png: the file is empty" in printed


def test_where_nothing_can_be_predicted_the_command_fails(predict, trained, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"garbage")
    code, _, errors, rows = predict(f"runs=[{trained(*DIGITS).directory}]", f"task.input={tmp_path}/broken.jpg")
    assert code == 3 and "none of 1 inputs could be predicted" in errors and len(rows) == 1


def test_paths_on_standard_input_and_a_pattern(predict, trained, tmp_path, monkeypatch):
    run = trained(*DIGITS)
    write_images(tmp_path / "new", 3)
    monkeypatch.setattr(sys, "stdin", io.StringIO("new/002.png\n\nnew/000.png\n"))
    code, _, errors, rows = predict(f"runs=[{run.directory}]", "task.input=-")
    assert code == 0 and [row["path"] for row in rows] == ["new/002.png", "new/000.png"], errors
    code, _, errors, rows = predict(f"runs=[{run.directory}]", "task.input=new/00*")
    assert code == 0 and [row["path"] for row in rows] == [f"new/00{place}.png" for place in range(3)], errors


def test_several_runs_answer_with_the_mean_of_their_probabilities(predict, trained, tmp_path):
    runs = [trained(*IRIS), trained(*IRIS, "seed=1")]
    path = table(",".join(FLOWER) + "\n5.1,3.5,1.4,0.2\n6.0,2.9,4.5,1.5\n", tmp_path)
    code, _, errors, rows = predict(f"runs=[{','.join(str(run.directory) for run in runs)}]", f"task.input={path}")
    assert code == 0, errors
    samples = torch.tensor([[5.1, 3.5, 1.4, 0.2], [6.0, 2.9, 4.5, 1.5]])
    mean = sum(run.load(device="cpu")(samples) for run in runs) / 2
    assert [float(row["probability"]) for row in rows] == pytest.approx(mean.amax(1).tolist())
    assert [row["row"] for row in rows] == ["2", "3"]


def test_models_of_other_classes_have_no_average(predict, trained, tmp_path):
    runs = [trained(*IRIS), trained("data=wine", "model=linear", "epochs=2")]
    path = table("a,b\n1,2\n", tmp_path)
    code, _, errors, _ = predict(f"runs=[{','.join(str(run.directory) for run in runs)}]", f"task.input={path}")
    shown = " ".join(errors.split())
    assert (
        code == 3 and "takes sepal length (cm), " in shown and "only models of the same inputs have an average" in shown
    )
    model = runs[0].load()
    other = replace(model, description=replace(model.description, classes=("a", "b", "c")))
    with pytest.raises(DataError, match="predicts a, b, c and .* predicts setosa, .* of the same classes have"):
        Ensemble(members=[other, model])


def test_weights_from_elsewhere_than_their_file_are_told(predict, trained, tmp_path):
    shutil.copytree(trained(*IRIS).directory, tmp_path / "run")
    (tmp_path / "run/weights.safetensors").write_bytes(b"cut")
    path = table(",".join(FLOWER) + "\n5.1,3.5,1.4,0.2\n", tmp_path)
    code, printed, errors, _ = predict(f"runs=[{tmp_path / 'run'}]", f"task.input={path}")
    assert code == 0 and "run: weights.safetensors is damaged or gone; its weights are read" in " ".join(
        printed.split()
    )


def test_a_regression_is_written_in_the_unit_of_its_target(predict, trained, tmp_path):
    lines = "\n".join(f"{place / 10},{1000 + 300 * place / 10}" for place in range(60))
    path = table(f"metres,price\n{lines}\n", tmp_path)
    words = ("data=csv", f"data.path={path}", "data.target=price", "model=linear", "epochs=100", "optimizer.lr=0.1")
    run = trained(*words)
    new = table("metres\n2.0\n4.0", tmp_path, "new.csv")
    code, printed, errors, rows = predict(f"runs=[{run.directory}]", f"task.input={new}")
    assert code == 0, errors
    assert [float(row["price"]) for row in rows] == pytest.approx([1600, 2200], abs=30) and "price" in printed


def test_values_of_money_are_written_without_an_exponent(predict, trained, tmp_path):
    """Of 1,280,345 to 1,300,345 an exponent and six digits would leave the tens."""
    lines = "\n".join(f"{place / 10},{1280345 + 20000 * place / 59:.0f}" for place in range(60))
    path = table(f"metres,price\n{lines}\n", tmp_path)
    words = ("data=csv", f"data.path={path}", "data.target=price", "model=linear", "epochs=1")
    run = trained(*words)
    _, printed, _, rows = predict(f"runs=[{run.directory}]", f"task.input={path}")
    assert f"{float(rows[0]['price']):.0f}" in printed and "e+" not in printed
    mistakes = [*csv.DictReader(io.StringIO((run.directory / "report/mistakes.csv").read_text()))]
    known = {f"{1280345 + 20000 * place / 59:.0f}" for place in range(60)}
    assert {row["true"] for row in mistakes} <= known and mistakes


def test_a_category_that_the_training_did_not_have_is_told(predict, trained, tmp_path):
    lines = "\n".join(f"{place},{'ab'[place % 2]},{place % 2}" for place in range(40))
    path = table(f"size,kind,class\n{lines}\n", tmp_path)
    words = ("data=csv", f"data.path={path}", "data.target=class", "model=linear", "epochs=1")
    run = trained(*words)
    new = table("size,kind\n1,a\n2,c\n3,b", tmp_path, "new.csv")
    code, printed, errors, rows = predict(f"runs=[{run.directory}]", f"task.input={new}")
    assert code == 0 and "note: 1 row with a value that the model does not know:" in printed, errors
    assert [row["problem"] for row in rows] == ["", "kind: the training split does not have 'c'", ""]
    assert all(row["class"] for row in rows)
    (found,) = run.load().predict([{"size": 2, "kind": "c"}])
    assert found.note == rows[1]["problem"] and not found.problem


def test_a_pillow_image_is_predicted_as_its_file(trained, tmp_path):
    """Transparent, turned by its EXIF tag, and of 16 bits."""
    model = trained(*DIGITS).load()
    values = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    clear = Image.fromarray(values).convert("RGBA")
    clear.putalpha(100)
    clear.save(tmp_path / "clear.png")
    exif = Image.Exif()
    exif[274] = 6  # turned by a quarter
    Image.fromarray(values).save(tmp_path / "turned.png", exif=exif)
    for name in ("clear.png", "turned.png"):
        (of_file,), (of_image,) = (model.predict([given(tmp_path / name)]) for given in (str, Image.open))
        assert of_file.ranked == of_image.ranked
    Image.fromarray(values.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    for given in (str, Image.open):
        with pytest.raises(DataError, match="has values of type uint16, the training images have 8 bits"):
            model.predict([given(tmp_path / "deep.png")])


def test_an_array_of_the_wrong_kind_is_refused_with_its_name(predict, trained, tmp_path):
    run = trained(*DIGITS).directory
    np.save(tmp_path / "bright.npy", np.full((2, 1, 8, 8), 200.0))
    np.savez(tmp_path / "several.npz", x=np.zeros((2, 1, 8, 8)))
    _, _, errors, _ = predict(f"runs=[{run}]", f"task.input={tmp_path / 'bright.npy'}")
    assert "bright.npy: images of floats must be in [0, 1]" in errors and not (tmp_path / "outputs").exists()
    _, _, errors, _ = predict(f"runs=[{run}]", f"task.input={tmp_path / 'several.npz'}")
    two = np.random.default_rng(0).normal(size=(60, 2, 6, 6)).astype(np.float32)
    np.savez(tmp_path / "two.npz", x=two, y=np.arange(60) % 2)
    np.save(tmp_path / "two.npy", two)
    arrays = trained("data=npz", f"data.path={tmp_path / 'two.npz'}", "model=cnn", "epochs=1").directory
    _, printed, _, _ = predict(f"runs=[{arrays}]", f"task.input={tmp_path / 'two.npy'}")
    assert "60 arrays in " in printed and " arrays/s" in printed
    _, _, told, _ = predict(f"runs=[{arrays}]", f"task.input={table('a,b', tmp_path)}")
    assert "t.csv: the model takes arrays (.npy)" in told
    assert "several.npz: may hold several arrays; save the one to predict with numpy.save" in errors


NOTHING = {
    "no input": ((), "task.input: task=predict needs what to predict"),
    "no file": (("task.input=nowhere.png",), "nowhere.png: no such file or folder"),
    "a key of training": (("task.input=x.png", "optimizer.lr=1"), "optimizer.lr: task=predict takes it from"),
    "top": (("task.input=x.png", "task.top=0"), "task.top=0: must be"),
}


@pytest.mark.parametrize("words, message", NOTHING.values(), ids=NOTHING)
def test_mistakes_are_told_in_one_line_before_anything_is_written(words, message, predict, trained, tmp_path):
    code, _, errors, _ = predict(f"runs=[{trained(*DIGITS).directory}]", *words)
    assert code in (2, 3) and message in errors and len(errors.strip().splitlines()) <= 2
    assert not (tmp_path / "outputs").exists()


def test_without_runs_and_with_none_that_has_weights(predict, tmp_path):
    code, _, errors, _ = predict("task.input=x.png")
    assert code == 2 and "task=predict needs a run" in errors
    (tmp_path / "empty").mkdir()
    code, _, errors, _ = predict("task.input=x.png", "runs=[empty]")
    assert code in (2, 3) and "empty" in errors


def test_figures_are_those_of_scikit_learn_on_the_written_predictions(predict, trained, tmp_path):
    import sklearn.datasets
    from sklearn.metrics import accuracy_score

    run = trained("data=wine", "model=linear", "epochs=5")
    bunch = sklearn.datasets.load_wine(as_frame=True)
    bunch.data.to_csv(tmp_path / "wine.csv", index=False)
    code, _, errors, rows = predict(f"runs=[{run.directory}]", f"task.input={tmp_path}/wine.csv")
    assert code == 0, errors
    found = run.load(device="cpu")(bunch.data.to_numpy(dtype=np.float32)).argmax(1)
    names = [bunch.target_names[place] for place in bunch.target]
    expected = accuracy_score(bunch.target, found)
    assert accuracy_score(names, [row["class"] for row in rows]) == expected and expected > 0.6


def test_items_are_only_made_when_they_are_asked_for(tmp_path):
    write_images(tmp_path / "new", 2)
    kind = ImageInput(shape=(1, 8, 8))
    items = items_of(str(tmp_path / "new"), kind)
    assert callable(next(items).sample)


@pytest.mark.parametrize("kept", ["weights.safetensors", "config.yaml weights.safetensors", "config.yaml checkpoints"])
def test_what_is_left_of_a_run_is_enough(kept, predict, trained, tmp_path):
    run, place = trained(*IRIS), tmp_path / "left"
    place.mkdir()
    for name in kept.split():
        copy = shutil.copytree if (run.directory / name).is_dir() else shutil.copy
        copy(run.directory / name, place / name)
    path = table(",".join(FLOWER) + "\n5.1,3.5,1.4,0.2\n", tmp_path)
    code, _, errors, (row,) = predict(f"runs=[{place}]", f"task.input={path}")
    assert code == 0, errors
    assert float(row["probability"]) == run.load(device="cpu").predict(path)[0].probability
