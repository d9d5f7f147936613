"""The preview's pictures: real colours, honest labels, the augmentations as training would draw them."""

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trainer.config import instantiate
from trainer.data.splits import Split, Splits
from trainer.engine import image_grid


def made(composed, *words):
    cfg = composed(*words)
    data = instantiate.node(cfg, "data")().load()
    return image_grid.sheet_of(cfg, data), data


def test_the_first_of_each_row_is_a_training_image_in_its_own_colours(composed):
    pictures, data = made(composed, "data=photos", "aug=[color_jitter]")
    assert pictures.pictures.shape == (6, 7, *data.input_shape[1:], 3)
    originals = {image.permute(1, 2, 0).numpy().tobytes() for image in data.train.images}
    back = (pictures.pictures[:, 0] * 255).round().byte()  # preprocessing and back costs less than half a grey level
    assert all(picture.contiguous().numpy().tobytes() in originals for picture in back)


def test_each_view_is_a_draw_of_its_own_and_the_same_in_every_call(composed):
    first, _ = made(composed, "aug=[rotate]")
    again, _ = made(composed, "aug=[rotate]")
    assert torch.equal(first.pictures, again.pictures)
    assert len({first.pictures[0, view].numpy().tobytes() for view in range(7)}) == 7


def test_without_augmentations_every_picture_is_another_sample(composed):
    plain, data = made(composed)
    flat, names = plain.pictures.flatten(0, 1)[..., 0], [name for row in plain.labels for name in row]
    assert len(flat) == len(names) == 42 == len({picture.numpy().tobytes() for picture in flat})
    for picture, name in zip(flat, names):  # digits have 17 shades of grey: the nearest sample is the sample
        nearest = (data.train.images[:, 0] - picture).abs().sum((1, 2)).argmin()
        assert (data.train.images[nearest, 0] - picture).abs().max() < 1e-5 and data.classes[
            int(data.train.targets[nearest].argmax())
        ] == name
    few, _ = made(composed, "data.val_fraction=0", "data.test_fraction=0.99", "batch_size=4")
    assert few.pictures.shape[:2] == (2, 7) == (len(few.labels), len(few.labels[0]))


def test_labels_are_the_shares_of_the_two_largest_classes():
    empty = Split(torch.zeros(1, 1, 2, 2), torch.zeros(1, 3))
    data = Splits(train=empty, val=empty, test=empty, task="classification", classes=("cat", "dog", "owl"))
    assert image_grid.label(torch.tensor([0.0, 1.0, 0.0]), data) == "dog"
    assert image_grid.label(torch.tensor([0.3, 0.0, 0.7]), data) == "owl 0.70\ncat 0.30"
    binary = Splits(train=empty, val=empty, test=empty, task="binary", classes=("bad", "good"))
    assert (
        image_grid.label(torch.tensor([0.25]), binary) == "bad 0.75\ngood 0.25"
        and image_grid.label(torch.tensor([1.0]), binary) == "good"
    )
    numbers = Splits(train=empty, val=empty, test=empty, task="regression")
    assert image_grid.label(torch.tensor([1.23456]), numbers) == "1.23"


def test_tables_have_no_pictures(composed):
    assert made(composed, "data=iris", "model=mlp")[0] is None


def test_the_sheet_is_drawn_to_a_file_and_for_tensorboard(run_in_process, tmp_path):
    code, out, errors = run_in_process("task=preview", "aug=[mixup]", "reg=label_smoothing", "epochs=2")
    assert code == 0, errors
    (picture,) = tmp_path.glob("outputs/*/*/preview-images.png")
    assert picture.read_bytes()[:4] == b"\x89PNG" and "preview-images.png" in out
    events = EventAccumulator(str(picture.parent))
    events.Reload()
    (image,) = events.Images("preview")
    assert image.width > 500 and image.height > 500
