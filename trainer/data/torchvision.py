"""Image data sets of torchvision: MNIST, CIFAR and others."""

import inspect
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from trainer.base.checks import require
from trainer.base.compiler import import_torchvision
from trainer.base.errors import DataError
from trainer.data.download import fetch
from trainer.data.lock import exclusive_lock
from trainer.data.splits import Split, Splits, hold_out, one_hot, take


@dataclass(frozen=True, kw_only=True)
class Torchvision:
    """Data set of torchvision that keeps uint8 images in `data` and one label each in `targets` or `labels`.

    A download is tried up to three times and its files are checked against their digests; a second process waits for
    the first one's download.

    Args:
        source: the data set's class in torchvision.datasets.
        folder: where that class keeps its files, below `root`.
        root: folder that contains the files, or that they are downloaded to.
        download: download missing files.
        val_fraction: of the training images, held out class by class, in [0, 1).
        split_seed: >= 0.
    Shapes: images (C, H, W). Errors: ValueError; DataError without the files.
    """

    source: str
    folder: str
    root: str = "data"
    download: bool = False
    val_fraction: float = 0.1
    split_seed: int = 0

    def __post_init__(self) -> None:
        require("in [0, 1)", val_fraction=self.val_fraction)
        require(">= 0", split_seed=self.split_seed)

    def load(self) -> Splits:
        train, test = (self._read(train) for train in (True, False))
        (images, labels), (test_images, test_labels) = pixels_and_labels(train), pixels_and_labels(test)
        source = f"{self.source} in {self.root}"
        for name, pixels, known in (("training", images, labels), ("test", test_images, test_labels)):
            require_matching(f"{source}: its {name} files", pixels, known)
        if images.shape[1:] != test_images.shape[1:]:
            raise DataError(f"{source}: training and test images differ in size")
        classes = tuple(getattr(train, "classes", map(str, range(int(labels.max()) + 1))))
        targets, test_targets = (one_hot(part, len(classes), source) for part in (labels, test_labels))
        kept, held = hold_out(labels, self.val_fraction, self.split_seed)
        splits = {
            "train": take(images, targets, kept),
            "val": take(images, targets, held),
            "test": Split(test_images, test_targets),
        }
        return Splits(**splits, task="classification", classes=classes)

    def _read(self, train: bool) -> object:
        """Return torchvision's object of the training or the test images, downloaded if necessary."""
        datasets = import_torchvision().datasets
        kind = getattr(datasets, self.source, None)
        if not (isinstance(kind, type) and issubclass(kind, datasets.VisionDataset)):
            raise ValueError(f"source must be a data set of torchvision.datasets, got {self.source}")
        if "train" in inspect.signature(kind).parameters:
            split = {"train": train}
        else:
            split = {"split": "train" if train else "test"}
        try:
            if not self.download:
                return kind(self.root, **split)
            with exclusive_lock(Path(self.root) / f".{self.source}.lock"):
                return fetch(lambda: kind(self.root, **split, download=True))
        except Exception as error:  # torchvision raises whatever its reader or the network does
            raise DataError(f"data.root={self.root}: {self._problem(kind, error)}") from None

    def _problem(self, kind: type, error: Exception) -> str:
        """Return what is wrong with the files, and what to type."""
        folder, why = Path(self.root) / self.folder, " ".join(str(error).split())
        if self.download:
            return (
                f"download into {self.root} failed ({why}); put {files_of(kind, folder)} yourself and repeat the "
                "command, or try data=digits"
            )
        if has_files(kind, folder):
            return f"cannot read the {self.source} files in {folder} ({why})"
        return f"no {self.source} files in {folder}; try data.root=DIR for another folder, or data.download=true"


def has_files(kind: type, folder: Path) -> bool:
    """Return True if the folder contains any file of the data set."""
    if hasattr(kind, "split_list"):  # its files are among others in the root itself
        return any((folder / entry[1]).is_file() for entry in kind.split_list.values())
    return folder.is_dir() and any(folder.iterdir())


def files_of(kind: type, folder: Path) -> str:
    """Return `FILES into FOLDER` for what a download fetches; archives of `folder` belong into its parent."""
    if hasattr(kind, "resources"):
        return f"{', '.join(name for name, _ in kind.resources)} into {folder}"
    if hasattr(kind, "filename"):
        return f"{kind.filename} into {folder.parent}"
    if hasattr(kind, "split_list"):
        return f"{', '.join(kind.split_list[split][1] for split in ('train', 'test'))} into {folder}"
    return f"the files into {folder}"


def require_matching(files: str, images: Tensor, labels: Tensor) -> None:
    """Check that there is a label for each image, and any image. Errors: DataError."""
    if len(images) != len(labels):
        raise DataError(f"{files} hold {len(images):,} images and {len(labels):,} labels")
    if not images.numel():
        raise DataError(f"{files} hold no images")


def pixels_and_labels(dataset) -> tuple[Tensor, Tensor]:
    """Return the images of a torchvision data set as (N, C, H, W) uint8, and its labels."""
    images = torch.as_tensor(dataset.data)
    if images.dim() == 3:
        images = images.unsqueeze(1)
    elif images.shape[3] == 3:  # channels last
        images = images.permute(0, 3, 1, 2)
    return images.contiguous(), torch.as_tensor(dataset.targets if hasattr(dataset, "targets") else dataset.labels)
