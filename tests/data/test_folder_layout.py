"""Layouts of image folders: splits, classes, names, what is left out, and the list of faults."""

import os
import re
import tracemalloc
import unicodedata

import numpy as np
import pytest
import torch
from PIL import Image

from trainer.base.errors import DataError
from trainer.data.folder_walk import Layout, images_below
from trainer.data.image_folder import ImageFolder

COLOURS = {"a": (200, 0, 0), "b": (0, 200, 0), "c": (0, 0, 200), "t": (0, 0, 200)}  # by the first letter of a class


def fill(folder, count=10, classes=("ant", "bee"), ending=".png", **options):
    """FOLDER/CLASS/NUMBER of one colour a class, a little brighter from image to image."""
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            red, green, blue = COLOURS[unicodedata.normalize("NFD", name).lower()[0]]
            image = Image.new("RGB", (4, 4), (red + number, green + number, blue + number))
            image.save(folder / name / f"{number:02}{ending}", **options)


def load(root, **options):
    return ImageFolder(root=str(root), **options).load()


def counts(data):
    """Samples of each class in train, val and test."""
    return [[int(count) for count in split.targets.sum(0)] for split in (data.train, data.val, data.test)]


def require_right_labels(data):
    """The colour of each image is its class's."""
    strongest = {"ant": 0, "bee": 1, "cat": 2}
    for split in (data.train, data.val, data.test):
        for image, label in zip(split.images, split.targets.argmax(1).tolist()):
            assert int(image.float().mean((1, 2)).argmax()) == strongest[data.classes[label].lower()]


# Layouts


def test_classes_alone_are_split_in_three_class_by_class(tmp_path):
    fill(tmp_path, 20)
    fill(tmp_path, 10, ("cat",))
    data = load(tmp_path)
    assert counts(data) == [[14, 14, 7], [2, 2, 1], [4, 4, 2]]
    require_right_labels(data)
    images = torch.cat([split.images for split in (data.train, data.val, data.test)])
    assert len(images.flatten(1).unique(dim=0)) == 50  # none twice
    assert data.notes == (
        "no test and no val folder: data.test_fraction=0.2 and data.val_fraction=0.1 of every class held out",
    )


def test_the_split_follows_its_seed_alone(tmp_path):
    fill(tmp_path, 20)
    first, again, other = (load(tmp_path, split_seed=seed).test.images for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("name", ["val", "validation", "valid", "Val", "VALIDATION", "dev", "val_set"])
def test_a_validation_folder_is_taken_whole_and_the_test_is_held_out(name, tmp_path):
    fill(tmp_path / "train", 10)
    fill(tmp_path / name, 3)
    data = load(tmp_path)
    assert counts(data) == [[8, 8], [3, 3], [2, 2]]
    assert data.notes == ("no test folder: data.test_fraction=0.2 of every class held out",)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("Train", "TEST"),
        ("Training", "Testing"),
        ("training_set", "test_set"),
        ("train_images", "test_images"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("train/train", "test/test"),
        ("Final_Training/Images", "Final_Test/Images"),
    ],
)
def test_a_test_folder_is_taken_whole_and_validation_is_held_out(train, test, tmp_path):
    fill(tmp_path / train, 10)
    fill(tmp_path / test, 3)
    data = load(tmp_path)
    assert counts(data) == [[9, 9], [1, 1], [3, 3]] and data.notes == ()
    require_right_labels(data)


def test_all_three_folders_are_taken_whole(tmp_path):
    for split, count in (("train", 5), ("valid", 2), ("test", 3)):
        fill(tmp_path / split, count)
    assert counts(load(tmp_path)) == [[5, 5], [2, 2], [3, 3]]


def test_train_alone_is_split_as_classes_alone_are(tmp_path):
    fill(tmp_path / "a" / "train", 20)
    fill(tmp_path / "b", 20)
    assert counts(load(tmp_path / "a")) == counts(load(tmp_path / "b"))


