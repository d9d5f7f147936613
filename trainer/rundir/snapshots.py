"""Snapshots of a run: weights of several of its steps, each a file that can be loaded by itself."""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from trainer.base.atomic import discard_partial
from trainer.rundir.checkpoint import export_weights
from trainer.rundir.description import Description

FOLDER = "snapshots"  # in the run's directory
FILE = re.compile(r"step-(\d+)\.safetensors", re.ASCII)


def write(folder: Path, snapshots: Mapping[int, Mapping[str, Tensor]], description: Description) -> None:
    """Write each snapshot as step-N.safetensors; N is the number of steps done. Errors: OSError.

    Others in the folder are of an abandoned branch of the run, and are deleted.
    """
    folder.mkdir(exist_ok=True)
    discard_partial(folder)
    for step, path in files_in(folder).items():
        if step not in snapshots:
            path.unlink()
    for step, weights in snapshots.items():
        export_weights(weights, folder / f"step-{step}.safetensors", description)


def files_in(folder: Path) -> dict[int, Path]:
    """Return the snapshots of a folder by their steps, the first one first; none where there is no such folder."""
    found = {int(named[1]): path for path in folder.glob("step-*") if (named := FILE.fullmatch(path.name))}
    return dict(sorted(found.items()))
