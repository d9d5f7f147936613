"""Files and folders that were perhaps meant by a path that is not there."""

from pathlib import Path

from trainer.base.text import nearest

TABLES = (".csv", ".tsv", ".txt", ".data", ".dat", ".tab", ".gz", ".bz2", ".xz")  # endings of the files to list
LISTED = 5


def similar_files(place: Path) -> str:
    """Return the end of a message on a file that is not there, or is a folder: the files that were perhaps meant."""
    folder = place if place.is_dir() else place.parent
    if not folder.is_dir():
        return f"; there is no folder {folder} either"
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    except OSError:
        return ""
    if folder != place and (near := nearest(place.name, names)):
        return f"; did you mean {' or '.join(str(folder / name) for name in near)}?"
    endings = (place.suffix.lower(),) if place.suffix else TABLES
    alike = [name for name in names if name.lower().endswith(endings)]
    return f"; {folder} holds {', '.join(alike[:LISTED])}{', ...' * (len(alike) > LISTED)}" if alike else ""


def similar_folders(place: Path) -> str:
    """Return the end of a message on a folder that is not there: those beside it that were perhaps meant."""
    try:
        names = sorted(entry.name for entry in place.parent.iterdir() if entry.is_dir())
    except OSError:
        return ""
    near = nearest(place.name, names)
    return f"; did you mean {' or '.join(str(place.parent / name) for name in near)}?" if near else ""