def test_fractions_of_zero_leave_a_split_empty(tmp_path):
    fill(tmp_path, 10)
    data = load(tmp_path, test_fraction=0.0)
    assert counts(data) == [[9, 9], [1, 1], [0, 0]]
    assert data.notes == ("no test folder, and data.test_fraction=0: there is no test at the end",)
    assert counts(load(tmp_path, test_fraction=0.0, val_fraction=0.0)) == [[10, 10], [0, 0], [0, 0]]
    with pytest.raises(ValueError, match=r"val_fraction \+ test_fraction must be < 1, got 1"):
        load(tmp_path, test_fraction=0.5, val_fraction=0.5)


@pytest.mark.parametrize("inner", ["images", "2021/june"])
def test_images_in_folders_of_a_class_folder_are_of_that_class(inner, tmp_path):
    for split in ("train", "test"):
        for name in ("ant", "bee"):
            fill(tmp_path / split / name / "x", 5, (name,))
            target = tmp_path / split / name / inner
            target.parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / split / name / "x" / name).rename(target)
    data = load(tmp_path)
    assert data.classes == ("ant", "bee") and counts(data)[2] == [5, 5]
    require_right_labels(data)
    assert data.notes == (
        f"20 images lie deeper than CLASS/*, as in train/ant/{inner}/: their class is the outer folder",
    )


@pytest.mark.parametrize("inner", ["flowers", "archive/flowers"])
def test_the_folder_of_an_archive_is_entered(inner, tmp_path):
    fill(tmp_path / "plain" / inner, 10)
    fill(tmp_path / "split" / inner / "train", 10)
    fill(tmp_path / "split" / inner / "test", 2)
    (tmp_path / "plain" / "__MACOSX").mkdir()
    plain = load(tmp_path / "plain")
    assert counts(plain) == [[7, 7], [1, 1], [2, 2]]
    assert plain.notes[0] == f"data.root={tmp_path / 'plain'}: its only folder is read, {inner}/"
    assert plain.notes[1] == "left out: 1 hidden or of the system (__MACOSX)"
    assert counts(load(tmp_path / "split"))[2] == [2, 2]


def test_a_relative_root_is_read(tmp_path, monkeypatch):
    fill(tmp_path / "set", 10)
    monkeypatch.chdir(tmp_path)
    assert counts(load("set")) == counts(load("./set/")) == [[7, 7], [1, 1], [2, 2]]
    monkeypatch.chdir(tmp_path / "set")
    assert counts(load(".")) == [[7, 7], [1, 1], [2, 2]]


def test_a_class_may_be_called_train(tmp_path):
    fill(tmp_path, 10, ("bus", "train"))
    assert load(tmp_path).classes == ("bus", "train")


# Names


@pytest.mark.parametrize("ending", [".jfif", ".jpe", ".JPEG", ".Jpg", "", ".jpg_large", ".1", "?size=large"])
def test_images_are_found_by_their_ending_or_their_content(ending, tmp_path):
    fill(tmp_path, 10, ending=ending, format="JPEG")
    data = load(tmp_path)
    assert sum(map(sum, counts(data))) == 20 and len(data.notes) == 1
    require_right_labels(data)


