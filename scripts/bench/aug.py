"""Time augmentations of CIFAR-shaped images: trainer's on batches, torchvision's image by image in a DataLoader.

    python scripts/bench/aug.py [--threads 2] [--batch 256] [--images 5120] [--rounds 5] [NAME ...]

NAME is a key of CASES below, or options of aug= joined by commas (flip,cutout). Both augment the same random uint8
images in memory. trainer's go through the run's loader and its preprocessing. torchvision's go through a DataLoader
with transforms v1 and v2, in this process and in two persistent workers. All take turns, so that the machine's load is
the same for all. Printed are images per second, the median of the rounds, and the ratio to the fastest of torchvision.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from hydra import compose, initialize_config_dir
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as v1
from torchvision.transforms import v2

from trainer.base.pixel_space import fuse_pixel_spaces
from trainer.base.warp import fuse_warps
from trainer.config import catalog
from trainer.config.hydra_context import Invocation
from trainer.config.instantiate import factory
from trainer.data.loader import Loader
from trainer.data.splits import Split
from trainer.engine.build import make_augmentations

BILINEAR = v2.InterpolationMode.BILINEAR
MEAN, DEVIATION = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
LEAST_SECONDS = 0.3  # of epochs in a round
CASES: dict[str, tuple[str, Callable]] = {  # options of aug=, and torchvision's from a module of transforms
    "normalise alone": ("", lambda v: []),
    "crop + flip": ("crop,flip", lambda v: [v.RandomCrop(32, padding=4), v.RandomHorizontalFlip()]),
    "affine": (
        "rotate,scale_xy,shear,translate",
        lambda v: [v.RandomAffine(15, (0.1, 0.1), (0.83, 1.2), (-10, 10, -10, 10), BILINEAR)],
    ),
    "resized crop": ("resized_crop", lambda v: [v.RandomResizedCrop(32, antialias=False)]),
    "color jitter": ("color_jitter", lambda v: [v.ColorJitter(0.4, 0.4, 0.4, 0.1)]),
    "perspective": ("perspective", lambda v: [v.RandomPerspective(0.5, 1.0)]),
    "random erasing": ("random_erasing", lambda v: [v.RandomErasing(0.5, (0.02, 0.4), (0.3, 3.3))]),
    "randaugment": ("randaugment", lambda v: [v.RandAugment(2, 27)]),
    "trivial augment": ("trivial_augment", lambda v: [v.TrivialAugmentWide()]),
}


class Resident(Dataset):
    """Data set of single images in memory."""

    def __init__(self, images: torch.Tensor, transform: Callable) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.transform(self.images[index])


def by_trainer(options: str, images: torch.Tensor, batch_size: int) -> Callable[[], int]:
    """Return a function that augments an epoch, with the values of conf/, and returns the number of images."""
    with initialize_config_dir(version_base="1.3", config_dir=str(catalog.folder())):
        cfg = compose("config", [f"aug=[{options}]"])
    cpu, rng = torch.device("cpu"), torch.Generator()
    apply = factory(cfg, "preprocess", Invocation())().fit(images)
    loader = Loader(Split(images, torch.zeros(len(images), 10)), apply, cpu)
    loader.images, loader.apply = images, apply  # uint8, as for images too many to be kept as floats
    sample = loader.batch(torch.arange(256))[0]
    augmentations = make_augmentations(cfg, "classification", sample, apply, Invocation())
    transforms = fuse_pixel_spaces(fuse_warps(augmentations))

    def epoch() -> int:
        for indices in torch.randperm(len(images)).split(batch_size):
            batch, targets = loader.batch(indices)
            for transform in transforms:
                batch, targets = transform(batch, targets, rng)
        return len(images)

    return epoch


def by_torchvision(make: Callable, module, workers: int, images: torch.Tensor, batch_size: int) -> Callable[[], int]:
    """Return a function that augments an epoch in a DataLoader with persistent workers; v1 converts as v2 does."""
    convert = [v2.ToDtype(torch.float32, scale=True)] if module is v2 else [v1.ConvertImageDtype(torch.float32)]
    transform = nn.Sequential(*make(module), *convert, module.Normalize(MEAN, DEVIATION))
    data = Resident(images, transform)
    loader = DataLoader(data, batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    return lambda: sum(len(batch) for batch in loader)


def speeds(epochs: dict[str, Callable[[], int]], rounds: int) -> dict[str, float]:
    """Return the images per second of each, timed in turn, without the first round, which starts the workers."""
    measured: dict[str, list[float]] = {name: [] for name in epochs}
    for _ in range(rounds + 1):
        for name, epoch in epochs.items():
            start, count = time.perf_counter(), 0
            while time.perf_counter() - start < LEAST_SECONDS:
                count += epoch()
            measured[name].append(count / (time.perf_counter() - start))
    return {name: statistics.median(values[1:]) for name, values in measured.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--images", type=int, default=5120)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (arguments.images, 3, 32, 32), generator=rng, dtype=torch.uint8)
    for name in arguments.names or CASES:
        options, make = CASES.get(name, (name, None))
        epochs = {"trainer": by_trainer(options, images, arguments.batch)}
        if make:
            epochs |= {
                f"{title}, {workers} workers": by_torchvision(make, module, workers, images, arguments.batch)
                for title, module in (("v1", v1), ("v2", v2))
                for workers in (0, 2)
            }
        others = speeds(epochs, arguments.rounds)
        own = others.pop("trainer")
        line = f"{name:18s} trainer {own:8.0f} images/s"
        if others:
            best = max(others, key=others.get)
            line += f"   best of torchvision ({best}) {others[best]:8.0f}   ratio {own / others[best]:5.1f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
