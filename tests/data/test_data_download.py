"""Downloads, from a server on this machine."""

import gzip
import http.server
import signal
import socket
import subprocess
import sys
import threading
from functools import partial

import numpy as np
import pytest
import torch
from test_data_torchvision import IMAGES, digest, vision, write_mnist
from torchvision import datasets

from trainer.base.errors import DataError
from trainer.data.lock import exclusive_lock


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
    """Torchvision's MNIST from a local server, which has `asked`, `refusals` and the `folder` it serves."""
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
        monkeypatch.setattr("trainer.data.download.FIRST_WAIT", 0)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize("refusals", [0, 2])
def test_a_download_is_tried_three_times_and_fetches_each_file_once(refusals, mirror, tmp_path):
    mirror.refusals = refusals
    data = vision("mnist", tmp_path / "root", download=True, val_fraction=0.0).load()
    assert torch.equal(data.train.images[:, 0], torch.from_numpy(IMAGES))
    asked = mirror.asked[refusals:]
    assert len(set(asked)) == 4 and all(
        asked.count(path) <= 2 for path in asked
    )  # torchvision may look for a redirection first
    mirror.asked.clear()
    vision("mnist", tmp_path / "root", download=True).load()
    assert mirror.asked == []


def test_a_download_that_fails_says_which_files_to_put_where(mirror, tmp_path):
    mirror.refusals = 3
    names = ", ".join(name for name, _ in datasets.MNIST.resources)
    with pytest.raises(
        DataError,
        match=f"download into .*root failed .*503.*; put {names} into .*root/MNIST/raw yourself and repeat",
    ) as error:
        vision("mnist", tmp_path / "root", download=True).load()
    assert len(mirror.asked) == 3 and "\n" not in str(error.value)
    (tmp_path / "root" / "MNIST" / "raw").mkdir(parents=True, exist_ok=True)
    for name, _ in datasets.MNIST.resources:
        (mirror.folder / name).rename(tmp_path / "root" / "MNIST" / "raw" / name)
    vision("mnist", tmp_path / "root", download=True).load()  # as the message said


def test_a_file_with_another_digest_is_refused(mirror, tmp_path):
    (mirror.folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"something else"))
    with pytest.raises(DataError, match="download into .* failed .*corrupted"):
        vision("mnist", tmp_path / "root", download=True).load()


def test_a_network_that_does_not_answer_is_given_up(tmp_path, monkeypatch, mirror):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connections wait in its queue
        monkeypatch.setattr(datasets.MNIST, "mirrors", [f"http://127.0.0.1:{silent.getsockname()[1]}/"])
        monkeypatch.setattr("trainer.data.download.TIMEOUT", 0.05)
        before = socket.getdefaulttimeout()
        with pytest.raises(DataError, match="download into .* failed .*timed out"):
            vision("mnist", tmp_path / "root", download=True).load()
        assert socket.getdefaulttimeout() == before


def test_patience_ends_before_the_attempts_do(mirror, monkeypatch, tmp_path):
    mirror.refusals = 3
    monkeypatch.setattr("trainer.data.download.TIME_LIMIT", 0.0)
    with pytest.raises(DataError, match="503"):
        vision("mnist", tmp_path / "root", download=True).load()
    assert len(mirror.asked) == 1


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("cifar10", "cifar-10-python.tar.gz into .*root yourself"),
        ("svhn", "train_32x32.mat, test_32x32.mat into .*root yourself"),
    ],
)
def test_packed_folders_and_loose_files_belong_into_the_root(name, files, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.CIFAR10, "url", "http://127.0.0.1:1/")
    monkeypatch.setattr(
        datasets.SVHN,
        "split_list",
        {part: ["http://127.0.0.1:1/", f"{part}_32x32.mat", "0"] for part in ("train", "test")},
    )
    monkeypatch.setattr("trainer.data.download.ATTEMPTS", 1)
    with pytest.raises(DataError, match=f"put {files}"):
        vision(name, tmp_path / "root", download=True).load()


def test_a_second_process_waits_for_the_first(tmp_path, monkeypatch):
    told, order = threading.Event(), []

    class Told:
        def write(self, text):
            told.set()

    def second():
        with exclusive_lock(tmp_path / "lock"):
            order.append("second")

    monkeypatch.setattr(sys, "stderr", Told())
    with exclusive_lock(tmp_path / "lock"):
        waiting = threading.Thread(target=second)
        waiting.start()
        assert told.wait(20)  # it has found the lock taken and said so
        order.append("first")
    waiting.join(20)
    assert order == ["first", "second"]


def test_a_process_that_is_killed_leaves_no_lock(tmp_path):
    program = (
        "import sys; from pathlib import Path; from trainer.data.lock import exclusive_lock\n"
        "with exclusive_lock(Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "in\n"
    holder.send_signal(signal.SIGKILL)
    with exclusive_lock(tmp_path / "lock"):
        assert holder.wait(20) == -signal.SIGKILL
    holder.stdin.close(), holder.stdout.close()
