"""Walk through a folder of images: which files are images, and what is left out. No torch here."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from trainer.base.errors import DataError
from trainer.data.image_formats import ENDINGS, is_image

SYSTEM = ("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "lost+found")  # lower case
# Photographs of a camera's own format are TIFFs to Pillow, which would read their preview; the others are copies.
NEVER_READ = (".dng", ".cr2", ".nef", ".arw", ".orf", ".rw2", ".pef", ".srw", "~", ".bak", ".tmp", ".part")

# Reasons why something is not read.
HIDDEN = "hidden or of the system"
NO_IMAGE = "not an image"
OUTSIDE = "outside of the class folders"
NOT_A_SPLIT = "in a folder that is no split"
UNKNOWN = "of a class that train/ lacks"
EMPTY = "class folder without images"
UNREADABLE = "not readable"
NO_TRAINING = "of a class without a readable training image"

File = tuple[str, int, int]  # path below the root, length and time of change


@dataclass(frozen=True)
class Fault:
    """Something wrong with a folder.

    Args:
        path: below the root; empty for the root.
        message: what is wrong there.
        skippable: whether on_error=skip can leave it out.
    """

    path: str
    message: str
    skippable: bool = True


@dataclass
class Layout:
    """Folder of images.

    Args:
        root: where the paths of the files begin.
        files: those of every class of every split that is there. Without folders of splits, all of them are in train.
        faults: what is wrong. `files` are without it.
        left_out: paths that are not read, by reason.
        notes: remarks for the user.
        deeper: images that lie in folders of a class folder: how many, and where, for each class that has any.
    """

    root: Path
    files: dict[str, dict[str, list[File]]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    deeper: list[tuple[int, str]] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        """Names of the classes: the folders of train, in order."""
        return sorted(self.files.get("train", ()))

    def leave_out(self, reason: str, path: str) -> None:
        """Note a path that is not read."""
        self.left_out.setdefault(reason, []).append(path)

    def add_fault(self, path: str, message: str, skippable: bool = True) -> None:
        """Note a fault."""
        self.faults.append(Fault(path, message, skippable))

    def flat_images(self, folder: str) -> int:
        """Return how many images lie in a folder itself, in no class folder."""
        return sum(path.rpartition("/")[0] == folder for path in self.left_out.get(OUTSIDE, ()))


def images_below(folder: Path, layout: Layout, silent: bool = False) -> Iterator[File]:
    """Yield the images in a folder and in the folders in it; note the other files, unless `silent`."""
    pending, seen = [str(folder)], set()
    while pending:
        here = pending.pop()
        if (real := os.path.realpath(here)) in seen:  # a link to a folder above
            continue
        seen.add(real)
        try:
            entries = sorted(os.scandir(here), key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            layout.add_fault(below(layout.root, here), f"cannot be read ({error.strerror})")
            continue
        while entries:
            entry = entries.pop()  # it holds all that the system has said of it: of many, more memory than their names
            if is_hidden(entry.name):
                reason = HIDDEN
            elif entry.is_dir():
                pending.append(entry.path)
                continue
            elif is_candidate(entry):
                yield below(layout.root, entry.path), *length_and_time(entry)
                continue
            else:
                reason = NO_IMAGE
            if not silent:
                layout.leave_out(reason, below(layout.root, entry.path))


def is_candidate(entry: os.DirEntry) -> bool:
    """Return whether a file is to be read: by its ending, or by its content where the ending says nothing."""
    if has_ending(entry.name):
        return entry.is_file() or entry.is_symlink()
    return entry.is_file() and not entry.name.lower().endswith(NEVER_READ) and is_image(entry.path)


def visible(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the folders and the files in a folder, sorted, without hidden ones. Errors: DataError."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from None
    shown = [entry for entry in entries if not is_hidden(entry.name)]
    folders = [Path(entry.path) for entry in shown if entry.is_dir()]
    return folders, [Path(entry.path) for entry in shown if not entry.is_dir()]


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is hidden, or made by a file manager."""
    return name.startswith(".") or name.lower() in SYSTEM or name == "Icon\r"


def has_ending(name: str) -> bool:
    """Return whether a file's name ends as that of an image."""
    return name.lower().endswith(ENDINGS)


def below(root: Path, path: str) -> str:
    """Return a path relative to the root, with / between its parts; empty for the root itself."""
    return path[len(str(root)) :].replace(os.sep, "/").lstrip("/")


def length_and_time(entry: os.DirEntry) -> tuple[int, int]:
    """Return a file's length and time of change; zeros for a broken link, which cannot be read either."""
    try:
        status = entry.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns
