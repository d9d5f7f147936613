"""Image folders, written by the tests."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from trainer.base.errors import DataError
from trainer.data.image_decoding import Decoder
from trainer.data.image_folder import ImageFolder


def test_image_folder_reads_every_pixel_and_takes_classes_from_folders(root, pictures):
    (root / "train" / "ant" / "notes.txt").write_text("no image")
    (root / "train" / ".cache").mkdir()
    data = ImageFolder(root=str(root), val_fraction=0.0).load()
    assert (data.classes, data.task, data.input_shape) == (("ant", "bee"), "classification", (3, 6, 4))
    assert torch.equal(data.train.images, torch.from_numpy(pictures[:15]).permute(0, 3, 1, 2))
    assert torch.equal(data.test.images, torch.from_numpy(pictures[15:]).permute(0, 3, 1, 2))
    assert (
        data.train.targets.argmax(1).tolist() == [0] * 5 + [1] * 10
        and data.test.targets.tolist() == [[1, 0]] * 2 + [[0, 1]] * 3
    )
    assert len(data.val) == 0


def test_image_folder_holds_out_by_class_where_there_is_no_val_folder(root):
    data = ImageFolder(root=str(root), val_fraction=0.2).load()
    assert (data.train.targets.sum(0).tolist(), data.val.targets.sum(0).tolist()) == ([4, 8], [1, 2])


def test_image_folder_takes_a_val_folder_whole(root, pictures):
    (root / "val" / "bee").mkdir(parents=True)
    Image.fromarray(pictures[0]).save(root / "val" / "bee" / "x.png")
    data = ImageFolder(root=str(root), val_fraction=0.2).load()
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
    data = ImageFolder(root=str(root), size=5, val_fraction=0.0).load()
    assert data.input_shape == (3, 5, 5)
    assert (data.train.images[0] == torch.tensor([10, 20, 30]).view(3, 1, 1)).all()  # one colour stays that colour


def test_images_that_differ_in_size_need_a_size(root):
    Image.new("RGB", (9, 30)).save(root / "train" / "bee" / "03.png")
    sizes = "from 4x6 pixels .train/ant/00.png. to 9x30 pixels .train/bee/03.png."
    with pytest.raises(DataError, match=f"images differ in size, {sizes}; type data.size=N .*, as data.size=4$"):
        ImageFolder(root=str(root)).load()


def empty(folder):
    for path in folder.iterdir():
        path.unlink()


def truncate(path):
    path.write_bytes(path.read_bytes()[:90])


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda root: (root / "train").rename(root / "lessons"), "has lessons/, test/ but no train/"),
        (
            lambda root: (root / "test" / "ant").rename(root / "test" / "aunt"),
            "test/aunt: no such class in train/; did you mean ant",
        ),
        (lambda root: empty(root / "train" / "bee"), "train/bee: contains no images"),
        (lambda root: [empty(root / "test" / name) for name in ("ant", "bee")], "test: no images of a class"),
        (
            lambda root: (root / "test" / "ant" / "01.png").write_bytes(b"not a picture"),
            "test/ant/01.png: not a readable image",
        ),
        (lambda root: truncate(root / "train" / "bee" / "02.png"), "train/bee/02.png: not a readable image"),
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
    with pytest.raises(DataError, match="train: contains no class folders with images; expected train/CLASS/.$"):
        ImageFolder(root=str(tmp_path)).load()


@pytest.fixture
def with_bad(root):
    """The folder with two files that are no images, one at the very start."""
    (root / "train" / "ant" / "00.png").write_bytes(b"no picture")
    truncate(root / "test" / "bee" / "01.png")
    return root


@pytest.mark.parametrize("cache", ["auto", "none"])
def test_bad_files_are_skipped_and_counted(cache, with_bad, pictures):
    for _ in range(2):
        data = ImageFolder(root=str(with_bad), on_error="skip", val_fraction=0.0, cache=cache).load()
        good = [number for number in range(20) if number not in (0, 18)]
        assert torch.equal(data.train.sample(), torch.from_numpy(pictures[1:15]).permute(0, 3, 1, 2))
        assert (
            torch.equal(data.test.sample(), torch.from_numpy(pictures[[15, 16, 17, 19]]).permute(0, 3, 1, 2))
            and len(good) == 18
        )
        assert data.train.targets.argmax(1).tolist() == [0] * 4 + [1] * 10 and data.test.targets.argmax(1).tolist() == [
            0,
            0,
            1,
            1,
        ]
        assert data.notes == ("left out: 2 not readable (train/ant/00.png, test/bee/01.png)",)


def test_bad_files_stop_the_run_with_their_number_also_from_the_cache(with_bad):
    for on_error in ("stop", "skip", "stop"):
        if on_error == "skip":
            ImageFolder(root=str(with_bad), on_error="skip").load()
            continue
        with pytest.raises(DataError) as error:
            ImageFolder(root=str(with_bad)).load()
        head, first, second = str(error.value).splitlines()
        assert head == f"data.root={with_bad}: 2 faults (data.on_error=skip leaves them out)"
        assert first == "  train/ant/00.png: not a readable image (no format of images that is known)"
        assert re.fullmatch(r"  test/bee/01.png: not a readable image \(.+\)", second)


def test_only_the_first_few_bad_files_are_named(root):
    for path in (root / "train" / "bee").iterdir():
        if path.name != "09.png":
            path.write_bytes(b"no picture")
    (note,) = ImageFolder(root=str(root), on_error="skip").load().notes
    assert note.startswith("left out: 9 not readable (") and note.count("bee/") == 3 and note.endswith(", ...)")
    for path in (root / "test").glob("*/*"):
        path.write_bytes(b"no picture")
    with pytest.raises(DataError) as error:
        ImageFolder(root=str(root)).load()
    lines = str(error.value).splitlines()
    assert len(lines) == 12 and lines[-1] == "  and 4 more files that are not readable"


def test_a_class_without_a_readable_image_is_skipped_with_its_test_images(root):
    for path in root.glob("train/bee/*"):
        path.write_bytes(b"no picture")
    data = ImageFolder(root=str(root), on_error="skip", val_fraction=0.0).load()
    assert data.classes == ("ant",) and data.outputs == 1 and (len(data.train), len(data.test)) == (5, 2)
    assert (
        "3 of a class without a readable training image (test/bee/00.png, test/bee/01.png, test/bee/02.png)"
        in (data.notes[0])
    )


def test_a_test_folder_without_a_readable_image_is_held_out_from_train(root):
    for path in root.glob("test/*/*"):
        path.write_bytes(b"no picture")
    data = ImageFolder(root=str(root), on_error="skip", val_fraction=0.0).load()
    assert (len(data.train), len(data.test)) == (12, 3) and "no test" in data.notes[-1]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [("train/*/*", "no training image is readable$"), ("*/*/*", "none of the 20 files is readable$")],
)
def test_what_is_left_must_be_enough(spoil, message, root):
    for path in root.glob(spoil):
        path.write_bytes(b"no picture")
    for size in (None, 5):
        with pytest.raises(DataError, match=message):
            ImageFolder(root=str(root), on_error="skip", size=size).load()


def test_a_link_to_nowhere_is_a_bad_file(root):
    (root / "train" / "ant" / "00.png").unlink()
    (root / "train" / "ant" / "00.png").symlink_to(root / "gone.png")
    with pytest.raises(DataError, match="ant/00.png: not a readable image"):
        ImageFolder(root=str(root)).load()


def test_a_large_jpeg_is_shrunk_while_it_is_decoded_and_looks_the_same(tmp_path):
    wave = np.sin(np.linspace(0, 6, 480))[:, None] * np.cos(np.linspace(0, 5, 640))
    Image.fromarray(np.stack([128 + 100 * wave, 128 - 60 * wave, 90 + 30 * wave], 2).astype(np.uint8)).save(
        tmp_path / "x.jpg", quality=95
    )
    with Image.open(tmp_path / "x.jpg") as image:
        expected = np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)).astype(int)
    found = Decoder(32, "squash")(str(tmp_path / "x.jpg"))
    assert (
        found.shape == (32, 32, 3) and abs(found - expected).max() <= 3
    )  # levels of 255: two ways to average a smooth picture


def test_it_is_shrunk_to_no_less_than_twice_its_size(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)).save(tmp_path / "x.jpg")
    with Image.open(tmp_path / "x.jpg") as image:
        image.draft(None, (160, 120))  # a quarter; an eighth, 80 x 60, would be less than 2 * 48
        assert image.size == (160, 120)
        expected = np.asarray(image.convert("RGB").resize((48, 48), Image.Resampling.BILINEAR))
    assert np.array_equal(Decoder(48, "squash")(str(tmp_path / "x.jpg")), expected)


def test_on_error_is_stop_or_skip(root):
    with pytest.raises(ValueError, match="on_error must be one of stop, skip, got go"):
        ImageFolder(root=str(root), on_error="go").load()
