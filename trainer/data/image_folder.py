"""Images in folders named after their classes."""

import os
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from trainer.base.checks import require, require_one_of
from trainer.base.errors import DataError
from trainer.base.paths import expanded
from trainer.data.cache import cache_key, default_folder, load_or_decode, read_scan, write_scan
from trainer.data.capacity import free_bytes
from trainer.data.folder_layout import read_layout
from trainer.data.folder_report import faults_of, notes_of, report
from trainer.data.folder_walk import Layout
from trainer.data.held_out import hold_out_missing
from trainer.data.image_decoding import Decoder
from trainer.data.image_files import ImageFiles, chosen
from trainer.data.image_scan import CHECKED, Scan, scan_images
from trainer.data.inputs import ImageInput
from trainer.data.splits import Names, Split, Splits, one_hot

MEMORY_FRACTION = 0.5  # of the free memory, for images that have no other place


@dataclass(frozen=True, kw_only=True)
class ImageFolder:
    """ROOT/CLASS/*, or ROOT/train/CLASS/* with ROOT/val/CLASS/* and ROOT/test/CLASS/* where they are there.

    In place of class folders, a table metadata.csv or metadata.jsonl with file_name and label may lie in ROOT or in the
    folder of each split, as in Hugging Face's ImageFolder.

    Classes are the folders of train in order. A split without a folder is held out from train, class by class; its
    fraction is one of all images of train/, or of the whole folder where it has no splits.

    The images are decoded once, and cached under a digest of the files' names, lengths and times. With cache=none no
    pixels are cached: every file is still decoded once to check it, the facts found are cached in ~/.cache/trainer, and
    a run decodes the files anew, into memory or, with residency=stream, batch by batch.

    Args:
        root: the folder.
        size: make every image (size, size) pixels, >= 1; None where all have one size.
        fit: of an image that is not square: crop the middle, pad it with black, or squash it.
        val_fraction, test_fraction: of the images, where there is no such folder, in [0, 1); less than 1 together.
        split_seed: >= 0.
        cache: the cache's folder, auto ($XDG_CACHE_HOME/trainer or ~/.cache/trainer), or none.
        on_error: stop the run with a list of what is wrong with the folder, or skip such files and classes.
    Shapes: images (3, H, W), or (1, H, W) where all are grey.
    Errors: ValueError; DataError, naming the folder or the file.
    """

    root: str
    size: int | None = None
    fit: str = "crop"
    val_fraction: float = 0.1
    test_fraction: float = 0.2
    split_seed: int = 0
    cache: str = "auto"
    on_error: str = "stop"

    def load(self) -> Splits:
        require("in [0, 1)", val_fraction=self.val_fraction, test_fraction=self.test_fraction)
        require(">= 0", split_seed=self.split_seed)
        require_one_of("stop", "skip", on_error=self.on_error)
        require_one_of("crop", "pad", "squash", fit=self.fit)
        if self.size is not None:
            require(">= 1", size=self.size)
        layout, decoder = read_layout(expanded(self.root)), Decoder(self.size, self.fit)
        paths, labels, places = flatten(layout)
        images, scan, warning = self._images(layout, paths, decoder)
        readable = torch.ones(len(paths), dtype=torch.bool)
        readable[list(scan.unreadable)] = False
        trained = labels[readable & (places == 0)].bincount(minlength=len(layout.classes)) > 0
        faults = faults_of(layout, scan, paths, trained.tolist())
        faults = [fault for fault in faults if self.on_error == "stop" or not fault.skippable]
        if faults:
            raise DataError(report(layout, faults, scan.files, len(paths)))
        members = {
            split: (readable & trained[labels] & (places == place)).nonzero().flatten()
            for place, split in enumerate(layout.files)
        }
        held = hold_out_missing(members, labels, self.val_fraction, self.test_fraction, self.split_seed, noun="folder")
        classes = tuple(name for name, some in zip(layout.classes, trained.tolist()) if some)
        numbers = (trained.cumsum(0) - 1)[labels]  # of the classes that are left
        splits = {
            split: Split(
                chosen(images, rows),
                one_hot(numbers[rows], len(classes), str(layout.root)),
                Names("path", paths, rows),
            )
            for split, rows in members.items()
        }
        notes = (*warning, *notes_of(layout, scan, paths, trained.tolist(), decoder), *held)
        inputs = ImageInput(shape=scan.shape, size=self.size, fit=self.fit, levels=scan.levels)
        return Splits(**splits, task="classification", classes=classes, notes=notes, inputs=inputs)

    def _images(
        self, layout: Layout, paths: list[str], decoder: Decoder
    ) -> tuple[Tensor | ImageFiles | None, Scan, tuple[str, ...]]:
        """Return the images of all files, or None where they cannot be used; facts about them; a warning, if any."""
        if not paths:
            return None, Scan(None, {}), ()
        if layout.faults and self.on_error == "stop":  # another listing, and key of the cache, once they are mended
            return None, scan_images(paths[:CHECKED], decoder, lambda shape: None)[0], ()
        listed = [file for classes in layout.files.values() for files in classes.values() for file in files]
        key = cache_key(listed, decoder)
        if self.cache == "none":
            scan = read_scan(default_folder(), key)
            if scan is None:
                scan, _ = scan_images(paths, decoder, lambda shape: None)
                if scan.shape is not None:
                    try:
                        write_scan(default_folder(), key, scan)
                    except OSError:
                        pass  # the next start scans again
            return as_files(paths, decoder, scan), scan, ()
        folder = default_folder() if self.cache == "auto" else expanded(self.cache)
        try:
            scan, pixels = load_or_decode(folder, key, paths, decoder)
            return None if pixels is None else torch.from_numpy(pixels), scan, ()
        except OSError as error:
            why = error.strerror or error
        scan, pixels = scan_images(paths, decoder, allocate_in_memory)
        note = (
            f"data.cache={self.cache}: cannot write the decoded images to {folder} ({why}), so that they are decoded "
            f"{'in every epoch' if pixels is None else 'at every start'}; try data.cache=DIR"
        )
        if pixels is None or scan.shape is None:
            return as_files(paths, decoder, scan), scan, (note,)
        return torch.from_numpy(pixels[:, : scan.shape[0]]), scan, (note,)


def flatten(layout: Layout) -> tuple[list[str], Tensor, Tensor]:
    """Return the paths of all files, split after split and class after class, with their labels and splits (N,)."""
    paths: list[str] = []
    labels: list[Tensor] = [torch.empty(0, dtype=torch.long)]
    places: list[Tensor] = [torch.empty(0, dtype=torch.long)]
    root, numbers = os.path.join(layout.root, ""), {name: number for number, name in enumerate(layout.classes)}
    for place, classes in enumerate(layout.files.values()):
        for name, files in classes.items():
            paths += [root + path for path, *_ in files]  # a pathlib.Path for each of a million files takes seconds
            labels.append(torch.full((len(files),), numbers[name]))
            places.append(torch.full((len(files),), place))
    return paths, torch.cat(labels), torch.cat(places)


def as_files(paths: list[str], decoder: Decoder, scan: Scan) -> ImageFiles | None:
    """Return images that are decoded when they are read; None where they cannot be used together."""
    if scan.shape is None:
        return None
    return ImageFiles(paths, replace(decoder, levels=scan.levels), (len(paths), *scan.shape))


def allocate_in_memory(shape: tuple[int, ...]) -> np.ndarray | None:
    """Return an array for the images, or None where the memory is too small."""
    limit = MEMORY_FRACTION * free_bytes(torch.device("cpu"))
    return np.empty(shape, np.uint8) if np.prod(shape, dtype=float) <= limit else None
