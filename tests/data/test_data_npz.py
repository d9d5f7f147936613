"""Arrays of one's own in .npz and .npy: which are found, what they become, and what is refused."""

import zipfile

import numpy as np
import pytest
import torch
from conftest import only_run

from trainer.base.errors import ConfigError, DataError
from trainer.data.npz import Npz
from trainer.rundir.reader import read_summary

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (30, 5, 4), dtype=np.uint8)
LABELS = np.arange(30) % 3
ROWS = RNG.normal(size=(30, 4))


def saved(folder, **arrays):
    path = folder / "mine.npz"
    np.savez(path, **arrays)
    return path


def load(path, **options):
    return Npz(path=str(path), **options).load()


def all_samples(data):
    """The inputs of all splits in one, sorted, so that they can be compared as a set."""
    images = torch.cat([split.images for split in (data.train, data.val, data.test)]).flatten(1)
    return images[images.double().matmul(torch.arange(1, images.shape[1] + 1).double() ** 1.5).argsort()]


PAIRS = [
    ("x", "y"), ("X", "y"), ("X", "Y"), ("images", "labels"), ("image", "label"), ("data", "target"),
    ("data", "labels"), ("features", "targets"), ("inputs", "outputs"), ("arr_0", "arr_1"), ("x_train", "y_train"),
    ("train_images", "train_labels"),
    ("X_train", "Y_train"), ("xtrain", "ytrain"), ("trainX", "trainy"), ("train-x", "train-y"), ("train.x", "train.y"),
]  # fmt: skip


@pytest.mark.parametrize("inputs, target", PAIRS)
def test_a_pair_is_found_by_its_names(inputs, target, tmp_path):
    data = load(saved(tmp_path, **{target: LABELS, inputs: ROWS}))
    assert [len(split) for split in (data.train, data.val, data.test)] == [21, 3, 6]
    assert data.task == "classification" and data.classes == ("0", "1", "2")
    held = torch.cat([split.images for split in (data.train, data.val, data.test)])
    assert torch.equal(held.sort(0).values, torch.from_numpy(ROWS).float().sort(0).values)


SPLITS = [
    ("x_train y_train x_test y_test", (17, 3, 10)),
    ("x_train y_train x_val y_val x_test y_test", (10, 10, 10)),
    ("train_images train_labels valid_images valid_labels test_images test_labels", (10, 10, 10)),
    ("X_training y_training X_validation y_validation", (14, 10, 6)),
]


@pytest.mark.parametrize("names, sizes", SPLITS)
def test_splits_are_found_and_what_is_missing_is_held_out(names, sizes, tmp_path):
    parts = names.split()
    count = len(parts) // 2
    bounds = {2: [0, 20, 30], 3: [0, 10, 20, 30]}[count]
    arrays = {}
    for place in range(count):
        part = slice(bounds[place], bounds[place + 1])
        arrays |= {parts[2 * place]: PIXELS[part], parts[2 * place + 1]: LABELS[part]}
    data = load(saved(tmp_path, **arrays))
    found = tuple(len(split) for split in (data.train, data.val, data.test))
    if count == 3 or "test" in names:
        assert found == sizes
    last = {"test": data.test, "val": data.val, "validation": data.val}
    named = "test" if "test" in names else "validation"
    held = last[named]
    assert torch.equal(held.images, torch.from_numpy(PIXELS[bounds[-2] :, None]))
    assert held.targets.argmax(1).tolist() == LABELS[bounds[-2] :].tolist()
    assert sum(found) == 30


def test_each_input_keeps_its_target(tmp_path):
    """The target is the first number of its input."""
    values = RNG.permutation(40)
    data = load(saved(tmp_path, x=np.stack([values, values * 2], 1), y=values + 0.5))
    mean, deviation = data.predicted.mean[0], data.predicted.deviation[0]
    for split in (data.train, data.val, data.test):
        assert torch.allclose(split.targets[:, 0] * deviation + mean, split.images[:, 0] + 0.5, atol=1e-4)
    train = data.train.images[:, 0].double().numpy() + 0.5
    assert mean == pytest.approx(train.mean()) and deviation == pytest.approx(train.std())


