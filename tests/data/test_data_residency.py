"""Residency: samples in any place give the same batches in the same order, bit for bit; workers, and how they end."""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from trainer.base.errors import DataError
from trainer.data.image_files import LazyImages
from trainer.data.image_folder import ImageFolder
from trainer.data.loader import Loader, choose_residency
from trainer.data.splits import Split
from trainer.data.worker_pool import prefetch
from trainer.preprocess import ChannelStandardize, Standardize

CPU = torch.device("cpu")
KINDS = ("memory", "disk", "files", "table")
PARTS = torch.randperm(30, generator=torch.Generator().manual_seed(5)).split(7)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """30 training images of 16x12 pixels and one for the test, as JPEG."""
    root = tmp_path_factory.mktemp("images")
    pictures = np.random.default_rng(0).integers(0, 256, (31, 12, 16, 3), dtype=np.uint8)
    for number, picture in enumerate(pictures):
        path = root / ("train" if number < 30 else "test") / "ant" / f"{number:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    return root


@pytest.fixture
def split(folder, tmp_path, monkeypatch):
    """The same training images: in memory, numbered in an array on the disk, in files; and a table of floats."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def made(kind):
        if kind == "table":
            return Split(
                torch.rand((30, 5), generator=torch.Generator().manual_seed(0)) * 100, torch.arange(30.0).view(30, 1)
            )
        images = (
            ImageFolder(root=str(folder), val_fraction=0.0, cache="none" if kind == "files" else "auto")
            .load()
            .train.images
        )
        assert isinstance(images, LazyImages) == (kind == "files")
        if kind == "disk":
            images = LazyImages(images.flip(0), torch.arange(30).flip(0))
        return Split(images, torch.arange(30.0).view(30, 1))

    return made


def collect(batches):
    return [(images.clone(), targets.clone()) for images, targets in batches]


def same(left, right):
    assert len(left) == len(right)
    for (images, targets), (others, other_targets) in zip(left, right):
        assert images.dtype == torch.float32 and torch.equal(images, others) and torch.equal(targets, other_targets)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("residency", ["device", "host", "stream"])
def test_every_residency_gives_the_same(kind, residency, split):
    part, samples = split(kind), split("table" if kind == "table" else "memory").images
    apply = (Standardize() if kind == "table" else ChannelStandardize()).fit(part.sample())
    whole = apply(samples)
    loader = Loader(part, apply, CPU, residency=residency, workers=2)
    assert loader.residency == residency and len(loader) == 30 and loader.targets.flatten().tolist() == list(range(30))
    for parts in (PARTS, PARTS[::-1], PARTS[3:4], ()):  # epochs, what is left of one, nothing
        same(collect(loader.batches(parts)), [(whole[which], which.float().view(-1, 1)) for which in parts])
    same(
        collect(loader.in_order(8)), [(whole[which], which.float().view(-1, 1)) for which in torch.arange(30).split(8)]
    )
    same([loader.batch(PARTS[0])], [(whole[PARTS[0]], PARTS[0].float().view(-1, 1))])


@pytest.mark.parametrize("residency", ["device", "host", "stream"])
def test_a_batch_stays_what_it_is_while_later_ones_arrive(residency, split):
    part = split("table")
    loader = Loader(part, lambda images: images, CPU, residency=residency, workers=1)
    found = list(loader.batches(PARTS * 5))
    assert all(torch.equal(images, part.images[which]) for (images, _), which in zip(found, PARTS * 5, strict=True))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("residency", ["device", "host", "stream"])
def test_every_residency_gives_a_gpu_the_same(kind, residency, split):
    part, cuda = split(kind), torch.device("cuda", 0)
    apply = (Standardize() if kind == "table" else ChannelStandardize()).fit(part.sample())
    whole = apply(part.sample().to(cuda))
    loader = Loader(part, apply, cuda, residency=residency, workers=2)
    parts = [which.to(cuda) for which in PARTS]
    for _ in range(2):
        found = list(loader.batches(parts))  # not copied: nothing may be written over what was given
        same(found, [(whole[which], which.float().view(-1, 1)) for which in parts])
        assert all(images.device == cuda for images, _ in found)
    same(
        list(loader.in_order(8)),
        [(whole[which], which.float().view(-1, 1)) for which in torch.arange(30, device=cuda).split(8)],
    )


@pytest.mark.parametrize("residency", ["host", "stream"])
def test_an_evaluation_within_an_epoch_and_an_epoch_left_early_disturb_nothing(residency, split):
    part = split("files")
    apply = ChannelStandardize().fit(part.sample())
    loader, plain = (
        Loader(part, apply, CPU, residency=residency, workers=1),
        Loader(part, apply, CPU, residency="device"),
    )
    expected, in_order = collect(plain.batches(PARTS)), collect(plain.in_order(8))
    for _ in range(2):
        found = []
        for step, batch in enumerate(loader.batches(PARTS)):
            found += collect([batch])
            if step % 2:
                same(collect(loader.in_order(8)), in_order)
        same(found, expected)
    for leave_after in (1, 3):
        batches = loader.batches(PARTS[::-1])
        for _ in range(leave_after):
            next(batches)
        batches.close()
        same(collect(loader.batches(PARTS)), expected)


def test_prefetch_makes_items_before_they_are_asked_for_but_not_more_than_it_should():
    made, enough = [], threading.Event()

    def items():
        for number in range(10):
            made.append(number)
            if number == 3:
                enough.set()
            yield number

    arriving = prefetch(items())
    assert next(arriving) == 0
    assert enough.wait(20)  # 1, 2 and 3 were made while nobody asked
    assert made == [0, 1, 2, 3]
    assert list(arriving) == list(range(1, 10))


def test_an_error_behind_prefetch_comes_in_its_turn():
    def items():
        yield 1
        yield 2
        raise DataError("here")

    arriving = prefetch(items())
    assert [next(arriving), next(arriving)] == [1, 2]
    with pytest.raises(DataError, match="here"):
        next(arriving)


def workers():
    return multiprocessing.active_children()


def test_workers_stay_for_the_next_epoch_and_ignore_signals(split):
    loader = Loader(split("files"), lambda images: images.float(), CPU, residency="stream", workers=2)
    others = set(workers())
    expected = collect(loader.batches(PARTS))
    assert collect(loader.batches(())) == []
    started = set(workers()) - others
    assert len(started) == 2
    for worker in started:
        os.kill(worker.pid, signal.SIGINT), os.kill(worker.pid, signal.SIGTERM)
    same(collect(loader.batches(PARTS)), expected)
    assert set(workers()) - others == started
    assert signal.getsignal(signal.SIGCHLD) in (signal.SIG_DFL, None)


def test_a_killed_worker_is_an_error_that_names_the_likely_cause(split):
    loader = Loader(split("files"), lambda images: images.float(), CPU, residency="stream", workers=1)
    before = {worker.pid for worker in workers()}
    many = [torch.tensor([number]) for number in range(30)] * 10
    with pytest.raises(DataError, match="workers=1: a worker that reads images died .*memory") as error:
        for step, _ in enumerate(loader.batches(many)):
            if step == 0:
                (pid,) = {worker.pid for worker in workers()} - before
                os.kill(pid, signal.SIGKILL)
    assert "\n" not in str(error.value)
    assert len(collect(loader.batches(PARTS))) == len(PARTS)  # by a new one


def test_a_file_that_is_bad_by_then_is_one_line_with_its_path(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    images = ImageFolder(root=str(folder), size=8, val_fraction=0.0, cache="none").load().train.images
    source = images.source
    (tmp_path / "x.jpg").write_bytes(b"no picture")
    object.__setattr__(
        source, "paths", [str(tmp_path / "x.jpg") if path.endswith("03.jpg") else path for path in source.paths]
    )
    others = set(workers())
    loader = Loader(
        Split(images, torch.zeros(30, 1)), lambda images: images.float(), CPU, residency="stream", workers=1
    )
    with pytest.raises(
        DataError, match=r"x.jpg: can no longer be read \(.+\); the run began with a readable file$"
    ) as error:
        list(loader.in_order(2))
    assert "\n" not in str(error.value)
    mine = set(workers()) - others
    assert mine
    del loader, error
    gc.collect()
    assert not mine & set(workers())  # torch alone would wait for them 10 s, and leave them


# Forks a program for each line of its input, so that torch is imported once. The program begins and ends as the line
# says and reads a batch of an epoch in between; printed are its process number, its exit code, and the workers' fate.
PROGRAMS = """
import os, select, sys, time, torch
from trainer.data.loader import Loader
from trainer.data.splits import Split
split = Split(torch.zeros((64, 1, 2, 2), dtype=torch.uint8), torch.zeros(64, 1))
while (line := sys.stdin.readline()) != "quit\\n":
    beginning, ending = line.split("|")
    end, held_by_all = os.pipe()  # closed when the last process that has it is gone
    program = os.fork()
    if program == 0:
        exec(beginning)
        loader = Loader(split, torch.Tensor.float, torch.device("cpu"), residency="stream", workers=2)
        batches = loader.batches(torch.arange(64).split(1))
        next(batches)
        print(os.getpid(), flush=True)
        exec(ending.strip())
        break
    os.close(held_by_all)
    code = os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])
    ended = select.select([end], [], [], 4)[0]  # at once: torch's own look every 5 s misses some
    print(code, "workers ended" if ended else "workers left", flush=True)
