"""The well-known image sets, through torchvision."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from trainer.data.splits import Splits, Split, hold_out, one_hot, take
from trainer.errors import DataError, require


@dataclass(frozen=True, kw_only=True)
class MNIST:
    """60,000 training and 10,000 test images (1, 28, 28) of digits, 10 classes.

    Args:
        root: folder that holds the set's files, or is to receive them.
        download: fetch the files where they are missing.
        val_share: of the training images, in [0, 1).
        split_seed: >= 0.
    Errors: ValueError; DataError without the files.
    """

    root: str = "data"
    download: bool = False
    val_share: float = 0.1
    split_seed: int = 0

    def load(self) -> Splits:
        from torchvision.datasets import MNIST as Source

        return read(Source, self, "mnist", "MNIST/raw")


@dataclass(frozen=True, kw_only=True)
class FashionMNIST:
    """60,000 training and 10,000 test images (1, 28, 28) of clothing, 10 classes. Fields as in MNIST."""

    root: str = "data"
    download: bool = False
    val_share: float = 0.1
    split_seed: int = 0

    def load(self) -> Splits:
        from torchvision.datasets import FashionMNIST as Source

        return read(Source, self, "fashion_mnist", "FashionMNIST/raw")


@dataclass(frozen=True, kw_only=True)
class CIFAR10:
    """50,000 training and 10,000 test photographs (3, 32, 32), 10 classes. Fields as in MNIST."""

    root: str = "data"
    download: bool = False
    val_share: float = 0.1
    split_seed: int = 0

    def load(self) -> Splits:
        from torchvision.datasets import CIFAR10 as Source

        return read(Source, self, "cifar10", "cifar-10-batches-py")


def read(source: type, fields, name: str, folder: str) -> Splits:
    """Both parts of a torchvision set as uint8 (N, C, H, W), the validation images held out of its training part."""
    require("in [0, 1)", val_share=fields.val_share)
    require(">= 0", split_seed=fields.split_seed)
    place = Path(fields.root) / folder
    try:
        parts = [source(fields.root, train=train, download=fields.download) for train in (True, False)]
    except Exception as error:  # torchvision raises whatever its reader or the network does
        if fields.download:
            raise DataError(f"data={name}: the download into {fields.root} failed ({error}); put the files into {place} by hand, or use data=digits") from None
        if not place.is_dir():
            raise DataError(f"data.root={fields.root}: no {name} files in {place}; data.root=DIR says where they are, data.download=true fetches them") from None
        raise DataError(f"data.root={fields.root}: the {name} files in {place} cannot be read ({error})") from None
    classes = tuple(parts[0].classes)
    (images, labels), (test_images, test_labels) = (pixels(part) for part in parts)
    targets = one_hot(labels, len(classes), f"data={name}")
    test = Split(test_images, one_hot(test_labels, len(classes), f"data={name}"))
    kept, held = hold_out(labels, fields.val_share, fields.split_seed)
    train, val = take(images, targets, kept), take(images, targets, held)
    return Splits(train=train, val=val, test=test, task="classification", classes=classes)


def pixels(part) -> tuple[Tensor, Tensor]:
    """A torchvision set's images as (N, C, H, W) uint8 and its labels."""
    images = torch.as_tensor(part.data)
    images = images.unsqueeze(1) if images.dim() == 3 else images.permute(0, 3, 1, 2).contiguous()
    return images, torch.as_tensor(part.targets)
