"""task=predict with explain=true: the files that it writes, and what it refuses."""

import csv
import sys
from collections import defaultdict

import numpy as np
import pytest
from conftest import command, make_image_folder, only_run
from PIL import Image

pytest.importorskip("captum", reason="needs the extra: pip install -e '.[explain]'")

FAST = ("epochs=1", "threads=1", "device=cpu")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return a function that trains a run of the words once, and returns its directory."""
    made = {}

    def run(*words):
        if words not in made:
            folder = tmp_path_factory.mktemp("run")
            code, _, errors = command(folder, *words, *FAST)
            assert code == 0, errors
            made[words] = only_run(folder)
        return made[words]

    return run


def predicted(folder, *words):
    """Predict in a folder: exit code, output, errors, and the new directory."""
    code, out, errors = command(folder, "task=predict", "threads=1", "device=cpu", *words)
    return code, out, errors, next(folder.glob("outputs/*/*"), None)


def lines_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return [*csv.DictReader(file)]


def test_rows_are_explained_by_what_each_column_adds(runs, tmp_path):
    (tmp_path / "new.csv").write_text("a,b,c,d\n5.1,3.5,1.4,0.2\n6.5,3.0,x,2.2\n6.3,2.9,5.6,1.8\n5.0,3.0,1.6,0.2\n")
    text = (tmp_path / "new.csv").read_text()
    names = "sepal length (cm),sepal width (cm),petal length (cm),petal width (cm)"
    (tmp_path / "new.csv").write_text(text.replace("a,b,c,d", names))
    run = runs("data=iris", "model=linear", "optimizer.lr=0.5")
    code, out, errors, place = predicted(
        tmp_path, f"runs=[{run}]", "task.input=new.csv", "task.explain=true", "task.explained=2"
    )
    assert code == 0, errors
    assert "2 rows explained by integrated gradients" in out and "explanations.csv" in out
    answers = {line["row"]: line for line in lines_of(place / "predictions.csv")}
    sums = defaultdict(float)
    lines = lines_of(place / "explanations.csv")
    assert len(lines) == 2 * 4 and {line["row"] for line in lines} == {"2", "4"}  # row 3 could not be read
    for line in lines:
        sums[line["row"]] += float(line["contribution"])
        assert line["explained"] == answers[line["row"]]["class"]
        assert float(line["answer"]) == pytest.approx(float(answers[line["row"]]["probability"]), abs=1e-5)
    for line in lines:
        assert float(line["base"]) + sums[line["row"]] == pytest.approx(float(line["answer"]), abs=0.006)
    sizes = [abs(float(line["contribution"])) for line in lines[:4]]
    assert sizes == sorted(sizes, reverse=True)
    assert {line["column"]: line["value"] for line in lines[:4]}["petal length (cm)"] == "1.4"
    assert Image.open(place / "explanations.png").size[0] > 1000


def test_images_are_explained_by_maps(runs, tmp_path):
    folder = make_image_folder(tmp_path / "data")
    run = runs("data=image_folder", f"data.root={folder}", "model=cnn")
    (tmp_path / "data" / "ant" / "broken.png").write_bytes(b"no image")
    words = (f"runs=[{run}]", "task.input=data/ant", "task.explain=true")
    code, out, errors, place = predicted(tmp_path, *words, "task.explained=3")
    assert code == 0, errors
    assert "3 images explained by Grad-CAM, 4 x 4" in out and not (place / "explanations.csv").exists()
    picture = np.asarray(Image.open(place / "explanations.png").convert("RGB"))
    assert picture.shape[1] > 700 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 100


@pytest.mark.parametrize("words, how", [(("model=mlp", "model.hidden=[8]"), "saliency (the model has no convolution)")])
def test_where_there_is_no_convolution_it_says_so(runs, tmp_path, words, how):
    np.save(tmp_path / "new.npy", np.random.default_rng(0).integers(0, 255, (5, 8, 8), dtype=np.uint8))
    run = runs("data=digits", *words)
    code, out, errors, _ = predicted(tmp_path, f"runs=[{run}]", "task.input=new.npy", "task.explain=true")
    assert code == 0 and f"5 images explained by {how}" in out, errors


def test_a_regression_is_explained_in_its_own_unit(runs, tmp_path):
    """The target of diabetes is standardised for the training, 152 on average; a model may well be wrong about it."""
    columns = "age sex bmi bp s1 s2 s3 s4 s5 s6".split()
    (tmp_path / "new.csv").write_text(f"{','.join(columns)}\n{','.join(['0.03'] * 10)}\n")
    run = runs("data=diabetes", "model=mlp", "model.hidden=[8]")
    code, out, errors, place = predicted(tmp_path, f"runs=[{run}]", "task.input=new.csv", "task.explain=true")
    assert code == 0, errors
    lines, (answer,) = lines_of(place / "explanations.csv"), lines_of(place / "predictions.csv")
    assert {line["column"] for line in lines} == {*columns}
    assert float(lines[0]["answer"]) == pytest.approx(float(answer[lines[0]["explained"]]), rel=1e-4)
    total = float(lines[0]["base"]) + sum(float(line["contribution"]) for line in lines)
    assert total == pytest.approx(float(lines[0]["answer"]), abs=2.0) and float(lines[0]["base"]) > 50


def test_without_the_word_nothing_is_explained(runs, tmp_path):
    np.save(tmp_path / "new.npy", np.zeros((2, 8, 8), dtype=np.uint8))
    run = runs("data=digits", "model=mlp", "model.hidden=[8]")
    code, out, errors, place = predicted(tmp_path, f"runs=[{run}]", "task.input=new.npy")
    assert code == 0 and not (place / "explanations.png").exists() and "explained" not in out, errors


def test_without_captum_it_says_what_to_install_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum", None)
    code, _, errors, place = predicted(tmp_path, "runs=[x]", "task.input=y", "task.explain=true")
    assert code == 2 and place is None
    assert errors.strip().endswith("task.explain=true: needs Captum; pip install 'trainer[explain]'")


def test_where_no_input_can_be_read_nothing_is_explained(runs, tmp_path):
    folder = make_image_folder(tmp_path / "data")
    run = runs("data=image_folder", f"data.root={folder}", "model=cnn")
    (tmp_path / "broken.png").write_bytes(b"no image")
    words = (f"runs=[{run}]", "task.input=broken.png", "task.explain=true")
    code, out, errors, place = predicted(tmp_path, *words)
    assert "1 image could not be predicted" in out and not (place / "explanations.png").exists(), errors
