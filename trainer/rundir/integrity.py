"""Damage to the files of a run that has ended, found by the digests in its summary.json. No torch here.

They find damage, not forgery: whoever changes a file can write its digest as well.
"""

import io
import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

from trainer.base.plain_files import read_plain
from trainer.rundir.status import Status

FILES = (
    "metrics.jsonl",
    "layers.json",
    "fit.npz",
    "fit.gif",
    "filters.png",
    "weights.safetensors",
    "train/*",
    "val/*",
    "report/*",
)
LAST_CHUNK = b"\0\0\0\0IEND\xaeB`\x82"  # of every PNG
LARGE = 2**26  # bytes, from which only the length of a file is compared


def digests_of_files(directory: Path) -> dict[str, str]:
    """Return the digest of every file that a run leaves as its result, but for the pictures that may be drawn later."""
    paths = sorted(path for pattern in FILES for path in directory.glob(pattern))
    return {str(path.relative_to(directory)): digest for path in paths if (digest := digest_of_file(path))}


def digest_of_file(path: Path) -> str:
    """Return the SHA-256 of a file, of a large one its length; empty where it cannot be read."""
    try:
        length = path.lstat().st_size
        return f"{length} bytes" if length >= LARGE else sha256(read_plain(path, LARGE)).hexdigest()
    except OSError:
        return ""


def with_digest(summary: Mapping) -> dict:
    """Return a summary with the digest of its own content as the last key."""
    content = {key: value for key, value in summary.items() if key != "sha256"}
    return {**content, "sha256": sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()}


def was_changed(summary: Mapping) -> bool:
    """Return whether a summary is not as it was written; older versions wrote no digest."""
    return "sha256" in summary and with_digest(summary)["sha256"] != summary["sha256"]


def config_was_changed(directory: Path, summary: Mapping) -> bool:
    """Return whether config.yaml is not as it was when the run ended."""
    return summary.get("config_sha256", before := digest_of_file(directory / "config.yaml")) != before


def damaged_files(directory: Path, summary: Mapping) -> Iterator[str]:
    """Yield the names of a run's files that are not as they were when it ended."""
    if was_changed(summary):
        yield "summary.json"
    known = summary.get("files")
    for name, digest in known.items() if isinstance(known, dict) else ():
        if not {".", ".."} & {*Path(name).parts} and not Path(name).is_absolute():  # from a file that may be forged
            if digest_of_file(directory / name) != digest:
                yield name


def to_make_again(directory: Path, summary: Mapping) -> list[str]:
    """Return the damaged files of a run whose last checkpoint is there, so that resuming it makes them again."""
    last = directory / "checkpoints" / f"step-{summary.get('steps')}.pt"
    if summary.get("status") != Status.FINISHED or not last.is_file():
        return []
    return [*damaged_files(directory, summary)]


def is_whole_picture(path: Path) -> bool:
    """Return whether a file is a PNG whose every chunk has its checksum."""
    from PIL import Image

    try:
        content = read_plain(path, LARGE)
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            picture.verify()
    except Exception:  # damaged: Pillow raises many kinds
        return False
    return content.endswith(LAST_CHUNK)  # at which Pillow stops without a look at its checksum
