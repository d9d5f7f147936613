"""The well-known image sets, through torchvision."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from trainer.data.splits import Split, Splits, hold_out, one_hot, take
from trainer.errors import DataError, require


@dataclass(frozen=True, kw_only=True)
class Vision:
    """A set of torchvision's that keeps its images in `data` and its labels in `targets`: uint8 images (C, H, W), one label each.

    Args:
        source: the set's class in torchvision.datasets.
        folder: where that class looks for the files below `root`.
        root: folder that holds the set's files, or is to receive them.
        download: fetch the files where they are missing.
        val_share: of the training images, held out class by class, in [0, 1).
        split_seed: >= 0.
    Errors: ValueError; DataError without the files.
    """

    source: str
    folder: str
    root: str = "data"
    download: bool = False
    val_share: float = 0.1
    split_seed: int = 0

    def __post_init__(self) -> None:
        require("in [0, 1)", val_share=self.val_share)
        require(">= 0", split_seed=self.split_seed)

    def load(self) -> Splits:
        train, test = (self._read(train) for train in (True, False))
        classes = tuple(train.classes)
        (images, labels), (test_images, test_labels) = pixels(train), pixels(test)
        targets, test_targets = (one_hot(part, len(classes), f"{self.source} in {self.root}") for part in (labels, test_labels))
        kept, held = hold_out(labels, self.val_share, self.split_seed)
        splits = {"train": take(images, targets, kept), "val": take(images, targets, held), "test": Split(test_images, test_targets)}
        return Splits(**splits, task="classification", classes=classes)

    def _read(self, train: bool) -> object:
        from torchvision import datasets

        known = getattr(datasets, self.source, None)
        if not (isinstance(known, type) and issubclass(known, datasets.VisionDataset)):
            raise ValueError(f"source must be a data set of torchvision.datasets, got {self.source}")
        place = Path(self.root) / self.folder
        try:
            return known(self.root, train=train, download=self.download)
        except Exception as error:  # torchvision raises whatever its reader or the network does
            if self.download:
                problem = f"the download into {self.root} failed ({error}); put the files into {place} by hand, or use data=digits"
            elif place.is_dir():
                problem = f"the {self.source} files in {place} cannot be read ({error})"
            else:
                problem = f"no {self.source} files in {place}; data.root=DIR says where they are, data.download=true fetches them"
            raise DataError(f"data.root={self.root}: {problem}") from None


def pixels(part) -> tuple[Tensor, Tensor]:
    """A torchvision set's images as (N, C, H, W) uint8 and its labels."""
    images = torch.as_tensor(part.data)
    images = images.unsqueeze(1) if images.dim() == 3 else images.permute(0, 3, 1, 2).contiguous()
    return images, torch.as_tensor(part.targets)
