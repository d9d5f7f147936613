"""Decoded images kept on the disk, so that the next start finds them: KEY.npy with the pixels and KEY.json with what the files were.

Both are written under another name and renamed when they are whole. A process that is killed in between leaves nothing that counts.
"""

import json
import os
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np

from trainer.data.download import alone
from trainer.data.files import Survey, survey

FORMAT = 1  # of the files, and of what is done to an image on its way into them


def default_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trainer"


def key_of(found: Mapping[str, Mapping[str, Sequence[tuple]]], size: int | None) -> str:
    """A digest of what decides the pixels: the files' relative names, lengths and times, the size, and the decoder."""
    from PIL import __version__

    return blake2b(repr((FORMAT, __version__, size, found)).encode(), digest_size=16).hexdigest()


def kept(folder: Path, key: str, paths: Sequence[str], size: int | None) -> tuple[Survey, np.ndarray]:
    """What the cache holds of the files, decoded now where it holds nothing whole; the pixels (N, C, H, W) lie on the disk.

    Errors: OSError where the folder cannot be written; DataError as in survey.
    """
    found = opened(folder, key, len(paths))
    if found:
        return found
    with alone(folder / f"{key}.lock"):
        found = opened(folder, key, len(paths))  # another process may have made it meanwhile
        if found is None:
            build(folder, key, paths, size)
            found = opened(folder, key, len(paths))
    if found is None:
        raise OSError("what was written cannot be read back")
    return found


def opened(folder: Path, key: str, count: int) -> tuple[Survey, np.ndarray] | None:
    """The two files, if they are there and whole."""
    known = looked_up(folder, key)
    try:
        pixels = np.lib.format.open_memmap(
            folder / f"{key}.npy", mode="c"
        )  # as long as its header says, or this raises
        whole = known is not None and (pixels.dtype, pixels.shape) == (np.uint8, (count, *known.shape))
        return (known, pixels) if whole else None
    except Exception:  # a damaged header raises many kinds
        return None


def looked_up(folder: Path, key: str) -> Survey | None:
    """What KEY.json says of the files, if it is there and whole."""
    try:
        said = json.loads((folder / f"{key}.json").read_text())
        return Survey(tuple(map(int, said["shape"])), {int(number): str(why) for number, why in said["bad"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def note_down(folder: Path, key: str, known: Survey) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{key}.json.{os.getpid()}"
    part.write_text(json.dumps({"shape": known.shape, "bad": known.bad}))
    part.replace(folder / f"{key}.json")


def build(folder: Path, key: str, paths: Sequence[str], size: int | None) -> None:
    """Decode the files into the cache. The caller holds the lock, so that an unfinished file is a dead process's."""
    colour, grey = folder / f"{key}.colour", folder / f"{key}.grey"
    try:
        known, pixels = survey(paths, size, lambda shape: reserved(colour, shape))
        if known.shape[0] == 1:
            reserved(grey, (len(paths), *known.shape))[:] = pixels[:, :1]
        (grey if known.shape[0] == 1 else colour).replace(folder / f"{key}.npy")
        note_down(folder, key, known)
    finally:
        for path in (colour, grey):
            path.unlink(missing_ok=True)


def reserved(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """An array in a new file whose room on the disk is taken at once: a disk that fills up later would kill the process."""
    pixels = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as handle:
            os.posix_fallocate(handle.fileno(), 0, path.stat().st_size)
    return pixels
