"""Cache of decoded images: KEY.npy with the pixels and KEY.json with the facts about the files.

KEY.json is written last, and an entry counts once both files are complete. A process that is killed in between leaves
nothing that counts.
"""

import errno
import json
import os
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np

from trainer.base.atomic import atomic_write
from trainer.base.plain_files import open_plain, read_plain
from trainer.data.image_decoding import Decoder
from trainer.data.image_scan import Scan, scan_images
from trainer.data.lock import exclusive_lock

LARGEST_SCAN = 2**30  # bytes of KEY.json
FORMAT = 3  # of the two files and of the decoding; a change makes old entries void


def default_folder() -> Path:
    """Return $XDG_CACHE_HOME/trainer or ~/.cache/trainer."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trainer"


def cache_key(files: Sequence[tuple[str, int, int]], decoder: Decoder) -> str:
    """Return a digest of what determines the pixels: relative names, lengths and times of files, decoder, Pillow."""
    from PIL import __version__

    facts = (FORMAT, __version__, decoder.size, decoder.fit, [tuple(file) for file in files])
    return blake2b(repr(facts).encode(), digest_size=16).hexdigest()


def load_or_decode(folder: Path, key: str, paths: Sequence[str], decoder: Decoder) -> tuple[Scan, np.ndarray | None]:
    """Return the cached images, memory-mapped (N, C, H, W); decode the files first where there is no complete entry.

    Files that cannot be used together have no images, and are not cached. Errors: OSError where the folder cannot be
    written, or is a link that somebody else may have put there.
    """
    if folder.is_symlink() and folder != default_folder():
        raise OSError(errno.ELOOP, "is a link", str(folder))
    entry = open_entry(folder, key, len(paths))
    if entry:
        return entry
    with exclusive_lock(folder / f"{key}.lock"):
        entry = open_entry(folder, key, len(paths))  # another process may have made it meanwhile
        if entry is None:
            scan = make_entry(folder, key, paths, decoder)
            if scan.shape is None:
                return scan, None
            entry = open_entry(folder, key, len(paths))
    if entry is None:
        raise OSError("a new entry of the cache cannot be read back")
    return entry


def open_entry(folder: Path, key: str, count: int) -> tuple[Scan, np.ndarray] | None:
    """Return an entry's facts and pixels; None where it is missing or incomplete."""
    scan = read_scan(folder, key)
    try:
        os.close(open_plain(folder / f"{key}.npy", os.O_RDONLY))
        pixels = np.lib.format.open_memmap(folder / f"{key}.npy", mode="c")  # raises where the file is too short
        complete = scan is not None and (pixels.dtype, pixels.shape) == (np.uint8, (count, *scan.shape))
        return (scan, pixels) if complete else None
    except Exception:  # a damaged header raises many kinds
        return None


def read_scan(folder: Path, key: str) -> Scan | None:
    """Return the facts in KEY.json; None where it is missing or damaged."""
    try:
        found = json.loads(read_plain(folder / f"{key}.json", LARGEST_SCAN))
        unreadable = {int(index): str(why) for index, why in found["unreadable"].items()}
        levels = {str(kind): (float(low), float(high)) for kind, (low, high) in found["levels"].items()}
        counts = {str(name): int(count) for name, count in found["counts"].items()}
        return Scan(tuple(map(int, found["shape"])), unreadable, levels, counts, files=int(found["files"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write_scan(folder: Path, key: str, scan: Scan) -> None:
    """Write KEY.json. Errors: OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {name: getattr(scan, name) for name in ("shape", "unreadable", "levels", "counts", "files")}
    atomic_write(folder / f"{key}.json", json.dumps(facts).encode())


def make_entry(folder: Path, key: str, paths: Sequence[str], decoder: Decoder) -> Scan:
    """Decode the files into the cache. The caller holds the lock, so that an unfinished file is a dead process's.

    The pixels may be larger than the memory, too large for atomic_write: they are decoded into a memory-mapped file
    under another name, which is flushed to the disk and renamed.
    """
    colour, grey = folder / f"{key}.colour", folder / f"{key}.grey"
    try:
        scan, pixels = scan_images(paths, decoder, lambda shape: allocate(colour, shape))
        if scan.shape is None:
            return scan
        finished = colour
        if scan.shape[0] == 1:
            coloured, finished = pixels, grey
            pixels = allocate(grey, (len(paths), *scan.shape))
            pixels[:] = coloured[:, :1]
        pixels.flush()
        finished.replace(folder / f"{key}.npy")
        write_scan(folder, key, scan)
        return scan
    finally:
        for path in (colour, grey):
            path.unlink(missing_ok=True)


def allocate(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """Return an array in a new file whose disk space is reserved: a disk that is full later would kill the process."""
    path.unlink(missing_ok=True)
    os.close(open_plain(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    pixels = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as handle:
            os.posix_fallocate(handle.fileno(), 0, path.stat().st_size)
    return pixels
