"""Time task=predict against a bare loop that decodes and predicts the same files, and measure its memory.

    python scripts/bench/predict.py                     # 10,000 JPEGs of 96 x 96 pixels, a resnet20 of 64 pixels
    python scripts/bench/predict.py --images DIR        # the first 10,000 files in a folder of your own, --size pixels
    python scripts/bench/predict.py --memory 100000     # memory of the process over so many files

The bare loop decodes a batch with Pillow in as many threads as there are cores, and then predicts it. Rounds alternate;
the table has medians, and the ratio of the images a second of both. All answers are compared.
"""

import argparse
import csv
import os
import resource
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from trainer import load, train
from trainer.inference.predictions import stream
from trainer.inference.sources import items_of

DIFFERENT = 1000  # files; the others are links to them


def make_images(folder: Path, count: int, side: int = 96) -> None:
    """Write JPEGs, of which only the first DIFFERENT have a content of their own."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for place in range(count):
        path = folder / f"{place:06}.jpg"
        if place >= DIFFERENT:
            os.link(folder / f"{place % DIFFERENT:06}.jpg", path)
            continue
        coarse = Image.fromarray(rng.integers(0, 255, (12, 12, 3), dtype=np.uint8))
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(path, quality=90)


def trained_model(folder: Path, size: int):
    """Return a resnet20 that has seen a few of the images, in two classes."""
    for place, name in enumerate(("a", "b")):
        make_images(folder / "train" / name, 40, 64 + place)
    words = (f"data.root={folder}/train", f"data.size={size}", "data.cache=none", "model=resnet20", "norm=batch")
    run = train("data=image_folder", *words, epochs="1st", threads=1, output=folder / "outputs", quiet=True)
    return load(run.directory, device="cpu")


def bare(model, paths: list[str], batch: int) -> list[int]:
    """Return the classes of files by a loop without anything else."""

    height, width = model.input_shape[1:]

    def decode(path: str) -> torch.Tensor:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1)

    found = []
    with ThreadPoolExecutor(os.cpu_count()) as threads, torch.inference_mode():
        for start in range(0, len(paths), batch):
            images = torch.stack(list(threads.map(decode, paths[start : start + batch])))
            found += model.module(model.preprocess(images)).softmax(1).argmax(1).tolist()
    return found


def ours(model, paths: list[str], batch: int, target: Path) -> list[str]:
    """Return the classes of files, written as CSV on the way."""
    found = []
    with target.open("w", newline="") as file:
        writer = csv.writer(file)
        for prediction in stream(model, items_of(paths, model.description.inputs), batch_size=batch):
            writer.writerow([prediction.path, prediction.label, prediction.probability])
            found.append(prediction.label)
    return found


def compare(arguments: argparse.Namespace, folder: Path) -> None:
    """Print images a second of both."""
    batch, rounds, images = arguments.batch, arguments.rounds, arguments.images or folder / "new"
    model = trained_model(folder, arguments.size)
    if not arguments.images:
        make_images(images, arguments.count)
    paths = sorted(str(path) for path in images.rglob("*") if path.is_file())[: arguments.count]
    count = len(paths)
    rates = {"bare": [], "predict": []}
    for _ in range(rounds):
        start = time.perf_counter()
        expected = bare(model, paths, batch)
        rates["bare"].append(count / (time.perf_counter() - start))
        start = time.perf_counter()
        found = ours(model, paths, batch, folder / "out.csv")
        rates["predict"].append(count / (time.perf_counter() - start))
        assert found == [model.classes[place] for place in expected]
    medians = {name: statistics.median(values) for name, values in rates.items()}
    ratio = statistics.median(two / one for one, two in zip(*rates.values()))
    print(
        f"{count:,} JPEGs, batches of {batch}: "
        + ", ".join(f"{name} {value:,.0f} images/s" for name, value in medians.items())
    )
    print(f"ratio {ratio:.2f} (median of {rounds} pairs)")


def memory(arguments: argparse.Namespace, folder: Path) -> None:
    """Print the largest memory of the process after a tenth of the files, and after all."""
    count, batch = arguments.memory, arguments.batch
    model = trained_model(folder, arguments.size)
    make_images(folder / "new", count)
    found = stream(model, items_of(str(folder / "new"), model.description.inputs), batch_size=batch)
    for number, _ in enumerate(found, 1):
        if number in (count // 10, count):
            print(f"{number:,} files: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--images", type=Path, help="folder")
    parser.add_argument("--size", type=int, default=64, help="pixels that the network takes")
    parser.add_argument("--memory", type=int, help="number of files")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        (memory if arguments.memory else compare)(arguments, Path(place))
