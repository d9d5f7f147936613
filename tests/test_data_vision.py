"""Torchvision's sets, from small files in their formats."""

import gzip
import hashlib
import http.server
import pickle
import signal
import socket
import struct
import subprocess
import sys
import threading
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.io
import torch
import yaml
from torchvision import datasets

from trainer import conf
from trainer.data.download import alone
from trainer.data.vision import Vision, pixels
from trainer.errors import DataError


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


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST"), ("kmnist", "KMNIST")])
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


@pytest.mark.parametrize(("name", "source"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST"), ("kmnist", "KMNIST"), ("cifar10", "CIFAR10"), ("cifar100", "CIFAR100"), ("svhn", "SVHN")])
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
    data = vision("svhn", tmp_path, val_share=0.0).load()
    assert (data.classes, data.task, data.input_shape) == (tuple("0123456789"), "classification", (3, 32, 32))
    assert torch.equal(data.train.images, torch.from_numpy(COLOUR)) and torch.equal(data.test.images, torch.from_numpy(COLOUR[::3]))
    assert data.train.targets.argmax(1).tolist() == np.repeat(np.arange(10), 3).tolist()
    (tmp_path / "train_32x32.mat").write_bytes(b"broken")
    with pytest.raises(DataError, match="the SVHN files in .* cannot be read"):
        vision("svhn", tmp_path).load()


def test_cifar100_has_its_fine_labels_and_its_halves(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    fine = np.arange(30) * 3 % 100
    for name, content in (
        ("train", {"data": COLOUR.reshape(30, -1), "fine_labels": fine.tolist(), "coarse_labels": [0] * 30}),
        ("test", {"data": COLOUR[:10].reshape(10, -1), "fine_labels": list(range(0, 100, 10)), "coarse_labels": [0] * 10}),
        ("meta", {"fine_label_names": [f"thing {number}" for number in range(100)]}),
    ):
        (folder / name).write_bytes(pickle.dumps(content))
    monkeypatch.setattr(datasets.CIFAR100, "train_list", [["train", digest(folder / "train")]])
    monkeypatch.setattr(datasets.CIFAR100, "test_list", [["test", digest(folder / "test")]])
    monkeypatch.setattr(datasets.CIFAR100, "meta", {"filename": "meta", "key": "fine_label_names", "md5": digest(folder / "meta")})
    data = vision("cifar100", tmp_path, val_share=0.0).load()
    assert (data.outputs, data.classes[99], data.input_shape) == (100, "thing 99", (3, 32, 32))
    assert torch.equal(data.train.images, torch.from_numpy(COLOUR)) and data.train.targets.argmax(1).tolist() == fine.tolist()
    second = vision("cifar100", tmp_path, val_share=0.0, half="b").load()
    assert (second.outputs, second.classes[0]) == (50, "thing 50")
    assert torch.equal(second.train.images, torch.from_numpy(COLOUR[fine >= 50]))
    assert second.test.targets.argmax(1).tolist() == [0, 10, 20, 30, 40]
    with pytest.raises(ValueError, match="half must be one of all, a, b, got c"):
        vision("cifar100", tmp_path, half="c")


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, after it has refused as many requests as its server says."""

    def do_GET(self):
        self.server.asked.append(self.path)
        if len(self.server.asked) <= self.server.refusals:
            self.send_error(503)
        else:
            super().do_GET()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """Torchvision's MNIST, to be had from this machine: the server, with `asked`, `refusals` and the `folder` it serves."""
    folder = tmp_path / "mirror"
    write_mnist(folder, IMAGES, np.repeat(np.arange(10, dtype=np.uint8), 3))
    resources = []
    for path in sorted(folder.iterdir()):
        packed = path.with_name(f"{path.name}.gz")
        packed.write_bytes(gzip.compress(path.read_bytes()))
        resources.append((packed.name, digest(packed)))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, directory=str(folder))) as server:
        server.asked, server.refusals, server.folder = [], 0, folder
        monkeypatch.setattr(datasets.MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        monkeypatch.setattr(datasets.MNIST, "resources", resources)
        monkeypatch.setattr("trainer.data.download.PAUSES", (0, 0))
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize("refusals", [0, 2])
def test_a_download_is_tried_three_times_and_fetches_each_file_once(refusals, mirror, tmp_path):
    mirror.refusals = refusals
    data = vision("mnist", tmp_path / "root", download=True, val_share=0.0).load()
    assert torch.equal(data.train.images[:, 0], torch.from_numpy(IMAGES))
    asked = mirror.asked[refusals:]
    assert len(set(asked)) == 4 and all(asked.count(path) <= 2 for path in asked)  # torchvision may look for a redirection first
    mirror.asked.clear()
    vision("mnist", tmp_path / "root", download=True).load()
    assert mirror.asked == []


def test_a_download_that_fails_says_which_files_to_put_where(mirror, tmp_path):
    mirror.refusals = 3
    names = ", ".join(name for name, _ in datasets.MNIST.resources)
    with pytest.raises(DataError, match=f"the download into .*root failed .*503.*; put {names} into .*root/MNIST/raw by hand and repeat") as error:
        vision("mnist", tmp_path / "root", download=True).load()
    assert len(mirror.asked) == 3 and "\n" not in str(error.value)
    (tmp_path / "root" / "MNIST" / "raw").mkdir(parents=True, exist_ok=True)
    for name, _ in datasets.MNIST.resources:
        (mirror.folder / name).rename(tmp_path / "root" / "MNIST" / "raw" / name)
    vision("mnist", tmp_path / "root", download=True).load()  # as the message said


def test_a_file_with_another_digest_is_refused(mirror, tmp_path):
    (mirror.folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"something else"))
    with pytest.raises(DataError, match="the download into .* failed .*corrupted"):
        vision("mnist", tmp_path / "root", download=True).load()


def test_a_network_that_does_not_answer_is_given_up(tmp_path, monkeypatch, mirror):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connections wait in its queue
        monkeypatch.setattr(datasets.MNIST, "mirrors", [f"http://127.0.0.1:{silent.getsockname()[1]}/"])
        monkeypatch.setattr("trainer.data.download.SILENCE", 0.05)
        before = socket.getdefaulttimeout()
        with pytest.raises(DataError, match="the download into .* failed .*timed out"):
            vision("mnist", tmp_path / "root", download=True).load()
        assert socket.getdefaulttimeout() == before


def test_patience_ends_before_the_attempts_do(mirror, monkeypatch, tmp_path):
    mirror.refusals = 3
    monkeypatch.setattr("trainer.data.download.PATIENCE", 0.0)
    with pytest.raises(DataError, match="503"):
        vision("mnist", tmp_path / "root", download=True).load()
    assert len(mirror.asked) == 1


@pytest.mark.parametrize(("name", "files"), [("cifar10", "cifar-10-python.tar.gz into .*root by"), ("svhn", "train_32x32.mat, test_32x32.mat into .*root by")])
def test_packed_folders_and_loose_files_belong_into_the_root(name, files, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.CIFAR10, "url", "http://127.0.0.1:1/")
    monkeypatch.setattr(datasets.SVHN, "split_list", {part: ["http://127.0.0.1:1/", f"{part}_32x32.mat", "0"] for part in ("train", "test")})
    monkeypatch.setattr("trainer.data.download.PAUSES", ())
    with pytest.raises(DataError, match=f"put {files} hand"):
        vision(name, tmp_path / "root", download=True).load()


def test_a_second_process_waits_for_the_first(tmp_path, monkeypatch):
    told, order = threading.Event(), []

    class Told:
        def write(self, text):
            told.set()

    def second():
        with alone(tmp_path / "lock"):
            order.append("second")

    monkeypatch.setattr(sys, "stderr", Told())
    with alone(tmp_path / "lock"):
        waiting = threading.Thread(target=second)
        waiting.start()
        assert told.wait(20)  # it has found the lock taken and said so
        order.append("first")
    waiting.join(20)
    assert order == ["first", "second"]


def test_a_process_that_is_killed_leaves_no_lock(tmp_path):
    program = "import sys; from pathlib import Path; from trainer.data.download import alone\nwith alone(Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()"
    holder = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "in\n"
    holder.send_signal(signal.SIGKILL)
    with alone(tmp_path / "lock"):
        assert holder.wait(20) == -signal.SIGKILL
    holder.stdin.close(), holder.stdout.close()
