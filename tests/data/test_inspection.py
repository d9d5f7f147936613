"""Remarks on data sets from which nothing can be learnt, whatever kind they are."""

from dataclasses import replace

import pytest
import torch

from trainer.data.image_files import LazyImages
from trainer.data.inspection import notes_on
from trainer.data.sklearn import BreastCancer, Diabetes, Digits, Iris, Photos
from trainer.data.splits import Split, Splits

USUAL = [Digits(), Iris(), BreastCancer(), Diabetes(), Photos()]


@pytest.mark.parametrize("source", USUAL)
def test_nothing_is_said_of_usual_data(source):
    assert notes_on(source.load()) == []


def with_train(data: Splits, images=None, targets=None) -> Splits:
    images = data.train.images if images is None else images
    return replace(data, train=Split(images, data.train.targets if targets is None else targets))


@pytest.mark.parametrize("source", USUAL)
@pytest.mark.parametrize("lazy", [False, True])
def test_inputs_that_are_all_the_same_are_told(source, lazy):
    data = source.load()
    images = data.train.images[:1].expand(data.train.images.shape)
    if lazy:
        images = LazyImages(images, torch.arange(len(images)))
    kind = "images" if len(data.input_shape) == 3 else "inputs"
    (note,) = notes_on(with_train(data, images=images))
    assert note.startswith(f"all {len(data.train):,} training {kind} are the same: nothing can be learnt")


@pytest.mark.parametrize("place", [0, 1, 2, 255, 256, 257, -1])
def test_one_input_that_differs_is_enough_wherever_it_is(place):
    data = Digits().load()
    images = data.train.images[:1].repeat(len(data.train), 1, 1, 1)
    images[place, 0, 3, 3] += 0.1
    assert notes_on(with_train(data, images=images)) == []


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        (Iris(), [0.0, 1.0, 0.0], "are of one class, versicolor"),
        (BreastCancer(), [0.0], "are of one class, malignant"),
        (BreastCancer(), [1.0], "are of one class, benign"),
        (Diabetes(), [0.25], "have the target 0.25"),
    ],
)
def test_targets_that_are_all_the_same_are_told(source, target, said):
    data = source.load()
    targets = torch.tensor(target).expand(len(data.train), len(target))
    (note,) = notes_on(with_train(data, targets=targets))
    assert note == f"all {len(data.train)} training samples {said}: nothing can be learnt from them"


def test_a_run_says_it_before_it_trains(tmp_path, run_in_process):
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("L", (8, 8), 255).save(tmp_path / "set" / name / f"{number}.png")
    root = tmp_path / "set"
    words = ("data=image_folder", f"data.root={root}", "model=linear", "epochs=1", "batch_size=5", "threads=1")
    code, out, err = run_in_process(*words, "device=cpu")
    assert code == 0, err
    assert out.index("note: all 14 training images are the same") < out.index("epoch 1/1")
