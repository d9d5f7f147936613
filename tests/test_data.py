"""Data sets: known facts of the built-in ones, and small files written here for the others."""

import gzip
import struct
from types import SimpleNamespace

import numpy as np
import pytest
import sklearn.datasets
import torch
import yaml
from PIL import Image
from torch.testing import assert_close

from trainer import conf
from trainer.data.image_folder import ImageFolder
from trainer.data.loader import Loader
from trainer.data.splits import Split, hold_out, one_hot, take
from trainer.data.tables import BreastCancer, Diabetes, Digits, Iris
from trainer.data.vision import Vision, pixels
from trainer.errors import DataError
from trainer.preprocess import Center, ChannelStandardize, Nothing, Standardize

CPU = torch.device("cpu")
GROUPS = [0] * 40 + [1] * 10 + [2] * 3 + [5]


@pytest.mark.parametrize("groups", [GROUPS, torch.tensor(GROUPS)])
@pytest.mark.parametrize(
    ("share", "held"), [(0.0, {}), (0.3, {0: 12, 1: 3, 2: 1}), (0.01, {0: 1, 1: 1, 2: 1}), (0.99, {0: 39, 1: 9, 2: 2, 5: 1})]
)
def test_hold_out_takes_the_share_of_every_group_and_leaves_one_on_each_side(groups, share, held):
    kept, out = hold_out(groups, share, seed=3)
    labels = np.array(GROUPS)
    assert {group: int((labels[out] == group).sum()) for group in set(labels[out].tolist())} == held
    assert sorted([*kept.tolist(), *out.tolist()]) == list(range(len(GROUPS)))
    assert kept.tolist() == sorted(kept.tolist()) and out.tolist() == sorted(out.tolist())


def test_hold_out_follows_its_seed_and_takes_any_member():
    assert torch.equal(hold_out(GROUPS, 0.3, 3)[1], hold_out(GROUPS, 0.3, 3)[1])
    assert not torch.equal(hold_out(GROUPS, 0.3, 3)[1], hold_out(GROUPS, 0.3, 4)[1])
    times = np.bincount(np.concatenate([hold_out([0] * 10, 0.3, seed)[1].numpy() for seed in range(1000)]), minlength=10)
    assert (abs(times - 300) < 5 * (1000 * 0.3 * 0.7) ** 0.5).all()  # five deviations of a count of rate 0.3


def test_one_hot_marks_the_label():
    assert one_hot(torch.tensor([2, 0], dtype=torch.uint8), 3, "data=x").tolist() == [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    assert one_hot(torch.tensor([1]), 3, "data=x").dtype == torch.float32


@pytest.mark.parametrize(
    ("labels", "message"),
    [([0, 3, 1, 4], "2 labels .* 3 classes .0 to 2.; the first is 3 at sample 1"), ([0, 1, -1], "1 labels .* is -1 at sample 2")],
)
def test_one_hot_names_the_first_label_outside_the_classes(labels, message):
    with pytest.raises(DataError, match=f"data=x: {message}"):
        one_hot(torch.tensor(labels), 3, "data=x")


TABLES = [
    (Digits(), sklearn.datasets.load_digits, 16, 1797, (1, 8, 8), "classification", 10),
    (Iris(), sklearn.datasets.load_iris, 1, 150, (4,), "classification", 3),
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
def test_samples_of_tables_keep_their_targets_and_classes_their_shares(source, sklearns, scale, count, shape, task, outputs):
    data, bunch = source.load(), sklearns()
    target_of = dict(zip(map(tuple, (bunch.data / scale).astype(np.float32).tolist()), bunch.target.tolist()))
    parts = {"train": data.train, "val": data.val, "test": data.test}
    truths = {name: np.array([target_of[tuple(row)] for row in part.images.flatten(1).tolist()]) for name, part in parts.items()}
    for name, truth in truths.items():
        expected = {
            "classification": lambda: np.eye(outputs)[truth],
            "binary": lambda: truth[:, None],
            "regression": lambda: (truth[:, None] - truths["train"].mean()) / truths["train"].std(),
        }[task]()
        assert_close(parts[name].targets.double().numpy(), expected.astype(np.float64), rtol=1e-5, atol=1e-5)  # float32
    groups = {name: np.zeros(len(truth), int) if task == "regression" else truth for name, truth in truths.items()}
    whole = sum(np.bincount(labels, minlength=10) for labels in groups.values())
    # A group's share is rounded, so half a sample off; validation's is rounded of what the test's rounding left.
    assert (abs(np.bincount(groups["test"], minlength=10) - source.test_share * whole) <= 0.5).all()
    assert (abs(np.bincount(groups["val"], minlength=10) - source.val_share * whole) <= 1).all()


def test_facts_of_the_tables():
    digits, cancer = Digits().load(), BreastCancer().load()
    assert digits.classes == tuple("0123456789") and digits.train.images.max() == 1 and digits.train.images.min() == 0
    assert Iris().load().classes == ("setosa", "versicolor", "virginica")
    assert cancer.classes == ("malignant", "benign")
    assert sum(part.targets.sum().item() for part in (cancer.train, cancer.val, cancer.test)) == 357  # benign ones (Street et al., 1993)
    assert Diabetes().load().classes == ()


def test_the_split_seed_alone_decides_who_is_held_out():
    first, again, other = (Iris(split_seed=seed).load().test.images for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert len(Iris(val_share=0.0).load().val) == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"val_share": 1.0}, r"val_share must be in \[0, 1\)"),
        ({"test_share": 0.0}, r"test_share must be in \(0, 1\)"),
        ({"val_share": 0.5, "test_share": 0.5}, r"val_share \+ test_share must be < 1, got 1.0"),
        ({"split_seed": -1}, "split_seed must be >= 0"),
    ],
)
def test_shares_out_of_range_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Iris(**fields).load()