SHAPES = {
    (30, 28, 28): (1, 28, 28),
    (30, 32, 32, 3): (3, 32, 32),
    (30, 3, 32, 32): (3, 32, 32),
    (30, 28, 28, 1): (1, 28, 28),
    (30, 1, 28, 28): (1, 28, 28),
    (30, 6, 5, 4): (4, 6, 5),
    (30, 12, 64, 64): (12, 64, 64),
    (30, 64, 64, 12): (12, 64, 64),
    (30, 3, 8, 3): (3, 8, 3),
    (30, 7): (7,),
    (30,): (1,),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_channels_of_images_come_first(shape, tmp_path):
    x = RNG.integers(0, 256, shape, dtype=np.uint8)
    data = load(saved(tmp_path, x=x, y=LABELS), test_fraction=0.2)
    assert data.input_shape == SHAPES[shape]
    if shape == (30, 32, 32, 3):
        places = [
            np.flatnonzero((x.transpose(0, 3, 1, 2) == image.numpy()).all((1, 2, 3))) for image in data.test.images
        ]
        assert [LABELS[place[0]] for place in places] == data.test.targets.argmax(1).tolist()


@pytest.mark.parametrize("kind", ["uint8", "int64", "int32", "uint16", ">i4"])
def test_images_of_whole_numbers_to_255_are_bytes(kind, tmp_path):
    data = load(saved(tmp_path, x=PIXELS.astype(kind), y=LABELS))
    assert data.train.images.dtype == torch.uint8 and data.notes[0].startswith("x: 30 images of 1x5x4, uint8")


def test_floats_are_taken_as_they_are_with_a_note_beyond_one(tmp_path):
    data = load(saved(tmp_path, x=PIXELS / 255, y=LABELS))
    assert data.train.images.dtype == torch.float32 and float(data.train.images.max()) <= 1
    assert not any("floats from" in note for note in data.notes)
    data = load(saved(tmp_path, x=PIXELS.astype(float), y=LABELS))
    assert any(
        f"images hold floats from {PIXELS.min()} to {PIXELS.max()}: they are taken" in note for note in data.notes
    )


TARGETS = {  # task, classes, and the targets of all samples in the order of the file
    "few whole numbers": (LABELS, "classification", ("0", "1", "2")),
    "whole floats": (LABELS.astype(float), "classification", ("0", "1", "2")),
    "a column": (LABELS[:, None], "classification", ("0", "1", "2")),
    "two": (LABELS % 2, "binary", ("0", "1")),
    "true and false": (LABELS > 0, "binary", ("0", "1")),
    "minus and plus one": (np.where(LABELS > 0, 1, -1), "binary", ("-1", "1")),
    "texts": (np.array(["ant", "bee", "cat"])[LABELS], "classification", ("ant", "bee", "cat")),
    "bytes": (np.array([b"ant", b"bee", b"cat"])[LABELS], "classification", ("ant", "bee", "cat")),
    "numbers that begin at 1": (LABELS + 1, "classification", ("1", "2", "3")),
    "one-hot": (np.eye(3)[LABELS], "classification", ("0", "1", "2")),
    "15 classes from 0": (np.arange(30) % 15, "classification", tuple(map(str, range(15)))),
    "numbers": (np.linspace(0, 1, 30), "regression", ()),
    "many whole numbers": (np.arange(30) * 7, "regression", ()),
    "several numbers": (RNG.normal(size=(30, 2)), "regression", ()),
}


@pytest.mark.parametrize("name", TARGETS)
def test_targets_say_what_kind_of_data_it_is(name, tmp_path):
    target, task, classes = TARGETS[name]
    data = load(saved(tmp_path, x=ROWS, y=target))
    assert data.task == task and data.classes == classes
    outputs = {"binary": 1, "classification": len(classes)}.get(task, np.ndim(target))
    assert data.outputs == outputs
    for split in (data.train, data.test):
        rows = [int(np.flatnonzero(np.isclose(ROWS[:, 0], row[0].item(), atol=1e-6))[0]) for row in split.images]
        plain = np.asarray(target).reshape(30, -1)[rows]
        if task == "regression":
            found = split.targets * torch.tensor(data.predicted.deviation) + torch.tensor(data.predicted.mean)
            assert np.allclose(found, plain, atol=1e-3)
        else:
            places = split.targets.argmax(1) if task == "classification" else split.targets[:, 0].long()
            names = [classes[place] for place in places]
            assert names == [str(row.argmax()) if len(row) > 1 else as_name(row[0]) for row in plain]


def as_name(value):
    """A label as the name of a class."""
    return value.decode() if isinstance(value, bytes) else str(value if isinstance(value, str) else int(value))


def test_the_task_that_is_told_wins(tmp_path):
    path = saved(tmp_path, x=ROWS, y=LABELS % 2)
    assert load(path, task="classification").outputs == 2
    assert load(path, task="regression").task == "regression"
    with pytest.raises(DataError, match="data.task=classification needs whole numbers, and a target is 0.5"):
        load(saved(tmp_path, x=ROWS, y=LABELS / 2), task="classification")


def test_an_array_of_names_names_the_classes(tmp_path):
    data = load(saved(tmp_path, data=ROWS, target=LABELS, target_names=np.array(["setosa", "versicolor", "virginica"])))
    assert data.classes == ("setosa", "versicolor", "virginica")
    with pytest.raises(
        DataError, match="sample 2 of train has the label 2, and 9 more are outside; the 2 classes have"
    ):
        load(saved(tmp_path, data=ROWS, target=LABELS, target_names=np.array(["setosa", "versicolor"])))


def test_two_npy_files_are_a_pair_whose_bytes_stay_on_the_disk(tmp_path):
    np.save(tmp_path / "pixels.npy", PIXELS)
    np.save(tmp_path / "names.npy", LABELS)
    data = load(tmp_path / "pixels.npy", target=str(tmp_path / "names.npy"))
    assert data.input_shape == (1, 5, 4) and data.classes == ("0", "1", "2")
    whole = load(saved(tmp_path, x=PIXELS, y=LABELS))
    assert torch.equal(data.test.images, whole.test.images) and torch.equal(data.test.targets, whole.test.targets)


def test_names_choose_where_there_are_several(tmp_path):
    path = saved(tmp_path, data=ROWS, images=PIXELS, target=LABELS, weight=ROWS)
    with pytest.raises(DataError, match="data and images may all be the inputs; write data.inputs=data or another"):
        load(path)
    assert load(path, inputs="images").input_shape == (1, 5, 4)
    assert load(path, inputs="weight").input_shape == (4,)
    assert "not used: images, weight" in load(path, inputs="data").notes
    with pytest.raises(ConfigError, match="data.inputs=imges: no such array in .*; did you mean images?"):
        load(path, inputs="imges")
    both = saved(tmp_path, a_train=ROWS, a_test=ROWS[:6], b_train=LABELS, b_test=LABELS[:6])
    data = load(both, inputs="a", target="b")
    assert len(data.test) == 6 and len(data.train) + len(data.val) == 30
    assert len(load(both, inputs="a_train", target="b_train").test) == 6


WRONG = {
    "no targets": (dict(x=ROWS, z=LABELS), r"has no array of targets; it has x \(30, 4\), z \(30,\); write"),
    "no inputs": (dict(z=ROWS, y=LABELS), "has no array of inputs; it has z"),
    "lengths": (dict(x=ROWS, y=LABELS[:29]), "x has 30 samples and y has 29; they must be as many"),
    "empty": (dict(x=ROWS[:0], y=LABELS[:0]), "x is empty"),
    "objects": (dict(x=ROWS, y=np.array([{}] * 30, dtype=object)), "y holds Python objects, which are never unpickled"),
    "NaN": (dict(x=np.where(np.arange(30)[:, None] == 7, np.nan, ROWS), y=LABELS), "sample 7 has an input that is"),
    "NaN as a target": (dict(x=ROWS, y=np.where(LABELS == 1, np.nan, 0.5)), "sample 1 of train has the target nan"),
    "complex": (dict(x=ROWS * 1j, y=LABELS), "x holds complex128, where numbers are needed"),
    "texts as inputs": (dict(x=np.array(["a"] * 30), y=LABELS), "x holds <U1, where numbers are needed"),
    "dates": (dict(x=ROWS, y=np.arange(30).astype("M8[D]")), "y holds datetime64.D., where numbers are needed"),
    "one class": (dict(x=ROWS, y=np.zeros(30, int)), "the target is always 0, so that nothing can be learnt"),
    "one value": (dict(x=ROWS, y=np.full(30, 0.5)), "the target is always 0.5"),
    "a test without targets": (dict(x_train=ROWS, y_train=LABELS, x_test=ROWS), "x_test has no array beside it"),
    "another shape": (dict(x_train=ROWS, y_train=LABELS, x_test=PIXELS, y_test=LABELS), "x_test holds 30 images"),
    "an unknown class": (dict(x_train=ROWS, y_train=LABELS, x_test=ROWS, y_test=LABELS * 2), "label 4, which no"),
    "several classes at once": (
        dict(x=ROWS, y=np.stack([LABELS > 0, LABELS > 1, LABELS > -1], 1)),
        "sample 1 of train has targets that add up to 2, not to 1; data.task=regression predicts each",
    ),
    "a text for each": (dict(x=ROWS, y=np.array([f"a{n}" for n in range(30)])), "30 different labels in 30"),
    "a number": (dict(x=np.array(3), y=LABELS), r"x has shape \(\), where \(N, ...\)"),
    "huge numbers": (dict(x=ROWS, y=np.linspace(0, 1e300, 30)), "beyond 3e38"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_used_is_named(name, tmp_path):
    arrays, said = WRONG[name]
    path = saved(tmp_path, **arrays)
    with pytest.raises(DataError, match=said) as caught:
        load(path)
    assert str(path) in str(caught.value) and len(str(caught.value)) < 400


def test_files_that_are_no_arrays_are_named(tmp_path):
    path = saved(tmp_path, x=ROWS, y=LABELS)
    whole = path.read_bytes()
    for content in (b"", b"a,b\n1,2\n", whole[:200], whole[:-30], b"\x80\x04\x95"):
        path.write_bytes(content)
        with pytest.raises(DataError, match="mine.npz: cannot be read as a file of numpy.savez"):
            load(path)
    damaged = bytearray(whole)
    damaged[whole.index(b"NUMPY") + 200] ^= 1  # within the numbers of x
    path.write_bytes(damaged)
    with pytest.raises(DataError, match="x cannot be read"):
        load(path)
    with (tmp_path / "one.npz").open("wb") as file:
        np.save(file, ROWS)
    with pytest.raises(DataError, match="holds one array, as of numpy.save; give it the ending .npy"):
        load(tmp_path / "one.npz")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object))
    with pytest.raises(DataError, match="objects.npy: it holds Python objects"):
        load(tmp_path / "objects.npy", target=str(tmp_path / "objects.npy"))
    with pytest.raises(ConfigError, match="a .npy file holds one array; write data.target=FILE.npy"):
        load(tmp_path / "objects.npy")


def test_an_array_that_claims_more_than_the_file_holds_takes_no_memory(tmp_path):
    np.save(tmp_path / "y.npy", LABELS)
    header = np.lib.format.header_data_from_array_1_0(ROWS) | {"shape": (10**9, 4)}
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
        archive.write(tmp_path / "y.npy", "y.npy")
        with archive.open("x.npy", "w") as file:
            np.lib.format.write_array_header_1_0(file, header)
            file.write(ROWS.tobytes())
    with pytest.raises(DataError, match="x is damaged: it must have 32,000,000,000 bytes and has"):
        load(tmp_path / "mine.npz")


def test_a_run_trains_on_a_file_and_repeats_bit_for_bit(run_in_process, tmp_path):
    saved(tmp_path, x=PIXELS, y=LABELS)
    digests = set()
    for output in ("outputs", "again"):
        words = ("data=npz", "data.path=mine.npz", "model=linear", "epochs=1", "threads=1", f"output={output}")
        code, out, errors = run_in_process(*words)
        assert code == 0 and not errors, errors
        assert "note: x: 30 images of 1x5x4, uint8" in out
        (summary,) = (tmp_path / output).glob("*/*/summary.json")
        digests.add(read_summary(summary.parent)["weights_sha256"])
    assert len(digests) == 1 and only_run(tmp_path)
    code, _, errors = run_in_process("data=npz", "data.path=nowhere.npz")
    assert code == 3 and "data.path=nowhere.npz: no such file" in errors and len(errors.splitlines()) < 3


@pytest.mark.parametrize("typed", [("data=mine.npz",), ("mine.npz",), ("data.path=mine.npz",), ("data.root=mine.npz",)])
def test_a_file_in_place_of_a_data_set_is_understood(typed, run_in_process, tmp_path):
    saved(tmp_path, x=ROWS, y=LABELS)
    code, _, errors = run_in_process(*typed)
    assert code == 2 and "data=npz" in errors and "data.path=mine.npz" in errors, errors
