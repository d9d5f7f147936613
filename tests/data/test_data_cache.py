"""Cache of decoded images: hits, misses, damage, and runs without it."""

import os
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from trainer.base.errors import DataError
from trainer.data.cache import allocate
from trainer.data.image_files import LazyImages
from trainer.data.image_folder import ImageFolder
from trainer.data.lock import exclusive_lock


def rewritten(path):
    """Other bytes in a file, which from outside looks as it did."""
    before = path.stat()
    path.write_bytes(bytes(before.st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def one(folder, ending):
    (found,) = folder.glob(f"*{ending}")
    return found


def test_the_second_start_reads_no_image(root, pictures, caches):
    ImageFolder(root=str(root), val_fraction=0.0).load()
    for path in root.rglob("*.png"):
        rewritten(path)
    data = ImageFolder(root=str(root), val_fraction=0.0).load()
    assert torch.equal(data.train.images, torch.from_numpy(pictures[:15]).permute(0, 3, 1, 2)) and data.notes == ()
    held = ImageFolder(root=str(root), val_fraction=0.2).load()  # another split of the same images
    assert len(held.val) == 3 and len(list(caches.glob("*.npy"))) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda root: os.utime(root / "train" / "ant" / "00.png", ns=(0, 0)),
        lambda root: (root / "train" / "ant" / "00.png").write_bytes(b"longer" * 1000),
        lambda root: (root / "train" / "ant" / "00.png").rename(root / "train" / "ant" / "another.png"),
        lambda root: (root / "train" / "ant" / "00.png").rename(root / "train" / "bee" / "00a.png"),
    ],
)
def test_a_folder_that_has_changed_is_decoded_anew(change, root):
    ImageFolder(root=str(root)).load()
    for path in root.rglob("*.png"):
        rewritten(path)
    change(root)
    with pytest.raises(DataError, match="not a readable image"):
        ImageFolder(root=str(root)).load()


def test_another_size_is_another_entry_of_the_cache(root):
    assert ImageFolder(root=str(root)).load().input_shape == (3, 6, 4)
    assert ImageFolder(root=str(root), size=5).load().input_shape == (3, 5, 5)


def test_another_fit_is_another_entry_of_the_cache(root):
    cropped, squashed = (ImageFolder(root=str(root), size=4, fit=fit).load() for fit in ("crop", "squash"))
    assert not torch.equal(cropped.test.images, squashed.test.images)


def test_an_entry_of_another_version_of_the_decoding_is_not_read(root, pictures, monkeypatch):
    for path in root.rglob("*.png"):
        Image.fromarray(np.uint16([[0, 4095]])).save(path)
    with monkeypatch.context() as older:
        older.setattr("trainer.data.cache.FORMAT", 1)
        ImageFolder(root=str(root)).load()
    for path in root.rglob("*.png"):
        rewritten(path)
    with pytest.raises(DataError, match="none of the 20 files is readable|20 faults"):
        ImageFolder(root=str(root)).load()


def test_the_cache_can_stand_elsewhere(root, tmp_path_factory, caches):
    folder = tmp_path_factory.mktemp("own") / "deep" / "er"
    ImageFolder(root=str(root), cache=str(folder)).load()
    assert one(folder, ".npy").stat().st_size > 20 * 6 * 4 * 3 and not caches.exists()


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    "harm",
    [
        lambda caches: cut(one(caches, ".npy")),
        lambda caches: one(caches, ".npy").write_bytes(b"nothing of numpy's"),
        lambda caches: one(caches, ".npy").write_bytes(b""),
        lambda caches: np.save(one(caches, ".npy"), np.zeros((20, 3, 4, 6), np.uint8)),
        lambda caches: np.save(one(caches, ".npy"), np.zeros((19, 3, 6, 4), np.uint8)),
        lambda caches: np.save(one(caches, ".npy"), np.zeros((20, 3, 6, 4), np.float32)),
        lambda caches: one(caches, ".npy").unlink(),
        lambda caches: one(caches, ".json").unlink(),
        lambda caches: one(caches, ".json").write_text('{"shape": [3, 6'),
        lambda caches: one(caches, ".json").write_text("[]"),
        lambda caches: one(caches, ".npy").rename(
            one(caches, ".npy").with_suffix(".colour")
        ),  # as a killed process leaves it
    ],
)
def test_a_damaged_or_half_made_cache_is_made_anew(harm, root, pictures, caches):
    for _ in range(2):
        data = ImageFolder(root=str(root), val_fraction=0.0).load()
        assert torch.equal(data.train.images, torch.from_numpy(pictures[:15]).permute(0, 3, 1, 2))
        assert not list(caches.glob("*.colour"))
        harm(caches)


