"""Torchvision's sets, from small files in their formats."""

import gzip
import hashlib
import pickle
import struct
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.io
import torch
import yaml
from torchvision import datasets

from trainer.base.errors import DataError
from trainer.config import catalog
from trainer.data.splits import select_half
from trainer.data.torchvision import Torchvision, pixels_and_labels
from trainer.engine.build import build_run


def write_idx(path, values):
    """The format of LeCun's page: 0, 0, 8 (unsigned bytes), the number of dimensions, each of them, the bytes."""
    path.write_bytes(struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes())


def vision(name: str, root, **fields) -> Torchvision:
    """The data set of conf/data/NAME.yaml."""
    settings = yaml.safe_load(catalog.file("data", name).read_text())["data"]
    assert settings.pop("_target_") == "trainer.data.torchvision.Torchvision"
    return Torchvision(**{**settings, "root": str(root), **fields})


def write_mnist(raw, images, labels):
    raw.mkdir(parents=True)
    for part, rows in (("train", slice(0, 30)), ("t10k", slice(0, 30, 3))):
        write_idx(raw / f"{part}-images-idx3-ubyte", images[rows])
        write_idx(raw / f"{part}-labels-idx1-ubyte", labels[rows])


IMAGES = np.random.default_rng(0).integers(0, 256, (30, 28, 28), dtype=np.uint8)


@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST"), ("kmnist", "KMNIST")]
)
def test_mnist_is_read_from_idx_files(name, folder, tmp_path):
    images, labels = IMAGES, np.repeat(np.arange(10, dtype=np.uint8), 3)
    write_mnist(tmp_path / folder / "raw", images, labels)
    data = vision(name, tmp_path, val_fraction=0.3).load()
    assert (data.task, data.input_shape, data.outputs, len(data.classes)) == ("classification", (1, 28, 28), 10, 10)
    assert data.val.targets.sum(0).tolist() == [1] * 10 and data.train.targets.sum(0).tolist() == [2] * 10
    assert torch.equal(data.test.images, torch.from_numpy(images[::3]).unsqueeze(1)) and torch.equal(
        data.test.targets, torch.eye(10)
    )
    for part in (data.train, data.val):
        places = [int(np.flatnonzero((images == image.numpy()).all((1, 2)))[0]) for image in part.images]
        assert labels[places].tolist() == part.targets.argmax(1).tolist()


def test_fewer_training_images_of_a_data_set_with_a_test_split_of_its_own(tmp_path, composed):
    write_mnist(tmp_path / "MNIST" / "raw", IMAGES, np.repeat(np.arange(2, dtype=np.uint8), 15))
    words = ("data=mnist", f"data.root={tmp_path}", "model=linear", "data.val_fraction=0.2")
    whole, part = (build_run(composed(*words, *more)).data for more in ((), ("data.train_samples=0.25",)))
    assert (len(whole.train), len(part.train), part.train_available) == (24, 6, 24)
    assert part.train.targets.sum(0)[:2].tolist() == [3, 3] and part.train.images.dtype == torch.uint8
    assert torch.equal(part.val.images, whole.val.images) and torch.equal(part.test.images, whole.test.images)


def test_colour_images_become_channels_first():
    array = np.random.default_rng(0).integers(0, 256, (4, 32, 30, 3), dtype=np.uint8)
    images, labels = pixels_and_labels(SimpleNamespace(data=array, targets=[3, 1, 0, 9]))
    assert images.shape == (4, 3, 32, 30) and images.is_contiguous() and labels.tolist() == [3, 1, 0, 9]
    assert all(images[2, c, 5, 7] == array[2, 5, 7, c] for c in range(3))


def test_a_label_outside_the_classes_is_an_error_that_says_where(tmp_path):
    labels = np.repeat(np.arange(10, dtype=np.uint8), 3)
    labels[4] = 17
    write_mnist(tmp_path / "MNIST" / "raw", IMAGES, labels)
    with pytest.raises(DataError, match="1 labels are outside the 10 classes .0 to 9.; the first is 17 at sample 4"):
        vision("mnist", tmp_path).load()


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("mnist", "MNIST"),
        ("fashion_mnist", "FashionMNIST"),
        ("kmnist", "KMNIST"),
        ("cifar10", "CIFAR10"),
        ("cifar100", "CIFAR100"),
        ("svhn", "SVHN"),
    ],
)
def test_missing_files_are_an_error_that_says_what_to_do(name, source, tmp_path):
    with pytest.raises(
        DataError, match=f"no {source} files in .*; try data.root=DIR for another folder, or data.download=true"
    ):
        vision(name, tmp_path).load()