@pytest.fixture
def pictures():
    return np.random.default_rng(0).integers(0, 256, (20, 6, 4, 3), dtype=np.uint8)


@pytest.fixture
def root(tmp_path, pictures):
    """ROOT/train/{ant,bee}, 5 and 10 images, and ROOT/test/{ant,bee}, 2 and 3; in this order those of `pictures`."""
    arriving = iter(pictures)
    for part, name, count in (("train", "ant", 5), ("train", "bee", 10), ("test", "ant", 2), ("test", "bee", 3)):
        (tmp_path / part / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(next(arriving)).save(tmp_path / part / name / f"{number:02}.png")
    return tmp_path


def test_image_folder_reads_every_pixel_and_takes_classes_from_folders(root, pictures):
    (root / "train" / "ant" / "notes.txt").write_text("no image")
    (root / "train" / ".cache").mkdir()
    data = ImageFolder(root=str(root), val_share=0.0).load()
    assert (data.classes, data.task, data.input_shape) == (("ant", "bee"), "classification", (3, 6, 4))
    assert torch.equal(data.train.images, torch.from_numpy(pictures[:15]).permute(0, 3, 1, 2))
    assert torch.equal(data.test.images, torch.from_numpy(pictures[15:]).permute(0, 3, 1, 2))
    assert data.train.targets.argmax(1).tolist() == [0] * 5 + [1] * 10 and data.test.targets.tolist() == [[1, 0]] * 2 + [[0, 1]] * 3
    assert len(data.val) == 0


def test_image_folder_holds_out_by_class_where_there_is_no_val_folder(root):
    data = ImageFolder(root=str(root), val_share=0.2).load()
    assert (data.train.targets.sum(0).tolist(), data.val.targets.sum(0).tolist()) == ([4, 8], [1, 2])


def test_image_folder_takes_a_val_folder_whole(root, pictures):
    (root / "val" / "bee").mkdir(parents=True)
    Image.fromarray(pictures[0]).save(root / "val" / "bee" / "x.png")
    data = ImageFolder(root=str(root), val_share=0.2).load()
    assert (len(data.train), data.val.targets.tolist()) == (15, [[0, 1]])


def test_grey_images_have_one_channel(root, pictures):
    for path in root.rglob("*.png"):
        Image.fromarray(pictures[0, :, :, 0]).save(path)
    data = ImageFolder(root=str(root)).load()
    assert data.input_shape == (1, 6, 4) and (data.test.images == torch.from_numpy(pictures[0, :, :, 0])).all()


def test_one_coloured_image_makes_all_coloured(root, pictures):
    for path in root.glob("train/*/*.png"):
        Image.fromarray(pictures[0, :, :, 0]).save(path)
    data = ImageFolder(root=str(root)).load()
    assert data.input_shape == (3, 6, 4) and (data.train.images == torch.from_numpy(pictures[0, :, :, 0])).all()


def test_size_resizes_images_of_any_size(root):
    Image.new("RGB", (9, 30), (10, 20, 30)).save(root / "train" / "ant" / "00.png")
    data = ImageFolder(root=str(root), size=5, val_share=0.0).load()
    assert data.input_shape == (3, 5, 5)
    assert (data.train.images[0] == torch.tensor([10, 20, 30]).view(3, 1, 1)).all()  # one colour stays that colour


def test_images_that_differ_in_size_need_a_size(root):
    Image.new("RGB", (9, 30)).save(root / "train" / "bee" / "03.png")
    with pytest.raises(DataError, match="00.png has 4x6 pixels, .*bee/03.png has 9x30; data.size=N"):
        ImageFolder(root=str(root)).load()


def empty(folder):
    for path in folder.iterdir():
        path.unlink()


def truncate(path):
    path.write_bytes(path.read_bytes()[:90])


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda root: (root / "train").rename(root / "training"), "train: no such folder"),
        (lambda root: (root / "test").rename(root / "testing"), "test: no such folder"),
        (lambda root: (root / "test" / "ant").rename(root / "test" / "aunt"), "test/aunt: a class that train/ does not have; it has ant"),
        (lambda root: empty(root / "train" / "bee"), "train/bee: no images in it"),
        (lambda root: [empty(root / "test" / name) for name in ("ant", "bee")], "test: no images in its class folders"),
        (lambda root: (root / "test" / "ant" / "01.png").write_bytes(b"not a picture"), "test/ant/01.png: not an image that can be read"),
        (lambda root: truncate(root / "train" / "bee" / "02.png"), "train/bee/02.png: not an image that can be read"),
    ],
)
def test_image_folder_names_what_is_wrong(break_it, message, root):
    break_it(root)
    with pytest.raises(DataError, match=message):
        ImageFolder(root=str(root)).load()


