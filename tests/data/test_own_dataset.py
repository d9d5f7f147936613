"""Data sets of the user's own, as a Dataset of torch: which samples a run gets of them, and what is refused."""

import numpy as np
import pytest
import torch
from conftest import only_run

from trainer.config import catalog
from trainer.rundir.reader import read_summary

HEAD = """
import random
import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset

class Base(Dataset):
    '''Rows of three numbers, of which the first is the index, and in the test split that and 1000.'''
    count = 30

    def __init__(self, root="."):
        self.first = 0

    def __len__(self):
        return self.count

    def row(self, index):
        return torch.tensor([self.first + index, 0.0, 1.0])

    def label(self, index):
        return index % 3

    def __getitem__(self, index):
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.row(index), self.label(index)
"""
TRAIN = """
class Mine(Base):
    def __init__(self, root, train=True, transform=None):
        self.first = 0 if train else 1000
        self.count = 30 if train else 9
"""


def method(signature, body):
    """A class with one method of its own; in the file it begins at line 28."""
    return f"class Mine(Base):\n    def {signature}:\n        {body}\n"


def item(value):
    return method("__getitem__(self, index)", f"return {value}")


def row(value):
    return method("row(self, index)", f"return {value}")


def label(value):
    return method("label(self, index)", f"return {value}")


@pytest.fixture
def made(package, tmp_path):
    """Return a function that writes a class Mine and its option, and returns the words that choose it."""

    def write(source: str, keys: str = "root: .", overrides: str = "model: linear") -> tuple[str, ...]:
        name = package(HEAD + source)
        option = tmp_path / "options" / "data" / "mine.yaml"
        option.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"  - override /{line}" for line in (overrides, "loss: auto", "preprocess: none")]
        fields = [f"  {key.strip()}".replace("NAME", name) for key in keys.split(";") if key.strip()]
        head = ["# @package _global_", "# Mine.", "defaults:", *lines, "data:", f"  _target_: {name}.Mine"]
        option.write_text("\n".join([*head, *fields, ""]))
        return ("--config-dir", str(option.parent.parent), f"allow=[{name}]", "data=mine", "threads=1", "device=cpu")

    yield write
    catalog.extra_folders.clear()


@pytest.fixture
def data_of(made, setup_of):
    """Return a function that builds a run on a class of one's own, and returns the run."""

    def load(source: str, *words: str, keys: str = "root: .", **options):
        typed = (*made(source, keys, **options), "epochs=1", *words)
        return setup_of(" ".join(typed)).run

    return load


def firsts(split):
    """The first numbers of the inputs of a split."""
    return sorted(split.batch(torch.arange(len(split)))[0].flatten(1)[:, 0].int().tolist())


def notes(run):
    return "\n".join(run.data.notes)


# Splits


def test_the_argument_train_gives_train_and_test_and_validation_is_held_out(data_of):
    run = data_of(TRAIN)
    assert firsts(run.test) == list(range(1000, 1009))
    assert sorted(firsts(run.train) + firsts(run.val)) == list(range(30))
    assert run.val.targets.sum(0).tolist() == [1, 1, 1]  # a tenth of each class
    assert "target: classification; 3 classes: 0 13, 1 13, 2 13" in notes(run)


@pytest.mark.parametrize(
    "names",
    [
        "train val test", "train valid test", "train validation test", "training validation testing", "Train Val Test",
        "TRAIN VAL TEST", "train dev test",
    ],
)  # fmt: skip
@pytest.mark.parametrize("argument", ["split", "mode", "phase", "subset"])
def test_the_argument_split_gives_each_split_by_the_name_that_the_class_knows(names, argument, data_of):
    first, *_ = known = names.split()
    default = "" if first == "train" else f'="{first}"'
    run = data_of(
        f"""
class Mine(Base):
    def __init__(self, {argument}{default}):
        self.first = {{name: 1000 * place for place, name in enumerate({known})}}[{argument}]
        self.count = 30 if self.first == 0 else 9
""",
        keys="",
    )
    assert firsts(run.train) == list(range(30))
    assert firsts(run.val) == list(range(1000, 1009)) and firsts(run.test) == list(range(2000, 2009))


