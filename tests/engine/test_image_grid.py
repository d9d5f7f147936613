"""The grid of a preview: images in their own colours, exact labels, augmentations as training draws them."""

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trainer.config.hydra_context import Invocation
from trainer.config.instantiate import factory
from trainer.data.splits import Split, Splits
from trainer.engine.image_grid import draw, label, make_image_grid


def made(composed, *words):
    cfg = composed(*words)
    data = factory(cfg, "data", Invocation())().load()
    return make_image_grid(cfg, data, Invocation()), data


def test_the_first_of_each_row_is_a_training_image_in_its_own_colours(composed):
    grid, data = made(composed, "data=photos", "aug=[color_jitter]")
    assert grid.images.shape == (6, 7, *data.input_shape[1:], 3)
    originals = {image.permute(1, 2, 0).numpy().tobytes() for image in data.train.images}
    back = (grid.images[:, 0] * 255).round().byte()  # preprocessing and back costs less than half a grey level
    assert all(image.contiguous().numpy().tobytes() in originals for image in back)


def test_each_view_is_a_draw_of_its_own_and_the_same_in_every_call(composed):
    first, _ = made(composed, "aug=[rotate]")
    again, _ = made(composed, "aug=[rotate]")
    assert torch.equal(first.images, again.images) and "draws of rotate" in first.title
    assert len({first.images[0, view].numpy().tobytes() for view in range(7)}) == 7


def test_without_augmentations_every_image_is_another_sample(composed):
    plain, data = made(composed)
    flat, names = plain.images.flatten(0, 1)[..., 0], [name for row in plain.labels for name in row]
    assert len(flat) == len(names) == 42 == len({image.numpy().tobytes() for image in flat})
    for image, name in zip(flat, names):  # digits have 17 shades of grey: the nearest sample is the sample
        nearest = (data.train.images[:, 0] - image).abs().sum((1, 2)).argmin()
        assert (data.train.images[nearest, 0] - image).abs().max() < 1e-5
        assert data.classes[int(data.train.targets[nearest].argmax())] == name
    few, _ = made(composed, "data.val_fraction=0", "data.test_fraction=0.99", "batch_size=4")
    assert few.images.shape[:2] == (2, 7) == (len(few.labels), len(few.labels[0]))


def test_labels_are_the_probabilities_of_the_two_largest_classes():
    empty = Split(torch.zeros(1, 1, 2, 2), torch.zeros(1, 3))
    data = Splits(train=empty, val=empty, test=empty, task="classification", classes=("cat", "dog", "owl"))
    assert label(torch.tensor([0.0, 1.0, 0.0]), data) == "dog"
    assert label(torch.tensor([0.3, 0.0, 0.7]), data) == "owl 0.70\ncat 0.30"
    binary = Splits(train=empty, val=empty, test=empty, task="binary", classes=("bad", "good"))
    assert label(torch.tensor([0.25]), binary) == "bad 0.75\ngood 0.25"
    assert label(torch.tensor([1.0]), binary) == "good"
    regression = Splits(train=empty, val=empty, test=empty, task="regression")
    assert label(torch.tensor([1.23456]), regression) == "1.23"
    assert label(torch.tensor([1.23456, -2.0]), regression) == "1.23, -2"


@pytest.mark.parametrize("count", [1, 2])
def test_a_view_is_drawn_at_the_time_of_its_epoch_also_by_warps_that_are_fused(composed, count):
    drifts = [f"+aug.drift{number}._target_=augmenting.Drift" for number in range(count)]
    cfg = composed("preprocess=none", *drifts)
    allowing = Invocation(overrides=("allow=[augmenting]",))
    grid = make_image_grid(cfg, factory(cfg, "data", allowing)().load(), allowing)
    for view in range(6):
        moved = torch.nn.functional.pad(grid.images[:, 0], (0, 0, count * view, 0))[:, :, :8]
        torch.testing.assert_close(grid.images[:, 1 + view], moved, rtol=0, atol=1e-5)


def test_tables_have_no_images(composed):
    assert made(composed, "data=iris", "model=mlp")[0] is None


def test_the_grid_is_drawn_to_a_file_and_for_tensorboard(composed, tmp_path):
    path = draw(made(composed, "aug=[mixup]", "reg=label_smoothing")[0], tmp_path)
    assert path == tmp_path / "preview-images.png" and path.read_bytes()[:4] == b"\x89PNG"
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    (image,) = events.Images("preview")
    assert image.width > 500 and image.height > 500
