"""The well-known image sets, through torchvision."""

import inspect
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from trainer.base.checks import require, require_one_of
from trainer.base.errors import DataError
from trainer.data.download import alone, fetch
from trainer.data.splits import Split, Splits, halved, hold_out, one_hot, take


@dataclass(frozen=True, kw_only=True)
class Vision:
    """A set of torchvision's that keeps its images in `data` and its labels in `targets` or `labels`: uint8 images, one label each.

    A download is tried up to three times, its files are checked against their digests, and a second process waits for the first one's.

    Args:
        source: the set's class in torchvision.datasets.
        folder: where that class looks for the files below `root`.
        root: folder that holds the set's files, or is to receive them.
        download: fetch the files where they are missing.
        val_fraction: of the training images, held out class by class, in [0, 1).
        split_seed: >= 0.
        half: which classes: all, a (the first half) or b (the others), the two tasks of a transfer (Yosinski et al., 2014,
            arXiv:1411.1792).
    Shapes: images (C, H, W). Errors: ValueError; DataError without the files.
    """

    source: str
    folder: str
    root: str = "data"
    download: bool = False
    val_fraction: float = 0.1
    split_seed: int = 0
    half: str = "all"

    def __post_init__(self) -> None:
        require("in [0, 1)", val_fraction=self.val_fraction)
        require(">= 0", split_seed=self.split_seed)
        require_one_of("all", "a", "b", half=self.half)

    def load(self) -> Splits:
        train, test = (self._read(train) for train in (True, False))
        (images, labels), (test_images, test_labels) = pixels(train), pixels(test)
        classes = tuple(getattr(train, "classes", map(str, range(int(labels.max()) + 1))))
        targets, test_targets = (
            one_hot(part, len(classes), f"{self.source} in {self.root}") for part in (labels, test_labels)
        )
        kept, held = hold_out(labels, self.val_fraction, self.split_seed)
        splits = {
            "train": take(images, targets, kept),
            "val": take(images, targets, held),
            "test": Split(test_images, test_targets),
        }
        return halved(Splits(**splits, task="classification", classes=classes), self.half)

    def _read(self, train: bool) -> object:
        from torchvision import datasets

        known = getattr(datasets, self.source, None)
        if not (isinstance(known, type) and issubclass(known, datasets.VisionDataset)):
            raise ValueError(f"source must be a data set of torchvision.datasets, got {self.source}")
        which = (
            {"train": train}
            if "train" in inspect.signature(known).parameters
            else {"split": "train" if train else "test"}
        )
        place = Path(self.root) / self.folder
        try:
            if not self.download:
                return known(self.root, **which)
            with alone(Path(self.root) / f".{self.source}.lock"):
                return fetch(lambda: known(self.root, **which, download=True))
        except Exception as error:  # torchvision raises whatever its reader or the network does
            why = " ".join(str(error).split())
            if self.download:
                problem = f"the download into {self.root} failed ({why}); put {archives(known, place)} by hand and repeat, or use data=digits"
            elif there(known, place):
                problem = f"the {self.source} files in {place} cannot be read ({why})"
            else:
                problem = f"no {self.source} files in {place}; data.root=DIR says where they are, data.download=true fetches them"
            raise DataError(f"data.root={self.root}: {problem}") from None


def there(known: type, place: Path) -> bool:
    """Whether the place holds anything of the set's."""
    if hasattr(known, "split_list"):  # its files lie among others in the root itself
        return any((place / part[1]).is_file() for part in known.split_list.values())
    return place.is_dir() and any(place.iterdir())


def archives(known: type, place: Path) -> str:
    """The files that a download fetches, and where they are looked for: in the folder itself, or above it where they are packed folders."""
    if hasattr(known, "resources"):
        return f"{', '.join(name for name, _ in known.resources)} into {place}"
    if hasattr(known, "filename"):
        return f"{known.filename} into {place.parent}"
    if hasattr(known, "split_list"):
        return f"{', '.join(known.split_list[part][1] for part in ('train', 'test'))} into {place}"
    return f"the files into {place}"


def pixels(part) -> tuple[Tensor, Tensor]:
    """A torchvision set's images as (N, C, H, W) uint8 and its labels."""
    images = torch.as_tensor(part.data)
    if images.dim() == 3:
        images = images.unsqueeze(1)
    elif images.shape[3] == 3:  # channels last
        images = images.permute(0, 3, 1, 2)
    return images.contiguous(), torch.as_tensor(part.targets if hasattr(part, "targets") else part.labels)