"""


@pytest.fixture(scope="module")
def programs():
    with subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROGRAMS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        bufsize=1,
    ) as process:
        yield process
        process.stdin.write("quit\n")  # workers of other tests may hold the pipe open
        assert process.stdout.read() == ""


def test_workers_end_with_a_parent_that_is_killed(programs):
    programs.stdin.write("sys.stderr = None|time.sleep(60)\n")  # a worker may fail to send, and say so
    os.kill(int(programs.stdout.readline()), signal.SIGKILL)
    assert programs.stdout.readline() == "-9 workers ended\n"


@pytest.mark.parametrize(("end", "code"), [("", 0), ("raise SystemExit(3)", 3)])
def test_a_program_that_ends_in_the_middle_of_an_epoch_ends(end, code, programs):
    programs.stdin.write(f"|{end}\n")
    assert programs.stdout.readline().strip().isdecimal()
    assert programs.stdout.readline() == f"{code} workers ended\n"


def test_auto_takes_the_first_place_with_room(split, monkeypatch):
    places = {kind: split(kind).images for kind in KINDS}
    assert {choose_residency(images, CPU) for images in places.values()} == {"device"}
    assert Loader(split("files"), lambda images: images.float(), CPU).residency == "device"
    monkeypatch.setattr("trainer.data.loader.MEMORY_FRACTION", 0.0)
    assert {kind: choose_residency(images, CPU) for kind, images in places.items()} == {
        "memory": "host",
        "disk": "host",
        "files": "stream",
        "table": "host",
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"residency": "gpu"}, "residency must be one of auto, device, host, stream, got gpu"),
        ({"workers": 0}, "workers must be >= 1, got 0"),
    ],
)
def test_words_and_numbers_out_of_range_are_refused(fields, message, split):
    with pytest.raises(ValueError, match=message):
        Loader(split("memory"), lambda images: images, CPU, **fields)
