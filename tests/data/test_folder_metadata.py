"""Folders of images in the layout of Hugging Face: names of splits, and labels in a table beside the images."""

import json

import pytest
import torch
from PIL import Image

from trainer.base.errors import DataError
from trainer.data.image_folder import ImageFolder

NAMES = ("ant", "bee")


def pictures(folder, count, first=0):
    """FOLDER/NUMBER.png, red where the number is odd; return their names and labels."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        Image.new("RGB", (4, 4), (200 * (number % 2), number, 0)).save(folder / f"{number}.png")
    return [(f"{number}.png", NAMES[number % 2]) for number in range(first, first + count)]


def table(path, rows, head="file_name,label", sign=","):
    path.write_text("\n".join([head, *(sign.join(map(str, row)) for row in rows)]) + "\n")


def load(root, **options):
    return ImageFolder(root=str(root), cache="none", **options).load()


def require_right_labels(data):
    assert data.classes == NAMES
    for split in (data.train, data.val, data.test):
        images = split.images.read(torch.arange(len(split)))
        assert [int(image[0, 0, 0] > 100) for image in images] == split.targets.argmax(1).tolist()


def sizes(data):
    return [len(split) for split in (data.train, data.val, data.test)]


@pytest.mark.parametrize("val", ["validation", "valid", "val", "dev", "Validation"])
def test_splits_of_class_folders_have_hugging_face_s_names(val, tmp_path):
    for split, count in (("train", 12), (val, 4), ("test", 6)):
        for number, (name, label) in enumerate(pictures(tmp_path / "all" / split, count)):
            (tmp_path / "data" / split / label).mkdir(parents=True, exist_ok=True)
            (tmp_path / "all" / split / name).rename(tmp_path / "data" / split / label / f"{number}.png")
    data = load(tmp_path / "data")
    require_right_labels(data)
    assert sizes(data) == [12, 4, 6] and data.notes == ()


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
@pytest.mark.parametrize("below", ["", "images/"])
@pytest.mark.parametrize("val", ["validation", "valid"])
def test_each_split_has_a_table_of_its_own(ending, below, val, tmp_path):
    for split, count in (("train", 12), (val, 4), ("test", 6)):
        rows = [(f"{below}{name}", label) for name, label in pictures(tmp_path / split / below, count)]
        if ending == "csv":
            table(tmp_path / split / "metadata.csv", rows)
        else:
            lines = [json.dumps({"file_name": name, "text": "a, b", "label": label}) for name, label in rows]
            (tmp_path / split / "metadata.jsonl").write_text("\n".join(lines))
    data = load(tmp_path)
    require_right_labels(data)
    assert sizes(data) == [12, 4, 6] and data.notes == ()


def test_one_table_lies_beside_the_images_or_beside_the_splits(tmp_path):
    table(tmp_path / "flat.csv", rows := pictures(tmp_path / "flat", 20))
    (tmp_path / "flat.csv").rename(tmp_path / "flat" / "metadata.csv")
    data = load(tmp_path / "flat")
    require_right_labels(data)
    assert sizes(data) == [14, 2, 4] and len(rows) == 20
    rows = [(f"train/{name}", label) for name, label in pictures(tmp_path / "two" / "train", 12)]
    rows += [(f"test/{name}", label) for name, label in pictures(tmp_path / "two" / "test", 6)]
    table(tmp_path / "two" / "metadata.csv", rows[::-1])
    data = load(tmp_path / "two", val_fraction=0.0)
    require_right_labels(data)
    assert sizes(data) == [12, 0, 6]


@pytest.mark.parametrize(
    "head, sign",
    [("label,file_name", ","), ("file_name;label", ";"), ("\ufefffile_name,label", ","), (" file_name , label ", ",")],
)
def test_a_table_is_written_in_many_ways(head, sign, tmp_path):
    rows = pictures(tmp_path, 20)
    table(tmp_path / "metadata.csv", [row[::-1] if head.startswith("label") else row for row in rows], head, sign)
    require_right_labels(load(tmp_path))


def test_whole_numbers_are_classes(tmp_path):
    rows = [(name, NAMES.index(label)) for name, label in pictures(tmp_path, 20)]
    (tmp_path / "metadata.jsonl").write_text(
        "\n".join(json.dumps(dict(file_name=name, label=label)) for name, label in rows)
    )
    data = load(tmp_path)
    assert data.classes == ("0", "1") and sizes(data) == [14, 2, 4]


def test_what_is_not_in_the_table_is_left_out_and_said(tmp_path):
    rows = pictures(tmp_path, 20)
    (tmp_path / "readme.txt").write_text("")
    table(tmp_path / "metadata.csv", rows[:16])
    data = load(tmp_path)
    require_right_labels(data)
    assert sum(sizes(data)) == 16
    left_out = "left out: 1 not an image (readme.txt); 4 not in metadata.csv (16.png, 17.png, 18.png, ...)"
    assert left_out in data.notes


def test_a_table_without_labels_counts_where_the_classes_are_no_folders_alone(tmp_path):
    for number, (name, label) in enumerate(pictures(tmp_path / "all", 20)):
        (tmp_path / "data" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "all" / name).rename(tmp_path / "data" / label / f"{number}.png")
    table(tmp_path / "data" / "metadata.csv", [("ant/0.png", "an ant")], "file_name,text")
    require_right_labels(load(tmp_path / "data"))
    pictures(tmp_path / "flat", 20)
    table(tmp_path / "flat" / "metadata.csv", [("0.png", "an ant")], "file_name,text")
    with pytest.raises(DataError, match="flat/metadata.csv: has no column label; its columns: file_name, text$"):
        load(tmp_path / "flat")


WRONG = {
    "no columns": ("name,class\n0.png,ant\n", "has no column file_name and no column label; its columns: name, class"),
    "nothing": ("", "metadata.csv: has no column file_name and no column label; its columns: none"),
    "a file that is not there": ("ROWS\nlost.png,ant\n", "row 22 names lost.png, which is not there, or no image"),
    "no label": ("ROWS\n20.png,\n", "metadata.csv: row 22 has no label for 20.png"),
    "a row that is too short": ("ROWS\n20.png\n", "metadata.csv: row 22 has no label for 20.png"),
    "outside": ("ROWS\n../../etc/passwd,ant\n", "row 22 names ../../etc/passwd, which is not in its"),
    "absolute": ("ROWS\n/etc/passwd,ant\n", "metadata.csv: row 22 names /etc/passwd, which is not in its folder"),
    "two labels": ("ROWS\n0.png,bee\n", "metadata.csv: row 22 gives 0.png a second label: ant and bee"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(name, tmp_path):
    rows = pictures(tmp_path, 20)
    pictures(tmp_path, 1, first=20)
    content, said = WRONG[name]
    listed = "\n".join(["file_name,label", *(",".join(row) for row in rows)])
    (tmp_path / "metadata.csv").write_text(content.replace("ROWS", listed))
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    assert said in str(caught.value)
    if "row 22" in said and name != "two labels":
        require_right_labels(load(tmp_path, on_error="skip"))


def test_a_line_that_is_no_object_is_named(tmp_path):
    pictures(tmp_path, 4)
    for content in (
        '{"file_name": "0.png", "label": 0}\n[1]\n',
        '{"file_name": "0.png", "label": 0}\n{\n',
        b"\xff\xfe",
    ):
        path = tmp_path / "metadata.jsonl"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(DataError, match=r"metadata.jsonl: (line 2 is no JSON object|is not UTF-8)"):
            load(tmp_path)


def test_a_label_that_train_lacks_is_named(tmp_path):
    table(tmp_path / "train.csv", pictures(tmp_path / "train", 12))
    (tmp_path / "train.csv").rename(tmp_path / "train" / "metadata.csv")
    table(tmp_path / "test.csv", [(name, "cat") for name, _ in pictures(tmp_path / "test", 4)])
    (tmp_path / "test.csv").rename(tmp_path / "test" / "metadata.csv")
    with pytest.raises(DataError, match="test/cat: no such class in train/"):
        load(tmp_path)


def test_a_run_trains_on_such_a_folder(run_in_process, tmp_path):
    for split, count in (("train", 12), ("validation", 4), ("test", 6)):
        table(tmp_path / "mine" / split / "metadata.csv", pictures(tmp_path / "mine" / split, count))
    code, out, errors = run_in_process("data=image_folder", "data.root=mine", "model=linear", "epochs=1", "threads=1")
    assert code == 0 and not errors and "12 train, 4 val, 6 test" in out, errors