def test_two_that_start_at_once_make_one_cache(root, caches):
    both = threading.Barrier(2)

    def start(_):
        both.wait(20)
        return ImageFolder(root=str(root)).load().test.images

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(start, range(2))
    assert torch.equal(first, second)
    assert sorted(path.suffix for path in caches.iterdir()) == [".json", ".lock", ".npy"]


def test_a_whole_cache_is_read_without_waiting_for_whoever_has_its_lock(root, caches):
    ImageFolder(root=str(root)).load()
    with ThreadPoolExecutor(1) as thread, exclusive_lock(one(caches, ".lock")):
        assert len(thread.submit(ImageFolder(root=str(root)).load).result(20).test) == 5


def test_one_that_has_waited_takes_what_the_other_made(root, caches, monkeypatch):
    ImageFolder(root=str(root)).load()
    made, hidden = one(caches, ".npy"), caches / "hidden"
    made.rename(hidden)
    for path in root.rglob("*.png"):
        rewritten(path)  # so that it could not make it itself
    waits = threading.Event()

    class Told:
        isatty = staticmethod(lambda: False)

        def write(self, text):
            waits.set()

    with ThreadPoolExecutor(1) as thread:
        with exclusive_lock(one(caches, ".lock")):
            monkeypatch.setattr(sys, "stderr", Told())
            second = thread.submit(ImageFolder(root=str(root)).load)
            assert waits.wait(20)
            hidden.rename(made)
        assert len(second.result(20).test) == 5


@pytest.mark.parametrize("failing", [False, True])
def test_nothing_unfinished_stays_behind(failing, root, pictures, caches):
    for path in root.rglob("*.png"):
        Image.fromarray(pictures[0, :, :, 0]).save(path)
    if failing:
        Image.new("RGB", (9, 30)).save(root / "test" / "bee" / "02.png")
        with pytest.raises(DataError, match="images differ in size"):
            ImageFolder(root=str(root)).load()
    else:
        ImageFolder(root=str(root)).load()
    assert {path.suffix for path in caches.iterdir()} == ({".lock"} if failing else {".json", ".lock", ".npy"})


def test_without_a_place_for_the_cache_the_images_are_decoded_into_memory(root, pictures):
    for path in root.rglob("*.png"):
        Image.fromarray(pictures[0, :, :, 0]).save(path)  # grey ones, whose channels the array has room for three times
    data = ImageFolder(root=str(root), cache=str(root / "train" / "ant" / "00.png")).load()
    assert data.input_shape == (1, 6, 4) and (data.test.images == torch.from_numpy(pictures[0, :, :, 0])).all()
    (note,) = data.notes
    assert re.match(
        r"data.cache=.*00.png: cannot write the decoded images to .* \(.+\), .* at every start; try data.cache=DIR",
        note,
    )


def test_without_a_place_and_memory_they_stay_files(root, monkeypatch):
    monkeypatch.setattr("trainer.data.image_folder.MEMORY_FRACTION", 0.0)
    data = ImageFolder(root=str(root), cache=str(root / "train" / "ant" / "00.png")).load()
    assert isinstance(data.train.images, LazyImages) and "decoded in every epoch; try data.cache=DIR" in data.notes[0]


def test_room_for_the_cache_is_taken_before_it_is_filled(tmp_path):
    pixels = allocate(tmp_path / "x", (1000, 3, 100, 100))
    assert pixels.shape == (1000, 3, 100, 100) and (tmp_path / "x").stat().st_blocks * 512 >= 30_000_000


def test_cache_none_keeps_no_pixels_but_caches_the_facts(root, pictures, caches):
    first, second = (ImageFolder(root=str(root), cache="none", val_fraction=0.2).load() for _ in range(2))
    assert [path.suffix for path in caches.iterdir()] == [".json"]
    kept = ImageFolder(root=str(root), val_fraction=0.2).load()
    for data in (first, second):
        for part, other in ((data.train, kept.train), (data.val, kept.val), (data.test, kept.test)):
            assert isinstance(part.images, LazyImages) and (len(part), part.images.shape) == (
                len(other),
                tuple(other.images.shape),
            )
            assert torch.equal(part.sample(), other.images) and torch.equal(part.targets, other.targets)
    for path in root.rglob("*.png"):
        rewritten(path)
    again = ImageFolder(root=str(root), cache="none").load()  # the facts are cached
    with pytest.raises(DataError, match="ant/0..png: can no longer be read"):
        again.train.sample()


def test_a_file_that_has_changed_its_size_meanwhile_is_an_error(root, pictures):
    data = ImageFolder(root=str(root), cache="none", val_fraction=0.0).load()
    Image.new("RGB", (9, 30)).save(root / "train" / "ant" / "01.png")
    with pytest.raises(DataError, match="ant/01.png: is 9x30 pixels now; the run began with 4x6"):
        data.train.sample()
    assert torch.equal(data.train.images.read(torch.tensor([2, 0]))[0], torch.from_numpy(pictures[2]).permute(2, 0, 1))