@pytest.mark.parametrize(("train", "test"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_composed_and_decomposed_names_are_one_class(train, test, tmp_path):
    for split, form in (("train", train), ("test", test)):
        fill(tmp_path / split, 5, (unicodedata.normalize(form, "Äpfel"), "bee"))
    data = load(tmp_path)
    assert data.classes == ("bee", unicodedata.normalize("NFC", "Äpfel")) and counts(data)[2] == [5, 5]


def test_two_spellings_of_a_class_in_one_split_are_one_class(tmp_path):
    for form in ("NFC", "NFD"):
        fill(tmp_path / "train", 5, (unicodedata.normalize(form, "Äpfel"), "bee"))
    assert counts(load(tmp_path, val_fraction=0.0, test_fraction=0.0))[0] == [5, 10]


def test_classes_may_differ_in_case_between_splits(tmp_path):
    fill(tmp_path / "train", 5)
    fill(tmp_path / "test", 2, ("Ant", "BEE"))
    data = load(tmp_path)
    assert counts(data)[2] == [2, 2] and data.classes == ("ant", "bee")
    require_right_labels(data)


# What is left out


def test_what_is_left_out_is_counted_in_one_note_by_reason(tmp_path):
    fill(tmp_path / "train", 10)
    fill(tmp_path / "test", 2)
    fill(tmp_path / "unlabelled", 2)
    for path in (".DS_Store", "train/desktop.ini", "train/ant/Thumbs.db", "train/ant/._00.png", "test/bee/.hidden.png"):
        (tmp_path / path).write_bytes(b"x")
    (tmp_path / "train" / "ant" / "__MACOSX").mkdir()
    for path in ("README.md", "train/labels.csv", "train/bee/notes.txt", "train/bee/00.png~", "train/bee/raw.NEF"):
        (tmp_path / path).write_bytes(b"II*\0")
    Image.new("RGB", (4, 4)).save(tmp_path / "train" / "stray.png")
    data = load(tmp_path, val_fraction=0.0)
    assert counts(data) == [[10, 10], [0, 0], [2, 2]]
    (note,) = data.notes
    assert note.startswith("left out: ")
    assert sorted(re.findall(r"(\d+) ([^(;]+) \(", note)) == [
        ("1", "outside of the class folders"),
        ("4", "in a folder that is no split"),
        ("5", "not an image"),
        ("6", "hidden or of the system"),
    ]
    assert "train/ant/Thumbs.db" not in note and "(train/stray.png)" in note


def test_a_pipe_is_left_out_and_does_not_block(tmp_path):
    fill(tmp_path, 10)
    os.mkfifo(tmp_path / "ant" / "pipe.png")
    os.mkfifo(tmp_path / "bee" / "pipe")
    assert "left out: 2 not an image (ant/pipe.png, bee/pipe)" in load(tmp_path).notes


def test_links_are_followed_and_circles_end(tmp_path):
    fill(tmp_path / "elsewhere", 10)
    (tmp_path / "set").mkdir()
    for name in ("ant", "bee"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "elsewhere" / name)
    (tmp_path / "elsewhere" / "ant" / "loop").symlink_to(tmp_path / "elsewhere" / "ant")
    assert counts(load(tmp_path / "set")) == [[7, 7], [1, 1], [2, 2]]


# Faults


def messy(root):
    fill(root / "train", 5, ("ant", "bee"))
    (root / "train" / "cat").mkdir()
    fill(root / "test", 2, ("ant", "bea"))
    (root / "train" / "ant" / "00.png").write_bytes(b"<html>")
    (root / "train" / "bee" / "01.png").write_bytes(b"")
    return root


def test_a_messy_folder_gets_one_list_of_all_its_faults(tmp_path):
    root = messy(tmp_path)
    with pytest.raises(DataError) as error:
        load(root)
    assert str(error.value).splitlines() == [
        f"data.root={root}: 4 faults (data.on_error=skip leaves them out)",
        "  train/cat: contains no images",
        "  test/bea: no such class in train/; did you mean bee?",
        "  train/ant/00.png: not a readable image (no format of images that is known)",
        "  train/bee/01.png: not a readable image (the file is empty)",
    ]
    data = load(root, on_error="skip", val_fraction=0.0)
    assert counts(data) == [[4, 4], [0, 0], [2, 0]] and data.classes == ("ant", "bee")
    assert data.notes == (
        "left out: 1 class folder without images (train/cat); "
        "2 of a class that train/ lacks (test/bea/00.png, test/bea/01.png); "
        "2 not readable (train/ant/00.png, train/bee/01.png)",
    )


def test_sizes_that_differ_are_in_the_list_and_cannot_be_skipped(tmp_path):
    root = messy(tmp_path)
    Image.new("RGB", (8, 4)).save(root / "train" / "bee" / "02.png")
    with pytest.raises(DataError, match=r"5 faults \(data.on_error=skip leaves 4 of them out\)"):
        load(root)
    with pytest.raises(
        DataError, match="images differ in size, .*; type data.size=N to resize all of them, as data.size=4$"
    ):
        load(root, on_error="skip")
    assert sum(map(sum, counts(load(root, on_error="skip", size=4)))) == 10


def test_one_image_lies_and_one_stands(tmp_path):
    fill(tmp_path, 10)
    for path in tmp_path.glob("*/*"):
        Image.new("RGB", (4, 8) if path.parent.name == "ant" else (8, 4)).save(path)
    with pytest.raises(DataError, match=r"from 4x8 pixels \(ant/00.png\) to 8x4 pixels \(bee/00.png\)"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: fill(root / "Training", 2), "Training/ and train/ both name the train split; rename one"),
        (lambda root: fill(root / "valid", 2) or fill(root / "val", 2), "val/ and valid/ both name the val split"),
        (lambda root: (root / "train").rename(root / "val"), "has test/, val/ but no train/"),
        (
            flat := lambda root: flatten(root / "test"),
            "test: its 4 images lie in no class folder, so that they have no label",
        ),
        (
            lambda root: flatten(root / "train") or flat(root),
            "train: its 20 images lie in no class folder; expected train/CLASS",
        ),
    ],
)
def test_layouts_that_cannot_be_read_are_named(change, message, tmp_path):
    fill(tmp_path / "train", 10)
    fill(tmp_path / "test", 2)
    change(tmp_path)
    with pytest.raises(DataError, match=message):
        load(tmp_path)


