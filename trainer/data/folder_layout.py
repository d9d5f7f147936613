"""Layout of a folder of images: splits, classes, what is left out, and what is wrong. No torch here."""

import os
import re
import unicodedata
from pathlib import Path

from trainer.base.errors import DataError
from trainer.base.text import did_you_mean, nearest
from trainer.config.quoting import as_argument
from trainer.data import folder_metadata as metadata
from trainer.data.folder_walk import (
    EMPTY,
    HIDDEN,
    NO_IMAGE,
    NOT_A_SPLIT,
    OUTSIDE,
    UNKNOWN,
    File,
    Layout,
    below,
    has_ending,
    images_below,
    is_hidden,
    visible,
)

SPLITS = {  # names of the folders of a split, in any case, alone or as in train_set, test-images, val2017
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
SPLIT_NAME = re.compile(r"(.+?)(?:[ _.-]?(?:set|data|images|split))?[ _.-]?\d*", re.DOTALL)


def read_layout(place: Path) -> Layout:
    """Return the layout of a folder: CLASS/*, or train/CLASS/* with val/CLASS/* and test/CLASS/* where they are there.

    The images of a class lie in its folder at any depth. Errors: DataError where there is no folder.
    """
    if not place.is_dir():
        kind = "is a file; unpack it, and name the folder" if place.exists() else "no such folder"
        raise DataError(f"data.root={place}: {kind}; it holds CLASS/*, or train/CLASS/* and test/CLASS/*")
    layout = Layout(Path(os.path.abspath(place)))
    base = unwrapped(layout.root, layout)
    if base != layout.root:
        layout.notes.append(f"data.root={place}: its only folder is read, {below(layout.root, str(base))}/")
    splits = split_folders(base, layout)
    for split, folder in splits.items():
        splits[split] = unwrapped(folder, layout, in_split=True) if folder != base else base
        table = metadata.metadata_of(splits[split], base)
        layout.files[split] = classes_of(splits[split], table, layout)
    if splits:
        require_training_classes(splits["train"], layout)
        for split in [split for split in splits if split != "train"]:
            require_known_classes(split, below(layout.root, str(splits[split])), layout)
    return layout


def classes_of(folder: Path, table: Path | None, layout: Layout) -> dict[str, list[File]]:
    """Return the files of every class: those that a table labels, or those of the class's folder."""
    return metadata.classes_in(table, folder, layout) if table else list_classes(folder, layout)


def unwrapped(folder: Path, layout: Layout, in_split: bool = False) -> Path:
    """Return the folder itself, or the one folder in it, as archives unpack: DIR/flowers/CLASS/*, train/train/CLASS/*.

    No images lie beside it, and it has folders of its own; in a split several, as one may be a class.
    """
    fewest = 2 if in_split else 1
    while True:
        folders, files = visible(folder)
        if len(folders) != 1 or any(has_ending(file.name) or file.name in metadata.NAMES for file in files):
            return folder
        if len(visible(folders[0])[0]) < fewest or (not in_split and split_of(folders[0].name)):
            return folder
        note_files_of(folder, layout)
        folder = folders[0]


def split_folders(base: Path, layout: Layout) -> dict[str, Path]:
    """Return the folder of each split, train first; `base` as train where its folders are the classes."""
    folders, _ = visible(base)
    for exact in (True, False):
        named: dict[str, list[Path]] = {split: [] for split in SPLITS}
        for folder in folders:
            if split := split_of(folder.name, exact):
                named[split].append(folder)
        several = sum(map(bool, named.values())) > 1
        holds_folders = any(visible(folder)[0] for some in named.values() for folder in some)
        whole = bool(folders) and sum(map(len, named.values())) == len(folders)
        # A class may be called train: then it holds images, and no test lies beside it.
        if (exact and (several or holds_folders or whole)) or (several and holds_folders):
            return checked_splits(named, folders, base, layout)
    return {"train": base}


def checked_splits(named: dict[str, list[Path]], folders: list[Path], base: Path, layout: Layout) -> dict[str, Path]:
    """Return the folder of each split, and note what lies beside them."""
    note_files_of(base, layout)
    where = below(layout.root, str(base))
    for split, several in named.items():
        if len(several) > 1:
            names = " and ".join(f"{folder.name}/" for folder in several)
            layout.add_fault(where, f"{names} both name the {split} split; rename one", skippable=False)
    known = {folder for several in named.values() for folder in several}
    for folder in [folder for folder in folders if folder not in known]:
        for path, *_ in images_below(folder, layout, silent=True):
            layout.leave_out(NOT_A_SPLIT, path)
    if not named["train"]:
        there = ", ".join(f"{folder.name}/" for folder in folders)
        layout.add_fault(where, f"has {there} but no train/", skippable=False)
        return {}
    return {split: several[0] for split, several in named.items() if several}


def split_of(name: str, exact: bool = True) -> str | None:
    """Return the split that a folder's name means: Train, test_set; and unless `exact` seg_train, Final-Test, too."""
    lower = name.lower()
    words = {SPLIT_NAME.fullmatch(lower)[1]} if exact else set(re.split(r"[ _.-]+", lower))
    found = [split for split, names in SPLITS.items() if words & set(names)]
    return found[0] if len(found) == 1 else None


def list_classes(folder: Path, layout: Layout) -> dict[str, list[File]]:
    """Return the files of every class folder, by the class's name in Unicode's composed form (NFC)."""
    note_files_of(folder, layout)
    classes: dict[str, list[File]] = {}
    for place in visible(folder)[0]:
        files, outer = list(images_below(place, layout)), below(layout.root, str(place))
        classes.setdefault(unicodedata.normalize("NFC", place.name), []).extend(files)
        if deeper := [path for path, *_ in files if path.rpartition("/")[0] != outer]:
            layout.deeper.append((len(deeper), deeper[0].rpartition("/")[0]))
    return {name: sorted(files) for name, files in sorted(classes.items())}


def note_files_of(folder: Path, layout: Layout) -> None:
    """Note what lies in a folder beside its folders, and which of those are hidden."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = below(layout.root, entry.path)
            if is_hidden(entry.name):
                layout.leave_out(HIDDEN, path)
            elif not entry.is_dir() and entry.name not in metadata.NAMES:
                layout.leave_out(OUTSIDE if has_ending(entry.name) else NO_IMAGE, path)


def require_training_classes(place: Path, layout: Layout) -> None:
    """Note what is wrong with the training classes, and take empty ones out of the files."""
    folder, found = below(layout.root, str(place)), layout.files["train"]
    kept = layout.files["train"] = {name: files for name, files in found.items() if files}
    for name in [name for name in found if name not in kept]:
        layout.add_fault(join(folder, name), "contains no images")
        layout.leave_out(EMPTY, join(folder, name))
    if not found or (len(found) > 1 and not kept):
        flat = layout.flat_images(folder)
        has = f"its {flat:,} images lie in no class folder" if flat else "contains no class folders with images"
        others = "" if folder else ", or train/CLASS/* and test/CLASS/*"
        layout.add_fault(folder, f"{has}; expected {join(folder, 'CLASS/*')}{others}", skippable=False)
    (only, *others) = kept or [""]
    if len(found) > 1 and not others and only and len(visible(place / only)[0]) > 1:
        hint = f"type {as_argument('data.root', place / only)} if its folders are the classes"
        layout.add_fault(folder, f"only {only}/ holds images; {hint}", skippable=False)


def require_known_classes(split: str, folder: str, layout: Layout) -> None:
    """Note what is wrong with the classes of another split, and take out of the files what train/ has no class for.

    A name that differs from one class of train/ in upper and lower case alone is that class.
    """
    train = layout.files["train"]
    spellings: dict[str, list[str]] = {}
    for name in train:
        spellings.setdefault(name.casefold(), []).append(name)
    kept: dict[str, list[File]] = {}
    for name, files in layout.files.pop(split).items():
        alike = spellings.get(name.casefold(), [])
        if name in alike or len(alike) == 1:
            kept.setdefault(name if name in alike else alike[0], []).extend(files)
            continue
        few = [*train] if nearest(name, train) else [*train][:10]
        hint = f"; {did_you_mean(name, few)}" if few else ""
        layout.add_fault(join(folder, name), f"no such class in train/{hint}")
        for path, *_ in files:
            layout.leave_out(UNKNOWN, path)
    if any(kept.values()):
        layout.files[split] = kept
        return
    flat = layout.flat_images(folder)
    has = f"its {flat:,} images lie in no class folder, so that they have no label" if flat else "no images of a class"
    layout.add_fault(folder, has)


def join(folder: str, name: str) -> str:
    """Return a path in a folder, which may be the root."""
    return f"{folder}/{name}" if folder else name
