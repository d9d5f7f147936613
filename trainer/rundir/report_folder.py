"""Folder of the report on what a model gets wrong. No torch here."""

from collections.abc import Mapping
from pathlib import Path

from trainer.base.atomic import atomic_write

REPORT = "report"  # in the directory of a run


def write_report(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files of a report, in place of those that an earlier one has left. Errors: OSError."""
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        if path.name not in files and path.suffix in (".csv", ".png"):
            path.unlink()
    for name, content in files.items():
        atomic_write(folder / name, content)