def test_image_folder_without_a_root_says_so(tmp_path):
    with pytest.raises(DataError, match="data.root=.*nowhere: no such folder"):
        ImageFolder(root=str(tmp_path / "nowhere")).load()


def test_a_train_folder_without_classes_is_refused(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match="train: no class folders in it"):
        ImageFolder(root=str(tmp_path)).load()


def write_idx(path, values):
    """The format of LeCun's page: 0, 0, 8 (unsigned bytes), the number of dimensions, each of them, the bytes."""
    path.write_bytes(struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes())


def vision(name: str, root, **fields) -> Vision:
    """The data set of conf/data/NAME.yaml."""
    settings = yaml.safe_load(conf.file("data", name).read_text())["data"]
    assert settings.pop("_target_") == "trainer.data.vision.Vision"
    return Vision(**{**settings, "root": str(root), **fields})


def write_mnist(raw, images, labels):
    raw.mkdir(parents=True)
    for part, rows in (("train", slice(0, 30)), ("t10k", slice(0, 30, 3))):
        write_idx(raw / f"{part}-images-idx3-ubyte", images[rows])
        write_idx(raw / f"{part}-labels-idx1-ubyte", labels[rows])


IMAGES = np.random.default_rng(0).integers(0, 256, (30, 28, 28), dtype=np.uint8)


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_mnist_is_read_from_idx_files(name, folder, tmp_path):
    images, labels = IMAGES, np.repeat(np.arange(10, dtype=np.uint8), 3)
    write_mnist(tmp_path / folder / "raw", images, labels)
    data = vision(name, tmp_path, val_share=0.3).load()
    assert (data.task, data.input_shape, data.outputs, len(data.classes)) == ("classification", (1, 28, 28), 10, 10)
    assert data.val.targets.sum(0).tolist() == [1] * 10 and data.train.targets.sum(0).tolist() == [2] * 10
    assert torch.equal(data.test.images, torch.from_numpy(images[::3]).unsqueeze(1)) and torch.equal(data.test.targets, torch.eye(10))
    for part in (data.train, data.val):
        places = [int(np.flatnonzero((images == image.numpy()).all((1, 2)))[0]) for image in part.images]
        assert labels[places].tolist() == part.targets.argmax(1).tolist()