def flatten(folder):
    for path in [*folder.glob("*/*")]:
        path.rename(folder / f"{path.parent.name}-{path.name}")
    for path in folder.iterdir():
        if path.is_dir():
            path.rmdir()


def test_a_test_folder_alone_is_no_data_set(tmp_path):
    fill(tmp_path / "test", 10)
    with pytest.raises(DataError, match="has test/ but no train/"):
        load(tmp_path)


def test_a_test_folder_without_labels_is_skipped_and_held_out_from_train(tmp_path):
    fill(tmp_path / "train", 10)
    fill(tmp_path / "test", 2)
    flatten(tmp_path / "test")
    data = load(tmp_path, on_error="skip", val_fraction=0.0)
    assert counts(data) == [[8, 8], [0, 0], [2, 2]] and data.notes[0].startswith("left out: 4 outside of the class")


def test_a_folder_beside_the_classes_folder_is_told_how_to_type(tmp_path):
    fill(tmp_path / "images", 10)
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "classes.txt").write_text("ant bee")
    with pytest.raises(DataError, match=f"only images/ holds images; type data.root={tmp_path / 'images'} if"):
        load(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read_is_named(tmp_path):
    fill(tmp_path, 10)
    (tmp_path / "ant" / "closed").mkdir(mode=0)
    with pytest.raises(DataError, match="ant/closed: cannot be read"):
        load(tmp_path)


def test_a_large_folder_with_faults_is_not_read_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.data.image_folder.CHECKED", 7)
    root = messy(tmp_path)
    with pytest.raises(DataError, match=r"\(of 12 files, 7 were read\)$"):
        load(root)


def test_a_file_in_place_of_a_folder_is_told(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match="x.zip: is a file; unpack it"):
        load(tmp_path / "x.zip")


def test_pixels_of_a_class_keep_their_order(tmp_path):
    fill(tmp_path / "train", 10)
    fill(tmp_path / "test", 2)
    data = load(tmp_path, val_fraction=0.0)
    expected = np.concatenate([np.arange(200, 210), np.arange(10)])
    assert data.train.images[:, 0, 0, 0].tolist() == expected.tolist()


def test_memory_does_not_grow_while_the_files_of_a_folder_are_read(tmp_path):
    count = 1000
    for number in range(count):
        (tmp_path / f"{number}.jpg").touch()
    names = [name for name, *_ in images_below(tmp_path, Layout(tmp_path), silent=True)]
    assert names == sorted(f"{number}.jpg" for number in range(count))
    tracemalloc.start()
    try:
        found = images_below(tmp_path, Layout(tmp_path), silent=True)
        next(found)
        first = tracemalloc.get_traced_memory()[0]
        for _ in zip(range(count - 1), found):
            last = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert last <= first  # what the system says of a file takes 600 bytes
