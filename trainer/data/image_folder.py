"""Images in folders named after their classes."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainer.base.checks import require, require_one_of
from trainer.base.errors import DataError
from trainer.base.text import did_you_mean, nearest
from trainer.data.cache import cache_key, default_folder, load_or_decode, read_scan, write_scan
from trainer.data.capacity import free_bytes
from trainer.data.image_files import ImageFiles, LazyImages, Scan, scan_images
from trainer.data.splits import Split, Splits, hold_out, one_hot

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
COPY_LIMIT = 2 * 2**30  # bytes of a split that are copied into memory; a larger one is read from the cache as needed
MEMORY_FRACTION = 0.5  # of the free memory, for images that have no other place
LISTED = 3  # files that a message names

Listing = dict[str, list[tuple[str, int, int]]]  # class: name, length and time of change of each file


@dataclass(frozen=True, kw_only=True)
class ImageFolder:
    """ROOT/train/CLASS/*, ROOT/test/CLASS/* and, if there, ROOT/val/CLASS/*; classes are the folders of train in order.

    The images are decoded once, and cached under a digest of the files' names, lengths and times. With cache=none no
    pixels are cached: every file is still decoded once to check it, the facts found are cached in ~/.cache/trainer, and
    a run decodes the files anew, into memory or, with residency=stream, batch by batch.

    Args:
        root: the folder.
        size: resize every image to (size, size) pixels, >= 1; None where all have one size.
        val_fraction: of the training images where there is no val folder, in [0, 1).
        split_seed: >= 0.
        cache: the cache's folder, auto ($XDG_CACHE_HOME/trainer or ~/.cache/trainer), or none.
        on_error: stop the run at an unreadable file, or skip such files and report how many there are.
    Shapes: images (3, H, W), or (1, H, W) where all are grey.
    Errors: ValueError; DataError, naming the folder or the file.
    """

    root: str
    size: int | None = None
    val_fraction: float = 0.1
    split_seed: int = 0
    cache: str = "auto"
    on_error: str = "stop"

    def load(self) -> Splits:
        require("in [0, 1)", val_fraction=self.val_fraction)
        require(">= 0", split_seed=self.split_seed)
        require_one_of("stop", "skip", on_error=self.on_error)
        if self.size is not None:
            require(">= 1", size=self.size)
        root = Path(self.root)
        if not root.is_dir():
            raise DataError(f"data.root={self.root}: no such folder; it must contain train/CLASS/* and test/CLASS/*")
        classes = class_folders(root / "train")
        names = [name for name in ("train", "val", "test") if name != "val" or (root / name).is_dir()]
        listings = {name: list_images(root / name, classes) for name in names}
        paths, labels = flatten(root, listings, classes)
        images, scan, notes = self._images(paths, cache_key(listings, self.size))
        readable = self._readable(paths, scan)
        lengths = [sum(map(len, listings[name].values())) for name in names]
        members = {name: rows[readable[rows]] for name, rows in zip(names, torch.arange(len(paths)).split(lengths))}
        require_enough(root, labels[members["train"]], len(members["test"]), classes)
        if "val" not in members:
            train = members["train"]
            kept, held = hold_out(labels[train], self.val_fraction, self.split_seed)
            members["train"], members["val"] = train[kept], train[held]
        splits = {
            name: Split(select(images, rows), one_hot(labels[rows], len(classes), str(root / name)))
            for name, rows in members.items()
        }
        return Splits(**splits, task="classification", classes=tuple(classes), notes=notes)

    def _images(self, paths: list[str], key: str) -> tuple[Tensor | ImageFiles, Scan, tuple[str, ...]]:
        """Return the images of all files, the facts about them, and notes for the user."""
        if self.cache == "none":
            scan = read_scan(default_folder(), key)
            if scan is None:
                scan, _ = scan_images(paths, self.size, lambda shape: None)
                try:
                    write_scan(default_folder(), key, scan)
                except OSError:
                    pass  # the next start scans again
            return ImageFiles(paths, self.size, (len(paths), *scan.shape)), scan, self._skipped(paths, scan)
        folder = default_folder() if self.cache == "auto" else Path(self.cache).expanduser()
        try:
            scan, pixels = load_or_decode(folder, key, paths, self.size)
            return torch.from_numpy(pixels), scan, self._skipped(paths, scan)
        except OSError as error:
            why = error.strerror or error
        scan, pixels = scan_images(paths, self.size, allocate_in_memory)
        note = (
            f"data.cache={self.cache}: cannot write the decoded images to {folder} ({why}), so that they are decoded "
            f"{'in every epoch' if pixels is None else 'at every start'}; try data.cache=DIR"
        )
        if pixels is None:
            images = ImageFiles(paths, self.size, (len(paths), *scan.shape))
        else:
            images = torch.from_numpy(pixels[:, : scan.shape[0]])
        return images, scan, (note, *self._skipped(paths, scan))

    def _readable(self, paths: list[str], scan: Scan) -> Tensor:
        """Return (N,) booleans. Errors: DataError at an unreadable file, unless such files are skipped."""
        if scan.unreadable and self.on_error == "stop":
            first, why = next(iter(scan.unreadable.items()))
            count = f"{len(scan.unreadable):,} of {len(paths):,} files are unreadable; "
            raise DataError(
                f"{paths[first]}: not a readable image ({why}); {count if len(scan.unreadable) > 1 else ''}"
                "replace it, or try data.on_error=skip"
            )
        readable = torch.ones(len(paths), dtype=torch.bool)
        readable[list(scan.unreadable)] = False
        return readable

    def _skipped(self, paths: list[str], scan: Scan) -> tuple[str, ...]:
        """Return a note on the files that are skipped, or none."""
        if not scan.unreadable:
            return ()
        listed = ", ".join(paths[index] for index in list(scan.unreadable)[:LISTED])
        more = ", ..." if len(scan.unreadable) > LISTED else ""
        return (f"data.on_error=skip: skipped {len(scan.unreadable):,} of {len(paths):,} files: {listed}{more}",)


def class_folders(split: Path) -> list[str]:
    """Return the names of a split's class folders. Errors: DataError where there are none."""
    if not split.is_dir():
        raise DataError(f"{split}: no such folder; data=image_folder reads ROOT/train/CLASS/* and ROOT/test/CLASS/*")
    names = sorted(entry.name for entry in split.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise DataError(f"{split}: contains no class folders; data=image_folder reads {split}/CLASS/*")
    return names


def list_images(split: Path, classes: list[str]) -> Listing:
    """Return the image files of a split. Errors: DataError on an empty or unknown class."""
    listing = {}
    for name in class_folders(split):
        if name not in classes:
            few = classes if nearest(name, classes) else classes[:10]
            raise DataError(f"{split / name}: no such class in train/; {did_you_mean(name, few)}")
        with os.scandir(split / name) as entries:
            listing[name] = sorted(
                (entry.name, *length_and_time(entry))
                for entry in entries
                if entry.name.lower().endswith(EXTENSIONS) and entry.name[0] != "."
            )
        if not listing[name] and split.name == "train":
            raise DataError(f"{split / name}: contains no images ({' '.join(EXTENSIONS)})")
    if not any(listing.values()):
        raise DataError(f"{split}: no images in its class folders ({' '.join(EXTENSIONS)})")
    return listing


def length_and_time(entry: os.DirEntry) -> tuple[int, int]:
    """Return a file's length and time of change; zeros for a broken link, which cannot be read either."""
    try:
        status = entry.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def flatten(root: Path, listings: dict[str, Listing], classes: list[str]) -> tuple[list[str], Tensor]:
    """Return the paths and the labels of all files, split after split and class after class."""
    paths: list[str] = []
    labels: list[Tensor] = []
    for split, listing in listings.items():
        for name, files in listing.items():
            folder = os.path.join(root, split, name, "")  # a pathlib.Path for each of a million files takes seconds
            paths += [folder + file for file, *_ in files]
            labels.append(torch.full((len(files),), classes.index(name)))
    return paths, torch.cat(labels)


def require_enough(root: Path, train_labels: Tensor, test_images: int, classes: list[str]) -> None:
    """Require a readable image of each class in train, and one in test. Errors: DataError."""
    counts = train_labels.bincount(minlength=len(classes))
    if not counts.all():
        raise DataError(f"{root / 'train'}: no readable image of class {classes[int(counts.argmin())]}")
    if not test_images:
        raise DataError(f"{root / 'test'}: no readable image")


def allocate_in_memory(shape: tuple[int, ...]) -> np.ndarray | None:
    """Return an array for the images, or None where the memory is too small."""
    limit = MEMORY_FRACTION * free_bytes(torch.device("cpu"))
    return np.empty(shape, np.uint8) if np.prod(shape, dtype=float) <= limit else None


def select(images: Tensor | ImageFiles, rows: Tensor) -> Tensor | LazyImages:
    """Return the images of one split: a view where they are contiguous, a copy where they are few, else lazy ones."""
    if isinstance(images, ImageFiles):
        return LazyImages(images, rows)
    if len(rows) == 0 or int(rows[-1] - rows[0]) + 1 == len(rows):
        first = int(rows[0]) if len(rows) else 0
        return images[first : first + len(rows)]
    return images[rows] if len(rows) * images[0].numel() <= COPY_LIMIT else LazyImages(images, rows)
