"""How fast images arrive: streamed from files against a bare loop that only decodes, from each place they can live, and at a second start.

    python scripts/bench/stream.py [--images 6000] [--size 224] [--batch-size 64] [--rounds 3] [--workers N] [--folder DIR]

The files are JPEGs of 500x375 pixels, as ImageNet's mostly are, cut at random from scikit-learn's two photographs; that is enough to keep
every core busy. The bare loop decodes and resizes the same files in as many processes and throws the pixels away. All run in turn.
"bytes" are batches as they arrive for a GPU; making floats of them on the CPU takes time from the cores that decode.
--folder DIR times two starts on an image folder of your own instead (the first one fills the cache, if it is not filled yet).
"""

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from trainer.data.capacity import cores
from trainer.data.files import decoded
from trainer.data.image_folder import ImageFolder
from trainer.data.loader import Loader
from trainer.preprocess import ChannelStandardize

STARTS = """
import time, torch
begun = time.perf_counter()
import torch._dynamo
own = time.perf_counter() - begun
begun = time.perf_counter()
from trainer.engine.build import build_run
from trainer.config import catalog
from hydra import compose, initialize_config_dir
with initialize_config_dir(version_base="1.3", config_dir=str(catalog.folder())):
    run = build_run(compose("config", ["data=image_folder", "data.root={folder}", "device=cpu", "model=linear"]))
images = len(run.train) + len(run.val) + len(run.test)
print(f"{{time.perf_counter() - begun:.2f}} s from torch to a built run of {{images:,}} images, and {{own:.2f}} s for what torch imports with the first optimizer of any program")
"""


def write(folder: Path, images: int) -> None:
    """ROOT/train/{china,flower} and one test image of each."""
    random = np.random.default_rng(0)
    photographs = dict(zip(("china", "flower"), load_sample_images().images))
    for number in range(images + 2):
        name = ("china", "flower")[number % 2]
        path = folder / ("train" if number < images else "test") / name / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        top, left = random.integers(0, 427 - 375), random.integers(0, 640 - 500)
        Image.fromarray(photographs[name][top : top + 375, left : left + 500]).save(path, quality=90)


def decode_only(job: tuple[list[str], int]) -> int:
    paths, size = job
    for path in paths:
        decoded(path, size)
    return len(paths)


def corners(images: torch.Tensor) -> torch.Tensor:
    """Stands in for a preprocessing that another device does."""
    return images[:, :, :1, :1].float()


def timed(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def consume(loader: Loader, parts: list[torch.Tensor]) -> None:
    for images, _ in loader.batches(parts):
        images[:1].sum()


def streams(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        write(Path(folder), arguments.images)
        fields = {"root": folder, "size": arguments.size, "val_fraction": 0.0}
        files = ImageFolder(**fields, cache="none").load().train
        kept = ImageFolder(**fields).load().train
        apply = ChannelStandardize().fit(kept.sample()[:512])
        cpu = torch.device("cpu")
        loaders = {
            "stream, bytes": Loader(files, corners, cpu, residency="stream", workers=arguments.workers),
            "stream, floats": Loader(files, apply, cpu, residency="stream", workers=arguments.workers),
            "host, cache": Loader(kept, apply, cpu, residency="host"),
            "device, cache": Loader(kept, apply, cpu, residency="device"),
        }
        paths = [files.images.source.paths[number] for number in files.images.numbers.tolist()]
        size = arguments.batch_size
        jobs = [(paths[first : first + size], arguments.size) for first in range(0, len(paths), size)]
        times: dict[str, list[float]] = {"bare decoding": [], **{name: [] for name in loaders}}
        with multiprocessing.get_context("fork").Pool(arguments.workers) as pool:
            for turn in range(arguments.rounds + 1):  # the first, which starts the workers, does not count
                order = torch.randperm(len(kept), generator=torch.Generator().manual_seed(turn))
                works = {"bare decoding": lambda: list(pool.imap(decode_only, jobs))}
                works |= {
                    name: lambda loader=loader: consume(loader, list(order.split(size)))
                    for name, loader in loaders.items()
                }
                for name, work in works.items():
                    times[name] += [timed(work)] * (turn > 0)
        print(
            f"{len(paths):,} images of {arguments.size}x{arguments.size}, batches of {size}, {arguments.workers} workers"
        )
        for name, seconds in times.items():
            ratio = statistics.median(bare / own for bare, own in zip(times["bare decoding"], seconds))
            print(
                f"{name:14s} {len(paths) / statistics.median(seconds):9,.0f} images/s   {ratio:7.2f} of bare decoding (median of the rounds)"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=cores())
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.folder:
        for _ in range(2):
            subprocess.run([sys.executable, "-c", STARTS.format(folder=arguments.folder.resolve())], check=True)
    else:
        streams(arguments)


if __name__ == "__main__":
    main()
