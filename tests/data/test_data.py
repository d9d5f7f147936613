"""Splits, and known facts of the data sets that ship with the install."""

from dataclasses import replace

import numpy as np
import pytest
import sklearn.datasets
import torch
from PIL import Image
from torch.testing import assert_close

from trainer.base.errors import ConfigError, DataError
from trainer.data.image_files import LazyImages
from trainer.data.sklearn import BreastCancer, Diabetes, Digits, Iris, Photos, Wine
from trainer.data.splits import Split, hold_out, one_hot, select_half, take
from trainer.engine.build import build_run

GROUPS = [0] * 40 + [1] * 10 + [2] * 3 + [5]


@pytest.mark.parametrize("groups", [GROUPS, torch.tensor(GROUPS)])
@pytest.mark.parametrize(
    ("fraction", "held"),
    [(0.0, {}), (0.3, {0: 12, 1: 3, 2: 1}), (0.01, {0: 1, 1: 1, 2: 1}), (0.99, {0: 39, 1: 9, 2: 2, 5: 1})],
)
def test_hold_out_takes_the_fraction_of_every_group_and_leaves_one_on_each_side(groups, fraction, held):
    kept, out = hold_out(groups, fraction, seed=3)
    labels = np.array(GROUPS)
    assert {group: int((labels[out] == group).sum()) for group in set(labels[out].tolist())} == held
    assert sorted([*kept.tolist(), *out.tolist()]) == list(range(len(GROUPS)))
    assert kept.tolist() == sorted(kept.tolist()) and out.tolist() == sorted(out.tolist())


def test_hold_out_follows_its_seed_and_takes_any_member():
    assert torch.equal(hold_out(GROUPS, 0.3, 3)[1], hold_out(GROUPS, 0.3, 3)[1])
    assert not torch.equal(hold_out(GROUPS, 0.3, 3)[1], hold_out(GROUPS, 0.3, 4)[1])
    times = np.bincount(
        np.concatenate([hold_out([0] * 10, 0.3, seed)[1].numpy() for seed in range(1000)]), minlength=10
    )
    assert (abs(times - 300) < 5 * (1000 * 0.3 * 0.7) ** 0.5).all()  # five deviations of a count of rate 0.3


def test_one_hot_marks_the_label():
    assert one_hot(torch.tensor([2, 0], dtype=torch.uint8), 3, "data=x").tolist() == [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    assert one_hot(torch.tensor([1]), 3, "data=x").dtype == torch.float32


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 3, 1, 4], "2 labels .* 3 classes .0 to 2.; the first is 3 at sample 1"),
        ([0, 1, -1], "1 labels .* is -1 at sample 2"),
    ],
)
def test_one_hot_names_the_first_label_outside_the_classes(labels, message):
    with pytest.raises(DataError, match=f"data=x: {message}"):
        one_hot(torch.tensor(labels), 3, "data=x")


TABLES = [
    (Digits(), sklearn.datasets.load_digits, 16, 1797, (1, 8, 8), "classification", 10),
    (Iris(), sklearn.datasets.load_iris, 1, 150, (4,), "classification", 3),
    (Wine(), sklearn.datasets.load_wine, 1, 178, (13,), "classification", 3),
    (BreastCancer(), sklearn.datasets.load_breast_cancer, 1, 569, (30,), "binary", 1),
    (Diabetes(), sklearn.datasets.load_diabetes, 1, 442, (10,), "regression", 1),
]


@pytest.mark.parametrize(("source", "sklearns", "scale", "count", "shape", "task", "outputs"), TABLES)
def test_tables_are_scikit_learns_divided_in_three(source, sklearns, scale, count, shape, task, outputs):
    data, bunch = source.load(), sklearns()
    assert (data.task, data.input_shape, data.outputs) == (task, shape, outputs)
    rows = torch.cat([part.images for part in (data.train, data.val, data.test)]).flatten(1)
    assert len(rows) == count
    assert sorted(rows.tolist()) == sorted((bunch.data / scale).astype(np.float32).tolist())