def test_colour_images_become_channels_first():
    array = np.random.default_rng(0).integers(0, 256, (4, 32, 30, 3), dtype=np.uint8)
    images, labels = pixels(SimpleNamespace(data=array, targets=[3, 1, 0, 9]))
    assert images.shape == (4, 3, 32, 30) and images.is_contiguous() and labels.tolist() == [3, 1, 0, 9]
    assert all(images[2, c, 5, 7] == array[2, 5, 7, c] for c in range(3))


def test_a_label_outside_the_classes_is_an_error_that_says_where(tmp_path):
    labels = np.repeat(np.arange(10, dtype=np.uint8), 3)
    labels[4] = 17
    write_mnist(tmp_path / "MNIST" / "raw", IMAGES, labels)
    with pytest.raises(DataError, match="1 labels are outside the 10 classes .0 to 9.; the first is 17 at sample 4"):
        vision("mnist", tmp_path).load()


@pytest.mark.parametrize(("name", "source"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST"), ("cifar10", "CIFAR10")])
def test_missing_files_are_an_error_that_says_what_to_do(name, source, tmp_path):
    with pytest.raises(DataError, match=f"no {source} files in .*; data.root=DIR says where they are, data.download=true fetches them"):
        vision(name, tmp_path).load()


@pytest.mark.parametrize("source", ["Nonsense", "mnist", "utils"])
def test_a_source_must_be_a_set_of_torchvision(source, tmp_path):
    with pytest.raises(ValueError, match=f"source must be a data set of torchvision.datasets, got {source}"):
        vision("mnist", tmp_path, source=source).load()


def test_files_that_cannot_be_read_are_an_error(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        (raw / name).write_bytes(gzip.compress(b"still packed"))
    with pytest.raises(DataError, match="the MNIST files in .* cannot be read"):
        vision("mnist", tmp_path).load()


@pytest.fixture
def uint8_split():
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (25, 2, 3, 3), dtype=np.uint8))
    return Split(images, torch.arange(25.0).view(25, 1))


@pytest.mark.parametrize("preprocess", [Nothing(), Center(), Standardize(), ChannelStandardize()])
def test_a_loader_gives_the_same_numbers_converted_once_or_batch_by_batch(preprocess, uint8_split, monkeypatch):
    apply = preprocess.fit(uint8_split.images)
    once = Loader(uint8_split, apply, CPU)
    monkeypatch.setattr("trainer.data.loader.CONVERTED_LIMIT", 0)
    each = Loader(uint8_split, apply, CPU)
    assert (once.images.dtype, each.images.dtype) == (torch.float32, torch.uint8)
    indices = torch.tensor([3, 24, 3, 0])
    for left, right in [(once.batch(indices), each.batch(indices)), *zip(once.in_order(10), each.in_order(10), strict=True)]:
        assert torch.equal(left[0], right[0]) and torch.equal(left[1], right[1])
    assert torch.equal(once.batch(indices)[0], apply(uint8_split.images[indices]))
    assert once.batch(indices)[1].flatten().tolist() == [3, 24, 3, 0]


def test_in_order_gives_every_sample_once_in_the_order_of_the_set(uint8_split):
    loader = Loader(uint8_split, Nothing().fit(uint8_split.images), CPU)
    parts = [targets.flatten().tolist() for _, targets in loader.in_order(10)]
    assert len(loader) == 25 and [len(part) for part in parts] == [10, 10, 5] and sum(parts, []) == list(range(25))


def test_take_gives_the_samples_of_the_indices():
    part = take(torch.arange(10), torch.arange(10) * 2, torch.tensor([4, 1]))
    assert (part.images.tolist(), part.targets.tolist(), len(part)) == ([4, 1], [8, 2], 2)
