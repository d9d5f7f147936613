"""Any images in folders named by their class."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainer.base.checks import require, require_one_of
from trainer.base.errors import DataError
from trainer.base.text import nearest
from trainer.data.cache import default_folder, kept, key_of, looked_up, note_down
from trainer.data.capacity import free_bytes
from trainer.data.files import Files, Rows, Survey, survey
from trainer.data.splits import Split, Splits, hold_out, one_hot

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
COPIED = (
    2 * 2**30
)  # bytes up to which a split's images are copied into memory; larger ones are read from the cache as they are needed
SHARE = 0.5  # of the free memory, for images that have no other place


@dataclass(frozen=True, kw_only=True)
class ImageFolder:
    """ROOT/train/CLASS/*, ROOT/test/CLASS/* and, if there, ROOT/val/CLASS/*; classes are train's folders, in alphabetical order.

    The images are decoded once, and kept in the cache under a digest of the files' names, lengths and times. With cache=none their
    pixels are not kept: every file is still looked at once, what that shows is noted in ~/.cache/trainer, and a run decodes them
    anew, into memory or, with residency=stream, batch by batch.

    Args:
        root: the folder.
        size: resize every image to (size, size) pixels, >= 1; None where all have one size.
        val_fraction: of the training images where there is no val folder, in [0, 1).
        split_seed: >= 0.
        cache: the cache's folder, auto ($XDG_CACHE_HOME/trainer or ~/.cache/trainer), or none.
        on_error: what files that cannot be read do: stop the run, or skip, which leaves them out and says how many they are.
    Shapes: images (3, H, W), or (1, H, W) where all are grey. Errors: ValueError; DataError, naming the folder or the file.
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
            raise DataError(f"data.root={self.root}: no such folder; it must hold train/CLASS/* and test/CLASS/*")
        classes = folders(root / "train")
        present = [part for part in ("train", "val", "test") if part != "val" or (root / part).is_dir()]
        found = {part: files(root / part, classes) for part in present}
        places = [(os.path.join(root, part, name, ""), rows) for part in present for name, rows in found[part].items()]
        paths = [place + file for place, rows in places for file, *_ in rows]
        images, known, notes = self._images(paths, key_of(found, self.size))
        good = self._good(paths, known)
        labels = torch.cat(
            [torch.full((len(rows),), classes.index(name)) for part in present for name, rows in found[part].items()]
        )
        lengths = [sum(map(len, found[part].values())) for part in present]
        members = {part: rows[good[rows]] for part, rows in zip(present, torch.arange(len(paths)).split(lengths))}
        for name, left in (
            ("train", labels[members["train"]].bincount(minlength=len(classes))),
            ("test", torch.tensor([len(members["test"])])),
        ):
            if not left.all():
                raise DataError(
                    f"{root / name}: no image that can be read"
                    + (f" of {classes[int(left.argmin())]}" if name == "train" else "")
                )
        if "val" not in members:
            train = members["train"]
            members["train"], members["val"] = (
                train[part] for part in hold_out(labels[train], self.val_fraction, self.split_seed)
            )
        splits = {
            part: Split(picked(images, rows), one_hot(labels[rows], len(classes), str(root / part)))
            for part, rows in members.items()
        }
        if known.bad:
            notes += (
                f"data.on_error=skip: left out {len(known.bad):,} of {len(paths):,} files: {first_few([paths[number] for number in known.bad])}",
            )
        return Splits(**splits, task="classification", classes=tuple(classes), notes=notes)

    def _images(self, paths: list[str], key: str) -> tuple[Tensor | Files, Survey, tuple[str, ...]]:
        """The images of all files, what is known of them, and what the user should be told."""
        if self.cache == "none":
            known = looked_up(default_folder(), key)
            if known is None:
                known, _ = survey(paths, self.size, lambda shape: None)
                try:
                    note_down(default_folder(), key, known)
                except OSError:
                    pass  # the next start looks again
            return Files(paths, self.size, (len(paths), *known.shape)), known, ()
        place = default_folder() if self.cache == "auto" else Path(self.cache).expanduser()
        try:
            known, pixels = kept(place, key, paths, self.size)
            return torch.from_numpy(pixels), known, ()
        except OSError as error:
            note = f"data.cache={self.cache}: {place} cannot take the decoded images ({error.strerror or error}); data.cache=DIR names another folder"
        known, pixels = survey(paths, self.size, in_memory)
        if pixels is None:
            return (
                Files(paths, self.size, (len(paths), *known.shape)),
                known,
                (f"{note}; until then they are decoded in every epoch",),
            )
        return (
            torch.from_numpy(pixels[:, : known.shape[0]]),
            known,
            (f"{note}; until then they are decoded at every start",),
        )

    def _good(self, paths: list[str], known: Survey) -> Tensor:
        """Which files can be read. Errors: DataError where one cannot, unless they are to be skipped."""
        if known.bad and self.on_error == "stop":
            first, why = next(iter(known.bad.items()))
            others = f" ({len(known.bad):,} such files of {len(paths):,})" if len(known.bad) > 1 else ""
            raise DataError(
                f"{paths[first]}: not an image that can be read ({why}){others}; put a good copy in its place, or leave it out with data.on_error=skip"
            )
        good = torch.ones(len(paths), dtype=torch.bool)
        good[list(known.bad)] = False
        return good


def in_memory(shape: tuple[int, ...]) -> np.ndarray | None:
    """Room for the images in memory, if there is enough."""
    return np.empty(shape, np.uint8) if np.prod(shape, dtype=float) <= SHARE * free_bytes(torch.device("cpu")) else None


def picked(images: Tensor | Files, rows: Tensor) -> Tensor | Rows:
    """The images of one split: a view where they lie in one piece, a copy where they are few, else as numbers."""
    if isinstance(images, Files):
        return Rows(images, rows)
    if len(rows) == 0 or int(rows[-1] - rows[0]) + 1 == len(rows):
        first = int(rows[0]) if len(rows) else 0
        return images[first : first + len(rows)]
    return images[rows] if len(rows) * images[0].numel() <= COPIED else Rows(images, rows)


def first_few(paths: list[str], most: int = 3) -> str:
    return ", ".join(paths[:most]) + (", ..." if len(paths) > most else "")


def folders(part: Path) -> list[str]:
    """The class folders below train/. Errors: DataError where there are none."""
    if not part.is_dir():
        raise DataError(f"{part}: no such folder; data=image_folder reads ROOT/train/CLASS/* and ROOT/test/CLASS/*")
    names = sorted(entry.name for entry in part.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise DataError(f"{part}: no class folders in it; data=image_folder reads {part}/CLASS/*")
    return names


def files(part: Path, classes: list[str]) -> dict[str, list[tuple[str, int, int]]]:
    """The images of each class below one part: name, length, time of change. Errors: DataError on an empty or unknown class."""
    found = {}
    for name in folders(part):
        if name not in classes:
            close = nearest(name, classes)
            raise DataError(
                f"{part / name}: a class that train/ does not have; it has {', '.join(close or classes[:10])}"
            )
        with os.scandir(part / name) as entries:
            found[name] = sorted(
                (entry.name, *stamp(entry))
                for entry in entries
                if entry.name.lower().endswith(ENDINGS) and entry.name[0] != "."
            )
        if not found[name] and part.name == "train":
            raise DataError(f"{part / name}: no images in it (endings: {' '.join(ENDINGS)})")
    if not any(found.values()):
        raise DataError(f"{part}: no images in its class folders (endings: {' '.join(ENDINGS)})")
    return found


def stamp(entry: os.DirEntry) -> tuple[int, int]:
    """Length and time of change; zeros for a link to nowhere, which cannot be read either."""
    try:
        status = entry.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns
