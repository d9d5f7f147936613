"""Data from somebody else: pipes and devices among the files, archives without measure, IDX files that contradict."""

import gzip
import lzma
import os
import struct

import numpy as np
import pytest
import torch
from conftest import command, make_image_folder

from trainer.base.errors import DataError
from trainer.data import text_file
from trainer.data.image_formats import opened
from trainer.data.torchvision import Torchvision

SHORT = ("model=linear", "epochs=1", "threads=1", "device=cpu")


@pytest.fixture
def pictures(tmp_path):
    return make_image_folder(tmp_path / "pictures")


def put(path, kind, folder):
    """Put a pipe, or a link to one or to a device, in the place of a file."""
    path.unlink(missing_ok=True)
    if kind == "pipe":
        return os.mkfifo(path)
    os.mkfifo(folder / "pipe")
    return path.symlink_to({"link to a pipe": folder / "pipe", "link to /dev/zero": "/dev/zero"}[kind])


@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "link to /dev/zero"])
@pytest.mark.parametrize("name", ["0.png", "new.jpg", "new.tga", "noending"])
def test_a_pipe_among_images_is_not_waited_for(name, kind, pictures, tmp_path):
    put(pictures / "ant" / name, kind, tmp_path)
    words = ("data=image_folder", "data.root=pictures", "data.cache=none", *SHORT)
    code, printed, errors = command(tmp_path, *words)
    assert code in (0, 3) and "Traceback" not in errors + printed, errors
    if code:
        assert name in errors and "not a regular file" in errors
    code, _, errors = command(tmp_path, *words, "data.on_error=skip")
    assert code == 0, errors


@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "link to /dev/zero"])
def test_a_pipe_is_no_table(kind, tmp_path):
    put(tmp_path / "table.csv", kind, tmp_path)
    code, _, errors = command(tmp_path, "data=csv", "data.path=table.csv", "data.target=1", *SHORT)
    assert code == 3 and len(errors.splitlines()) == 1 and "data.path=table.csv" in errors


def test_a_link_to_an_image_is_an_image(pictures, tmp_path):
    (pictures / "ant" / "linked.png").symlink_to(pictures / "bee" / "3.png")
    with opened(str(pictures / "ant" / "linked.png")) as image:
        assert image.size == (8, 8)


def test_an_image_file_without_measure_is_refused(tmp_path):
    path = tmp_path / "x.jpg"
    with path.open("wb") as file:
        file.write(b"\xff\xd8\xff")
        file.truncate(2**40)  # a hole: Pillow would read its zeros byte by byte
    with pytest.raises(OSError, match="is larger than"), opened(str(path)):
        pass


@pytest.mark.parametrize("library", [gzip, lzma])
def test_an_archive_is_unpacked_up_to_a_limit(library, tmp_path, monkeypatch):
    monkeypatch.setattr(text_file, "LARGEST_UNPACKED", 100_000)
    path = tmp_path / "table.csv"
    path.write_bytes(library.compress(b"1,2\n" * 25_000))
    assert text_file.read_bytes(str(path)) and text_file.read_text(str(path))[0] == "1,2\n" * 25_000
    path.write_bytes(library.compress(b"1,2\n" * 25_001))
    with pytest.raises(DataError, match="holds more than 100,000 bytes once it is unpacked"):
        text_file.read_text(str(path))


def idx(*shape, content):
    return bytes([0, 0, 8, len(shape)]) + b"".join(struct.pack(">I", length) for length in shape) + content


def write_mnist(root, **changed):
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    labels = bytes(np.arange(100, dtype=np.uint8) % 10)
    files = {
        f"{part}-{name}": content
        for part in ("train", "t10k")
        for name, content in (
            ("images-idx3-ubyte", idx(100, 28, 28, content=bytes(78_400))),
            ("labels-idx1-ubyte", idx(100, content=labels)),
        )
    }
    for name, content in {**files, **{key.replace("_", "-"): value for key, value in changed.items()}}.items():
        (folder / name).write_bytes(content)
    return Torchvision(source="MNIST", folder="MNIST/raw", root=str(root))


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"train_labels_idx1_ubyte": idx(200, content=bytes(200))}, "training files hold 100 images and 200 labels"),
        ({"train_labels_idx1_ubyte": idx(50, content=bytes(50))}, "training files hold 100 images and 50 labels"),
        ({"t10k_labels_idx1_ubyte": idx(101, content=bytes(101))}, "test files hold 100 images and 101 labels"),
        (
            {"t10k_images_idx3_ubyte": idx(99, 28, 28, content=bytes(99 * 784))},
            "test files hold 99 images and 100 labels",
        ),
        ({"t10k_images_idx3_ubyte": idx(100, 9, 9, content=bytes(8100))}, "training and test images differ in size"),
        ({"train_images_idx3_ubyte": idx(100, 0, 0, content=b"")}, "cannot read the MNIST files"),
        ({"train_images_idx3_ubyte": idx(2**31 - 1, 28, 28, content=b"x")}, "cannot read the MNIST files"),
    ],
)
def test_idx_files_that_contradict_each_other_are_refused(changed, said, tmp_path):
    with pytest.raises(DataError, match=said):
        write_mnist(tmp_path, **changed).load()


def test_idx_files_that_agree_are_read(tmp_path):
    splits = write_mnist(tmp_path).load()
    assert len(splits.train.images) + len(splits.val.images) == 100 and torch.equal(
        splits.test.targets.argmax(1), torch.arange(100) % 10
    )
