"""Time images read from files: streamed by trainer, by a plain DataLoader and by a bare decoding loop, in turn.

    python scripts/bench/stream.py [--images 640] [--size 224] [--batch-size 64] [--rounds 15] [--workers N]
                                   [--device cpu] [--folder DIR]

The files are JPEGs of 500x375 pixels, as most of ImageNet's are, cut at random from scikit-learn's two photographs. The
bare loop decodes and resizes the same files in as many processes and discards the pixels. The plain DataLoader is the
one a tutorial writes: a data set of single images, torch's collation, persistent workers, prefetch_factor=2, and pinned
memory for a GPU; it gets the same files, batches and preprocessing. Every round starts all workers anew, because the
speed of a set of workers differs by up to 15 % from the next set's; ratios are medians over the rounds.

"bytes" are batches as they arrive for a GPU; "floats" are standardised on the CPU, which takes time from the cores that
decode. --folder DIR times two starts of a run on an image folder of your own instead: the first fills the cache.
"""

import argparse
import gc
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch.utils.data import DataLoader, Dataset

from trainer.base.cores import cores
from trainer.data.image_decoding import Decoder
from trainer.data.image_folder import ImageFolder
from trainer.data.loader import Loader
from trainer.preprocess import ChannelStandardize

START = """
import time, torch
start = time.perf_counter()
import torch._dynamo
dynamo = time.perf_counter() - start
start = time.perf_counter()
from trainer.engine.build import build_run
from trainer.config import catalog
from hydra import compose, initialize_config_dir
with initialize_config_dir(version_base="1.3", config_dir=str(catalog.folder())):
    run = build_run(compose("config", ["data=image_folder", "data.root={folder}", "device=cpu", "model=linear"]))
images = len(run.train) + len(run.val) + len(run.test)
print(f"{{time.perf_counter() - start:.2f}} s from imported torch to a built run of {{images:,}} images, after")
print(f"{{dynamo:.2f}} s for torch._dynamo, which the first optimizer of any program imports")
"""


def write_images(folder: Path, count: int) -> None:
    """Write train/{china,flower} and one test image of each class."""
    random = np.random.default_rng(0)
    photographs = dict(zip(("china", "flower"), load_sample_images().images))
    for number in range(count + 2):
        name = ("china", "flower")[number % 2]
        path = folder / ("train" if number < count else "test") / name / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        top, left = random.integers(0, 427 - 375), random.integers(0, 640 - 500)
        Image.fromarray(photographs[name][top : top + 375, left : left + 500]).save(path, quality=90)


class SingleImages(Dataset):
    """Data set of single image files, as a tutorial writes it."""

    def __init__(self, paths: list[str], size: int) -> None:
        self.paths, self.size = paths, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(Decoder(self.size)(self.paths[index]).copy()).permute(2, 0, 1)


def decode_only(job: tuple[list[str], int]) -> int:
    """Decode and resize a batch of files, and discard the pixels."""
    paths, size = job
    for path in paths:
        Decoder(size)(path)
    return len(paths)


def corners(images: torch.Tensor) -> torch.Tensor:
    """Return one pixel of each image: stands in for a preprocessing on another device."""
    return images[:, :, :1, :1].float()


def consume(batches: Iterable[torch.Tensor], device: torch.device) -> None:
    """Read all batches."""
    for images in batches:
        images[:1].sum()
    if device.type == "cuda":
        torch.cuda.synchronize(device)


Epoch = Callable[[list[torch.Tensor]], None]  # reads an epoch of batches, given by their indices


def by_trainer(loader: Loader) -> Epoch:
    return lambda batches: consume((images for images, _ in loader.batches(batches)), loader.device)


def by_data_loader(dataset: Dataset, apply: Callable, workers: int, device: torch.device) -> Epoch:
    sampled: list[list[int]] = []
    options = {"prefetch_factor": 2, "persistent_workers": True, "pin_memory": device.type == "cuda"}
    loader = DataLoader(dataset, batch_sampler=sampled, num_workers=workers, **options)

    def epoch(batches: list[torch.Tensor]) -> None:
        sampled[:] = [indices.tolist() for indices in batches]
        consume((apply(images.to(device, non_blocking=True)) for images in loader), device)

    return epoch


def timed(epoch: Epoch, batches: list[torch.Tensor]) -> float:
    """Return the seconds of an epoch."""
    start = time.perf_counter()
    epoch(batches)
    return time.perf_counter() - start


def time_streams(arguments: argparse.Namespace) -> None:
    """Time and print every way to read the same files."""
    workers, size, device = arguments.workers, arguments.size, torch.device(arguments.device)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        write_images(Path(folder), arguments.images)
        fields = {"root": folder, "size": size, "val_fraction": 0.0}
        files = ImageFolder(**fields, cache="none").load().train
        cached = ImageFolder(**fields).load().train
        standardize = ChannelStandardize().fit(cached.sample()[:512])
        paths = [files.images.source.paths[number] for number in files.images.indices.tolist()]
        with multiprocessing.get_context("fork").Pool(workers) as pool:

            def bare(batches: list[torch.Tensor]) -> None:
                list(pool.imap(decode_only, [([paths[index] for index in batch.tolist()], size) for batch in batches]))

            def streaming(kind: str, apply: Callable) -> dict[str, Callable[[], Epoch]]:
                loader = {"residency": "stream", "workers": workers}
                return {
                    f"stream, {kind}": lambda: by_trainer(Loader(files, apply, device, **loader)),
                    f"plain DataLoader, {kind}": lambda: by_data_loader(
                        SingleImages(paths, size), apply, workers, device
                    ),
                }

            makers = {
                "bare decoding": lambda: bare,
                **streaming("bytes", corners),
                **streaming("floats", standardize),
                "host, cache": lambda: by_trainer(Loader(cached, standardize, device, residency="host")),
                "device, cache": lambda: by_trainer(Loader(cached, standardize, device, residency="device")),
            }
            times: dict[str, list[float]] = {name: [] for name in makers}
            for number in range(arguments.rounds):
                time_round(makers, times, number, len(paths), arguments.batch_size)
        print_report(times, f"{len(paths):,} images of {size}x{size}", arguments)


def time_round(
    makers: dict[str, Callable[[], Epoch]], times: dict[str, list[float]], number: int, images: int, batch_size: int
) -> None:
    """Time an epoch of each maker, in an order that rotates from round to round."""
    order = torch.randperm(images, generator=torch.Generator().manual_seed(number))
    batches, names = list(order.split(batch_size)), list(makers)
    rotated = names[number % len(names) :] + names[: number % len(names)]
    epochs = {name: makers[name]() for name in rotated}
    for epoch in epochs.values():
        epoch(batches[: 2 * len(batches) // 3])  # starts the workers
    for name, epoch in epochs.items():
        times[name].append(timed(epoch, batches))
    epochs.clear()
    gc.collect()  # ends the workers


def print_report(times: dict[str, list[float]], images: str, arguments: argparse.Namespace) -> None:
    """Print images per second and the ratios."""

    def ratio(name: str, other: str) -> float:
        return statistics.median(theirs / own for theirs, own in zip(times[other], times[name]))

    print(
        f"{images}, batches of {arguments.batch_size}, {arguments.workers} workers, on {arguments.device}, "
        f"{arguments.rounds} rounds"
    )
    for name, seconds in times.items():
        rate = arguments.images / statistics.median(seconds)
        print(f"{name:31s} {rate:9,.0f} images/s   {ratio(name, 'bare decoding'):7.2f} of bare decoding")
    for kind in ("bytes", "floats"):
        print(f"stream / plain DataLoader, {kind}: {ratio(f'stream, {kind}', f'plain DataLoader, {kind}'):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=640)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--workers", type=int, default=cores())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.folder:
        for _ in range(2):
            subprocess.run([sys.executable, "-c", START.format(folder=arguments.folder.resolve())], check=True)
    else:
        time_streams(arguments)


if __name__ == "__main__":
    main()