@pytest.mark.parametrize(("source", "sklearns", "scale", "count", "shape", "task", "outputs"), TABLES)
def test_samples_of_tables_keep_their_targets_and_classes_their_fractions(
    source, sklearns, scale, count, shape, task, outputs
):
    data, bunch = source.load(), sklearns()
    target_of = dict(zip(map(tuple, (bunch.data / scale).astype(np.float32).tolist()), bunch.target.tolist()))
    parts = {"train": data.train, "val": data.val, "test": data.test}
    truths = {
        name: np.array([target_of[tuple(row)] for row in part.images.flatten(1).tolist()])
        for name, part in parts.items()
    }
    for name, truth in truths.items():
        expected = {
            "classification": lambda truth: np.eye(outputs)[truth],
            "binary": lambda truth: truth[:, None],
            "regression": lambda truth: (truth[:, None] - truths["train"].mean()) / truths["train"].std(),
        }[task](truth)
        assert_close(parts[name].targets.double().numpy(), expected.astype(np.float64), rtol=1e-5, atol=1e-5)  # float32
    groups = {name: np.zeros(len(truth), int) if task == "regression" else truth for name, truth in truths.items()}
    whole = sum(np.bincount(labels, minlength=10) for labels in groups.values())
    # A group's fraction is rounded, so half a sample off; validation's is rounded of what the test's rounding left.
    assert (abs(np.bincount(groups["test"], minlength=10) - source.test_fraction * whole) <= 0.5).all()
    assert (abs(np.bincount(groups["val"], minlength=10) - source.val_fraction * whole) <= 1).all()


def test_facts_of_the_tables():
    digits, cancer = Digits().load(), BreastCancer().load()
    assert digits.classes == tuple("0123456789") and digits.train.images.max() == 1 and digits.train.images.min() == 0
    assert Iris().load().classes == ("setosa", "versicolor", "virginica")
    assert cancer.classes == ("malignant", "benign")
    assert (
        sum(part.targets.sum().item() for part in (cancer.train, cancer.val, cancer.test)) == 357
    )  # benign ones (Street et al., 1993)
    assert Diabetes().load().classes == ()


@pytest.mark.parametrize(("size", "rows", "columns"), [(64, 6, 10), (200, 2, 3)])
def test_photos_are_tiles_of_the_two_photographs(size, rows, columns):
    data = Photos(size=size, val_fraction=0.2, test_fraction=0.3).load()
    assert (data.classes, data.input_shape, data.train.images.dtype) == (
        ("china", "flower"),
        (3, size, size),
        torch.uint8,
    )
    photographs = sklearn.datasets.load_sample_images().images  # (427, 640, 3) each
    expected = {}
    for label, photograph in enumerate(photographs):
        for row in range(rows):
            for column in range(columns):
                tile = photograph[size * row : size * (row + 1), size * column : size * (column + 1)]
                expected[np.ascontiguousarray(tile.transpose(2, 0, 1)).tobytes()] = label
    assert len(expected) == 2 * rows * columns
    parts = (data.train, data.val, data.test)
    found = {
        image.numpy().tobytes(): int(target.argmax())
        for part in parts
        for image, target in zip(part.images, part.targets)
    }
    assert found == expected and sum(map(len, parts)) == len(expected)
    assert all(len(part) for part in parts)


@pytest.mark.parametrize("size", [15, 201])
def test_tiles_have_a_smallest_and_a_largest_size(size):
    with pytest.raises(ValueError, match=r"size must be in \[16, 200\]"):
        Photos(size=size).load()


