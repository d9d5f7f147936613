"""Labels of a folder of images in a table of its own: metadata.csv or metadata.jsonl with file_name and label.

This is the layout of Hugging Face's ImageFolder with metadata. No torch here.
"""

import csv
import io
import json
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from trainer.base.errors import DataError
from trainer.base.text import printable
from trainer.data.folder_walk import NO_IMAGE, File, Layout, below, images_below, is_hidden

NAMES = ("metadata.csv", "metadata.jsonl")
FILE, LABEL = "file_name", "label"
UNLISTED = "not in {}"
LISTED = 10  # columns in a message


def metadata_of(folder: Path, base: Path) -> Path | None:
    """Return the table of a folder, or the one of the folder that holds all splits; None without one.

    A table without labels, as of captions, is none where the classes are folders.
    """
    for place in dict.fromkeys((folder, base)):
        for name in NAMES:
            if (place / name).is_file() and (labelled(place / name) or not has_folders(folder)):
                return place / name
    return None


def labelled(path: Path) -> bool:
    """Return whether a table has a column of labels."""
    return LABEL in (columns_of(path) or (LABEL,))


def has_folders(folder: Path) -> bool:
    """Return whether a folder has folders in it that are not hidden."""
    with os.scandir(folder) as entries:
        return any(entry.is_dir() and not is_hidden(entry.name) for entry in entries)


def classes_in(path: Path, folder: Path, layout: Layout) -> dict[str, list[File]]:
    """Return the files below a folder by the labels that a table gives them; note what is wrong with it.

    Errors: DataError where the table cannot be read.
    """
    require_columns(path)
    root, where = str(layout.root), below(layout.root, str(path))
    there = {os.path.normpath(os.path.join(root, file[0])): file for file in images_below(folder, layout)}
    others = layout.left_out.get(NO_IMAGE, [])
    others[:] = [name for name in others if name != where]
    classes: dict[str, list[File]] = {}
    labels: dict[str, str] = {}
    for row, (name, label) in rows_of(path):
        label = unicodedata.normalize("NFC", " ".join(label.split()))
        place = os.path.normpath(os.path.join(path.parent, name.replace("\\", "/")))
        if not place.startswith(os.path.join(path.parent, "")):
            layout.add_fault(where, f"row {row} names {printable(name)}, which is not in its folder")
        elif place not in there:
            if path.parent == folder or place.startswith(os.path.join(folder, "")):
                layout.add_fault(where, f"row {row} names {printable(name)}, which is not there, or no image")
        elif not label:
            layout.add_fault(where, f"row {row} has no label for {printable(name)}")
            labels.setdefault(place, "")
        elif labels.get(place, label) != label:
            both = f"{printable(labels[place])} and {printable(label)}"
            layout.add_fault(where, f"row {row} gives {printable(name)} a second label: {both}", skippable=False)
        elif place not in labels:
            labels[place] = label
            classes.setdefault(label, []).append(there[place])
    for place, (name, *_) in there.items():
        if place not in labels:
            layout.leave_out(UNLISTED.format(path.name), name)
    return {label: sorted(files) for label, files in sorted(classes.items())}


def require_columns(path: Path) -> None:
    """Require the columns of files and labels. Errors: DataError."""
    columns = columns_of(path) or []
    if lacking := [name for name in (FILE, LABEL) if name not in columns]:
        has = ", ".join(map(printable, columns[:LISTED])) or "none"
        raise DataError(f"{path}: has no column {' and no column '.join(lacking)}; its columns: {has}")


def columns_of(path: Path) -> list[str] | None:
    """Return the names of the columns of a table; None where it is empty. Errors: DataError."""
    if path.suffix == ".csv":
        return next(iter(csv_rows(path)), None)
    return next((list(row) for _, row in json_rows(path)), None)


def rows_of(path: Path) -> Iterator[tuple[int, tuple[str, str]]]:
    """Yield the number of each row, counted from 1 with the header, with its file and its label. Errors: DataError."""
    if path.suffix == ".csv":
        header, *rows = csv_rows(path)
        file, label = header.index(FILE), header.index(LABEL)
        for number, row in enumerate(rows, 2):
            cells = [*row, *[""] * len(header)]
            if any(row):
                yield number, (cells[file].strip(), cells[label])
        return
    for number, row in json_rows(path):
        value = row.get(LABEL)
        yield number, (str(row.get(FILE, "")), "" if value is None else str(value))


def csv_rows(path: Path) -> list[list[str]]:
    """Return the rows of a CSV file, with commas or semicolons. Errors: DataError."""
    text = text_of(path)
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    try:
        rows = [*csv.reader(io.StringIO(text), delimiter=separator)]
    except csv.Error as error:
        raise DataError(f"{path}: cannot be read as a table ({error})") from None
    return [[cell.strip() for cell in rows[0]], *rows[1:]] if rows else []


def json_rows(path: Path) -> Iterator[tuple[int, dict]]:
    """Yield the number and the content of each line of a JSON Lines file. Errors: DataError."""
    for number, line in enumerate(text_of(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise DataError(f"{path}: line {number} is no JSON object")
        yield number, row


def text_of(path: Path) -> str:
    """Return the text of a file. Errors: DataError."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8") from None