def test_a_split_that_the_class_refuses_is_held_out_and_said(data_of):
    source = """
class Mine(Base):
    def __init__(self, split="train"):
        if split not in ("train", "test"):
            raise ValueError(f"unknown split {split}")
        self.first, self.count = (0, 30) if split == "train" else (1000, 9)
"""
    run = data_of(source, keys="")
    assert len(run.val) == 3 and firsts(run.test) == list(range(1000, 1009))
    assert "no val split (split=val: ValueError: unknown split val)" in notes(run)
    run = data_of(source.replace('("train", "test")', '("train",)'), keys="")
    assert [len(part) for part in (run.train, run.val, run.test)] == [21, 3, 6]
    assert sorted(firsts(run.train) + firsts(run.val) + firsts(run.test)) == list(range(30))


def test_without_an_argument_both_are_held_out_as_the_option_says(data_of):
    source = "class Mine(Base):\n    pass\n"
    run = data_of(source)
    assert [len(part) for part in (run.train, run.val, run.test)] == [21, 3, 6]
    assert (
        "no test and no val split: data.test_fraction=0.2 and data.val_fraction=0.1 of every class held out"
        in notes(run)
    )
    run = data_of(
        source, "data.test_fraction=0.5", keys="root: .; val_fraction: 0.0; test_fraction: 0.2; split_seed: 4"
    )
    assert [len(part) for part in (run.train, run.val, run.test)] == [15, 0, 15]


@pytest.mark.parametrize("source", ["split", "train"])
def test_two_splits_with_the_same_samples_are_no_two_splits(source, data_of):
    """A class that takes any name for the test, or that shuffles only: nothing of the training is in the test."""
    classes = {
        "split": """
class Mine(Base):
    def __init__(self, split):
        self.first, self.count = (0, 30) if split == "train" else (1000, 9)
""",
        "train": "class Mine(Base):\n    def __init__(self, train=True):\n        self.first = 0\n",
    }
    run = data_of(classes[source], keys="")
    everything = firsts(run.train) + firsts(run.val) + firsts(run.test)
    assert len(set(everything)) == len(everything)
    said = {"split": "split=val and split=test", "train": "train=false and train=true"}[source]
    assert f"{said} give the same samples: {'val' if source == 'split' else 'test'} is held out instead" in notes(run)


def test_a_split_that_the_option_sets_is_the_only_one_that_is_read(data_of):
    run = data_of(TRAIN, keys="root: .; train: false")
    assert sorted(firsts(run.train) + firsts(run.val) + firsts(run.test)) == list(range(1000, 1009))
    assert "data=mine sets train=false: only these samples are read; without that key, each split is" in notes(run)


def test_an_argument_of_another_meaning_is_none_of_a_split(data_of):
    source = method("__init__(self, mode='RGB', train=0.5, set=None)", "self.first = 0 if mode == 'RGB' else None")
    assert len(data_of(source, keys="").test) == 6


# Samples


ITEMS = {  # what __getitem__ returns for an index, and the input that the run has for index 5
    "floats": ("torch.full((3,), index / 10), 0", torch.full((3,), 0.5)),
    "doubles": ("np.full(3, index / 10), 0", torch.full((3,), 0.5)),
    "a list": ("[index / 10] * 3, 0", torch.full((3,), 0.5)),
    "whole numbers": ("torch.full((3,), index), 0", torch.full((3,), 5.0)),
    "a number": ("index / 10, 0", torch.tensor([0.5])),
    "a byte image": ("torch.full((3, 4, 5), index, dtype=torch.uint8), 0", torch.full((3, 4, 5), 5 / 255)),
    "an image of floats": ("torch.full((3, 4, 5), index / 10), 0", torch.full((3, 4, 5), 0.5)),
    "a grey image": ("torch.full((4, 5), index / 10), 0", torch.full((1, 4, 5), 0.5)),
    "channels last": ("np.full((4, 5, 3), index, dtype=np.uint8), 0", torch.full((3, 4, 5), 5 / 255)),
    "a grey picture": ("Image.new('L', (5, 4), index), 0", torch.full((1, 4, 5), 5 / 255)),
    "a coloured picture": ("Image.new('RGB', (5, 4), (index,) * 3), 0", torch.full((3, 4, 5), 5 / 255)),
    "a palette": ("Image.new('RGB', (5, 4), (index,) * 3).quantize(), 0", torch.full((3, 4, 5), 5 / 255)),
    "16 bits": ("Image.fromarray(np.full((4, 5), 1000 * index, np.uint16)), 0", torch.full((1, 4, 5), 5000.0)),
    "half precision": ("torch.full((3,), index / 4).bfloat16(), 0", torch.full((3,), 1.25)),
    "truth": ("torch.full((3,), index == 5), 0", torch.ones(3)),
    "a dict": ("dict(image=torch.full((3,), index / 10), label=0)", torch.full((3,), 0.5)),
    "hugging face": ("dict(pixel_values=torch.full((3,), index / 10), labels=0)", torch.full((3,), 0.5)),
    "three values": ("torch.full((3,), index / 10), 0, 'path'", torch.full((3,), 0.5)),
    "with a gradient": ("torch.full((3,), index / 10, requires_grad=True), 0", torch.full((3,), 0.5)),
    "reversed": ("np.arange(3)[::-1] + index, 0", torch.tensor([7.0, 6.0, 5.0])),
}  # fmt: skip


@pytest.mark.parametrize("residency", ["auto", "stream"])
@pytest.mark.parametrize("name", ITEMS)
def test_an_item_becomes_an_input(name, residency, data_of):
    value, wanted = ITEMS[name]
    words = (f"residency={residency}", "workers=1", "batch_size=full")
    run = data_of(item(value.replace(", 0", ", index % 2").replace("=0", "=index % 2")), *words)
    assert run.data.input_shape == tuple(wanted.shape)
    found = [part.batch(torch.arange(len(part)))[0] for part in (run.train, run.val, run.test)]
    assert any(torch.equal(image, wanted) for images in found for image in images)
    if residency == "stream":
        assert run.train.residency == "stream"
        streamed = torch.cat([images for images, _ in run.train.in_order(8)])
        assert torch.equal(streamed, found[0])


LABELS = {  # the target of an index: task, outputs, classes
    "index % 3": ("classification", 3, ("0", "1", "2")),
    "torch.tensor(index % 3)": ("classification", 3, ("0", "1", "2")),
    "torch.tensor([index % 3])": ("classification", 3, ("0", "1", "2")),
    "np.int64(index % 2)": ("classification", 2, ("0", "1")),
    "index % 2 == 0": ("classification", 2, ("0", "1")),
    "float(index % 2)": ("binary", 1, ("0", "1")),
    "torch.tensor([index % 2]).float()": ("binary", 1, ("0", "1")),
    "float(index % 3)": ("regression", 1, ()),
    "index / 7": ("regression", 1, ()),
    "torch.tensor([index / 7, index * 2.0])": ("regression", 2, ()),
    "[index / 7, index * 2, 1.0]": ("regression", 3, ()),
    "('ant', 'bee', 'cat')[index % 3]": ("classification", 3, ("ant", "bee", "cat")),
    "np.eye(3)[index % 3]": ("classification", 3, ("0", "1", "2")),
    "10 * (index % 3)": ("classification", 3, ("0", "10", "20")),
}


@pytest.mark.parametrize("value", LABELS)
def test_a_target_says_what_kind_of_data_it_is(value, data_of):
    task, outputs, classes = LABELS[value]
    run = data_of(label(value), keys="root: .; task: auto")
    assert (run.data.task, run.data.outputs, run.data.classes) == (task, outputs, classes)
    predicted = run.data.predicted
    for split in (run.train, run.val, run.test):
        images, targets = split.batch(torch.arange(len(split)))
        for image, target in zip(images, targets):
            known = eval(value, {"index": int(image[0]), "torch": torch, "np": np, "float": float})
            if task == "regression":
                found = target.double() * torch.tensor(predicted.deviation) + torch.tensor(predicted.mean)
                assert torch.allclose(found, torch.as_tensor(known, dtype=torch.float64).flatten(), atol=1e-4)
            else:
                place = int(target.argmax()) if task == "classification" else int(target[0])
                one_hot = isinstance(known, np.ndarray) and known.size > 1
                name = known if isinstance(known, str) else str(int(known.argmax() if one_hot else known))
                assert classes[place] == name