@pytest.mark.parametrize(("half", "labels"), [("a", [0, 1, 2, 3, 4]), ("b", [5, 6, 7, 8, 9])])
def test_half_of_the_classes_is_a_task_of_its_own(half, labels):
    data = Digits().load()
    part = select_half(data, half)
    assert part.classes == tuple(map(str, labels)) and part.outputs == 5
    for whole, split in ((data.train, part.train), (data.val, part.val), (data.test, part.test)):
        truth = whole.targets.argmax(1)
        kept = torch.isin(truth, torch.tensor(labels))
        assert torch.equal(split.images, whole.images[kept]) and torch.equal(
            split.targets.argmax(1) + labels[0], truth[kept]
        )
        assert (split.targets.sum(1) == 1).all()


def test_the_middle_class_of_an_odd_number_belongs_to_the_second_half():
    digits = Digits().load()
    names = digits.classes
    five = replace(select_half(digits, "b"), classes=names[5:])
    assert (select_half(five, "a").classes, select_half(five, "b").classes) == (names[5:7], names[7:])


@pytest.mark.parametrize(
    "words, message",
    [
        ("data=iris", "data.half=a: the data has 3 classes, and a half needs two or more"),
        ("data=diabetes", "data.half=a: the data are for regression, and have no two halves of classes"),
        ("data=breast_cancer", "data.half=a: the data are for binary"),
    ],
)
def test_data_without_two_halves_are_refused(words, message, composed):
    with pytest.raises(ConfigError, match=message):
        build_run(composed(words, "model=linear", "data.half=a"))


def test_halves_of_a_folder_keep_the_names_of_their_files(composed, tmp_path):
    for number in range(4):
        (tmp_path / f"class{number}").mkdir()
        for picture in range(10):
            Image.new("L", (8, 8), 20 * number + picture).save(tmp_path / f"class{number}" / f"{picture}.png")
    words = ("data=image_folder", f"data.root={tmp_path}", "data.half=b", "data.cache=none", "model=linear")
    for residency in ("auto", "stream"):
        data = build_run(composed(*words, f"residency={residency}")).data
        assert data.classes == ("class2", "class3") and data.outputs == 2
        for split in (data.train, data.val, data.test):
            found = [split.names[index].split("/")[-2] for index in range(len(split))]
            assert [data.classes[label] for label in split.targets.argmax(1).tolist()] == found


def test_the_split_seed_alone_decides_who_is_held_out():
    first, again, other = (Iris(split_seed=seed).load().test.images for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert len(Iris(val_fraction=0.0).load().val) == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"val_fraction": 1.0}, r"val_fraction must be in \[0, 1\)"),
        ({"test_fraction": 0.0}, r"test_fraction must be in \(0, 1\)"),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, r"val_fraction \+ test_fraction must be < 1, got 1.0"),
        ({"split_seed": -1}, "split_seed must be >= 0"),
    ],
)
def test_fractions_out_of_range_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Iris(**fields).load()


def test_take_gives_the_samples_of_the_indices():
    part = take(torch.arange(10), torch.arange(10) * 2, torch.tensor([4, 1]))
    assert (part.images.tolist(), part.targets.tolist(), len(part)) == ([4, 1], [8, 2], 2)


def test_a_sample_is_everything_up_to_a_limit_and_beyond_it_the_same_random_part_wherever_the_images_lie(monkeypatch):
    images = torch.arange(200, dtype=torch.uint8).view(50, 1, 2, 2)
    split, elsewhere = (
        Split(images, torch.zeros(50, 1)),
        Split(LazyImages(images.flip(0), torch.arange(50).flip(0)), torch.zeros(50, 1)),
    )
    assert torch.equal(split.sample(), images) and torch.equal(elsewhere.sample(), images)
    monkeypatch.setattr("trainer.data.splits.SAMPLE_LIMIT", 83)  # 20 images of 4 bytes, and a rest
    sample = split.sample()
    firsts = sample[:, 0, 0, 0].tolist()
    assert torch.equal(sample, elsewhere.sample()) and len(set(firsts)) == 20 and firsts == sorted(firsts)
    assert all(torch.equal(image, images[first // 4]) for image, first in zip(sample, firsts))
    assert max(firsts) >= 120  # not the first ones: 0.6^20, or 4e-5, if any set were as likely