@pytest.mark.parametrize("source", ["Nonsense", "mnist", "utils"])
def test_a_source_must_be_a_set_of_torchvision(source, tmp_path):
    with pytest.raises(ValueError, match=f"source must be a data set of torchvision.datasets, got {source}"):
        vision("mnist", tmp_path, source=source).load()


def test_files_that_cannot_be_read_are_an_error(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ):
        (raw / name).write_bytes(gzip.compress(b"still packed"))
    with pytest.raises(DataError, match="cannot read the MNIST files in"):
        vision("mnist", tmp_path).load()


def digest(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


COLOUR = np.random.default_rng(1).integers(0, 256, (30, 3, 32, 32), dtype=np.uint8)


def test_svhn_counts_the_digit_0_as_0_and_has_channels_first(tmp_path, monkeypatch):
    labels = np.repeat([10, *range(1, 10)], 3).astype(np.uint8)[:, None]  # its files say 10 for 0
    known = {}
    for part, rows in (("train", slice(0, 30)), ("test", slice(0, 30, 3))):
        path = tmp_path / f"{part}_32x32.mat"
        scipy.io.savemat(path, {"X": COLOUR[rows].transpose(2, 3, 1, 0), "y": labels[rows]})
        known[part] = ["http://127.0.0.1:1/", path.name, digest(path)]
    monkeypatch.setattr(datasets.SVHN, "split_list", known)
    data = vision("svhn", tmp_path, val_fraction=0.0).load()
    assert (data.classes, data.task, data.input_shape) == (tuple("0123456789"), "classification", (3, 32, 32))
    assert torch.equal(data.train.images, torch.from_numpy(COLOUR)) and torch.equal(
        data.test.images, torch.from_numpy(COLOUR[::3])
    )
    assert data.train.targets.argmax(1).tolist() == np.repeat(np.arange(10), 3).tolist()
    (tmp_path / "train_32x32.mat").write_bytes(b"broken")
    with pytest.raises(DataError, match="cannot read the SVHN files in"):
        vision("svhn", tmp_path).load()


def test_cifar100_has_its_fine_labels_and_its_halves(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    fine = np.arange(30) * 3 % 100
    for name, content in (
        ("train", {"data": COLOUR.reshape(30, -1), "fine_labels": fine.tolist(), "coarse_labels": [0] * 30}),
        (
            "test",
            {"data": COLOUR[:10].reshape(10, -1), "fine_labels": list(range(0, 100, 10)), "coarse_labels": [0] * 10},
        ),
        ("meta", {"fine_label_names": [f"thing {number}" for number in range(100)]}),
    ):
        (folder / name).write_bytes(pickle.dumps(content))
    monkeypatch.setattr(datasets.CIFAR100, "train_list", [["train", digest(folder / "train")]])
    monkeypatch.setattr(datasets.CIFAR100, "test_list", [["test", digest(folder / "test")]])
    monkeypatch.setattr(
        datasets.CIFAR100, "meta", {"filename": "meta", "key": "fine_label_names", "md5": digest(folder / "meta")}
    )
    data = vision("cifar100", tmp_path, val_fraction=0.0).load()
    assert (data.outputs, data.classes[99], data.input_shape) == (100, "thing 99", (3, 32, 32))
    assert (
        torch.equal(data.train.images, torch.from_numpy(COLOUR))
        and data.train.targets.argmax(1).tolist() == fine.tolist()
    )
    second = select_half(data, "b")
    assert (second.outputs, second.classes[0]) == (50, "thing 50")
    assert torch.equal(second.train.images, torch.from_numpy(COLOUR[fine >= 50]))
    assert second.test.targets.argmax(1).tolist() == [0, 10, 20, 30, 40]