@pytest.mark.parametrize(
    "names, classes",
    [
        ('classes = ["ant", "bee", "cat", "dog"]', ("ant", "bee", "cat", "dog")),
        ('classes = ("ant", "bee", "cat")', ("ant", "bee", "cat")),
        ('class_to_idx = {"cat": 2, "ant": 0, "bee": 1}', ("ant", "bee", "cat")),
        ('classes = {0: "ant", 1: "bee", 2: "cat"}', ("ant", "bee", "cat")),
        ("classes = None", ("0", "1", "2")),
    ],
)
def test_classes_are_named_as_the_class_names_them(names, classes, data_of):
    assert data_of(f"class Mine(Base):\n    {names}\n").data.classes == classes


def test_a_transform_that_the_class_needs_is_given_and_one_of_the_option_is_made(data_of):
    source = """
class Mine(Base):
    def __init__(self, root, transform):
        self.transform = transform

    def __getitem__(self, index):
        return self.transform(Image.new("L", (4, 4), index)), index % 2

class Scale:
    def __init__(self, by):
        self.by = by

    def __call__(self, image):
        return np.asarray(image) / self.by
"""
    assert data_of(source).data.train.images.dtype == torch.uint8
    run = data_of(source, keys="root: .; transform: {_target_: NAME.Scale, by: 100.0}")
    images = torch.cat([part.batch(torch.arange(len(part)))[0] for part in (run.train, run.val, run.test)])
    assert torch.allclose(images[:, 0, 0, 0].sort().values, torch.arange(30) / 100)


def test_streamed_and_resident_runs_are_equal_bit_for_bit(made, run_in_process, tmp_path):
    source = (
        "class Mine(Base):\n    def row(self, index):\n        return torch.arange(12.0).view(3, 2, 2) * index / 400\n"
    )
    words = made(source)
    digests = []
    for residency in ("auto", "stream", "host"):
        output = f"output={residency}"
        code, _, errors = run_in_process(
            *words, "epochs=2", "batch_size=8", f"residency={residency}", output, "workers=2"
        )
        assert code == 0 and not errors, errors
        (summary,) = (tmp_path / residency).glob("*/*/summary.json")
        digests.append(read_summary(summary.parent)["weights_sha256"])
    assert len(set(digests)) == 1


def test_samples_that_draw_at_random_are_drawn_in_every_epoch_and_again_in_a_second_run(made, run_in_process, tmp_path):
    source = """
class Mine(Base):
    def row(self, index):
        return torch.tensor([index, random.random(), np.random.rand(), torch.rand(())])
"""
    words = made(source)
    digests = {}
    for output, workers in (("one", 1), ("two", 2), ("three", 2)):
        code, out, errors = run_in_process(*words, "epochs=2", "batch_size=8", f"workers={workers}", f"output={output}")
        assert code == 0 and not errors, errors
        assert "two readings of one differ, so that they are read anew in every epoch" in out
        (summary,) = (tmp_path / output).glob("*/*/summary.json")
        digests[output] = read_summary(summary.parent)["weights_sha256"]
    assert len(set(digests.values())) == 1


def test_random_samples_differ_from_epoch_to_epoch(data_of):
    run = data_of(
        "class Mine(Base):\n    def row(self, index):\n        return torch.tensor([index, torch.rand(())])\n"
    )
    assert run.train.residency == "stream"
    orders = [torch.randperm(len(run.train), generator=torch.Generator().manual_seed(seed)) for seed in (1, 2, 1)]
    drawn = []
    for order in orders:
        images = torch.cat([images for images, _ in run.train.batches(order.split(8))])
        drawn.append(images[images[:, 0].argsort()])
    assert torch.equal(drawn[0], drawn[2]) and not torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0][:, 0], drawn[1][:, 0])
    before = torch.get_rng_state()
    first, second = (run.train.batch(torch.arange(5))[0] for _ in range(2))
    assert torch.equal(first, second) and torch.equal(torch.get_rng_state(), before)


def test_many_slow_samples_are_read_by_workers(data_of, monkeypatch):
    from trainer.data import reading

    monkeypatch.setattr(reading, "ALONE", 0.0)
    monkeypatch.setattr(reading, "WORTH", 0.0)
    monkeypatch.setattr(reading, "cores", lambda: 2)
    run = data_of(row("torch.tensor([index, torch.utils.data.get_worker_info() is not None])") + "    count = 300\n")
    images = torch.cat([part.batch(torch.arange(len(part)))[0] for part in (run.train, run.val, run.test)])
    assert images[:, 0].sort().values.tolist() == list(range(300))
    assert int(images[:, 1].sum()) == 300 - reading.CHUNK


# Refusals


BARE = "    def __init__(self, root):\n        pass\n"
ITERATES = f"{BARE}    def __iter__(self):\n        yield 1, 2\n"
WRONG = {  # a class, the exit code and what is said
    "no length": (f"class Mine(Dataset):\n{BARE}    __getitem__ = Base.row\n", 2, ["has no length; write __len__()"]),
    "an iterable": (f"class Mine(IterableDataset):\n{ITERATES}", 2, ["an IterableDataset; shuffling and splits need"]),
    "a generator": (f"class Mine:\n{ITERATES}", 2, ["in an order of its own"]),
    "neither": (f"class Mine:\n{BARE}", 2, ["__getitem__(index) -> input, target", "load()"]),
    "no samples": ("class Mine(Base):\n    count = 0\n", 3, ["has no samples, its length is 0"]),
    "too few": (label("0.5") + "    count = 1\n", 3, ["1 samples are too few"]),
    "a file that is missing": (
        method("__init__(self, root)", "open('no/such/file')"),
        2, [".py:30) raises FileNotFoundError: [Errno 2] No such file or directory: 'no/such/file'"],
    ),
    "a ValueError": (method("__init__(self, root)", "raise ValueError('bad')"), 2, [".py:30) raises ValueError: bad"]),
    "a missing argument": (method("__init__(self, folder)", "pass"), 2, [".py:29) has no field root; its fields"]),
    "a mistake in __getitem__": (item("{}['x'], 0"), 3, [".py:30) raises KeyError: 'x' for sample 0"]),
    "a mistake at a sample": (label("index % 3 / (index != 17)"), 3, [".py:30) raises ZeroDiv", "for sample 17"]),
    "a mistake in __len__": (method("__len__(self)", "return len(self.files)"), 2, [":30) raises AttributeError"]),
    "a shape": (
        row("torch.ones(3 if index != 17 else 4)"),
        3, ["sample 17 has an input of shape (4,), and sample 0 of (3,); all must be alike (Mine (", ".py:24))"],
    ),
    "pictures of two modes": (
        row("Image.new('L' if index != 4 else 'RGB', (4, 4))"),
        3, ["sample 4 has an input of shape (3, 4, 4), and sample 0 of (1, 4, 4); convert all images to one mode"],
    ),
    "two types": (
        row("np.ones((4, 4), np.uint8 if index != 4 else float)"),
        3, ["sample 4 has an input of shape (1, 4, 4) of float32, and sample 0 of (1, 4, 4) of uint8"],
    ),
    "another shape in the test": (
        f"{TRAIN}    def row(self, index):\n        return torch.ones(3 if self.first == 0 else 4)\n",
        3, ["its inputs are 4, float32 in test and 3, float32 in train"],
    ),
    "a label beyond the classes": (
        label("index % 3 if index != 17 else 3") + "    classes = ['a', 'b', 'c']\n",
        3, ["sample 17 of train has the label 3; the 3 classes have the labels 0 to 2"],
    ),
    "a negative label": (
        label("index % 4 - 1") + "    classes = ['a', 'b', 'c']\n",
        3, ["sample 0 of train has the label -1, and 7 more are outside; the 3 classes"],
    ),
    "a label of the test alone": (
        f"{TRAIN}    def label(self, index):\n        return index % 3 + (self.first > 0)\n",
        3, ["sample 2 of test has the label 3, which no training sample has (they have 0 to 2)"],
    ),
    "one class": (label("1"), 3, ["the target is always 1"]),
    "no label": (item("self.row(index)"), 3, ["sample 0 is a Tensor; its items are pairs"]),
    "None": (item("None"), 3, ["sample 0 is None; its items are pairs"]),
    "a label of nothing": (label("None"), 3, ["sample 0 has None as its target"]),
    "a path": (row("'a.png'"), 3, ["sample 0 has a str as its input, where a tensor"]),
    "a mask": (label("torch.ones(4, 4)"), 3, ["has a Tensor of shape (4, 4) as its target"]),
    "labels of two kinds": (label("'a' if index == 9 else 1"), 3, ["sample 9 has a text as its target, and sample 0"]),
    "a dict": (item("dict(audio=1, speaker=2)"), 3, ["sample 0 has the keys audio, speaker; name them"]),
    "NaN": (row("torch.tensor([1, 0.0 if index != 3 else float('nan')])"), 3, ["sample 3 has an input that is not"]),
    "nothing": (row("torch.ones(0)"), 3, ["sample 0 has an empty input, of shape (0,)"]),
    "several classes": (label("torch.tensor([1.0, index % 2, 0.0])"), 3, ["targets that add up to 2, not to 1"]),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_one_line_with_the_class_and_the_sample(name, made, run_in_process, tmp_path):
    source, wanted, said = WRONG[name]
    code, out, errors = run_in_process(*made(source), "epochs=1")
    assert code == wanted and len(errors.splitlines()) == 1 and errors.startswith("train: data"), errors
    assert all(part in errors for part in said), errors
    assert not (tmp_path / "outputs").exists()


def test_a_sample_that_fails_later_ends_the_run_in_one_line(made, run_in_process, tmp_path):
    """The file behind a sample goes while the run goes on: in a worker process."""
    source = """
import os

class Mine(Base):
    def row(self, index):
        if index == 17 and os.path.exists("marker"):
            raise FileNotFoundError("17.png")
        return torch.tensor([index, torch.rand(())])

    def __init__(self, root):
        self.first = 0
        self.reads = 0

class Later:
    def __call__(self, now):
        if now.step > 10:
            open("marker", "w").close()
        return 1.0
"""
    words = made(source)
    name = words[2].removeprefix("allow=[").removesuffix("]")
    (tmp_path / "options" / "sched").mkdir()
    (tmp_path / "options" / "sched" / "later.yaml").write_text(f"# Later.\n_target_: {name}.Later\n")
    code, _, errors = run_in_process(*words, "sched=later", "epochs=40", "batch_size=8", "workers=1")
    assert code == 3 and len(errors.splitlines()) == 1, errors
    assert f"Mine ({name}.py:" in errors and "raises FileNotFoundError: 17.png for sample 17" in errors, errors


def test_a_key_that_the_option_lacks_says_where_to_add_it(made, run_in_process):
    words = made("class Mine(Base):\n    pass\n")
    code, _, errors = run_in_process(*words, "data.val_fraction=0.3")
    assert code == 2 and "data=mine has data.root=." in errors and "options/data/mine.yaml may set others" in errors, (
        errors
    )


def test_a_run_on_a_data_set_of_one_s_own_finishes_and_resumes(made, run_in_process, tmp_path):
    words = made(TRAIN)
    code, _, errors = run_in_process(*words, "epochs=1")
    assert code == 0 and not errors, errors
    run = only_run(tmp_path)
    code, out, errors = run_in_process(*words[:3], f"resume={run}", "epochs=+1")
    assert code == 0 and not errors and read_summary(run)["epochs"] == 2, errors
