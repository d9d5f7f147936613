"""Row of a run's curves: a line of metrics.jsonl, with its checksum. No torch here."""

import json
import zlib
from collections.abc import Mapping

from trainer.config.rule import is_number

CHECKSUM = "crc32"  # the last key of a line
SPLITS = ("train", "val", "test")
REQUIRED = {"step", "epoch", "split", "loss"}  # keys that every row has
LARGEST_STEP = 2**63  # TensorBoard's steps are 64-bit integers


def line_of(row: Mapping) -> bytes:
    """Return the line that holds a row."""
    return f"{json.dumps({**row, CHECKSUM: checksum_of(row)})}\n".encode()


def row_in(line: str) -> dict | None:
    """Return the row in a line; None if it is damaged or foreign. Older versions wrote no checksum."""
    try:
        row = json.loads(line)
        intact = not isinstance(row, dict) or CHECKSUM not in row or row.pop(CHECKSUM) == checksum_of(row)
    except (ValueError, RecursionError):
        return None
    return row if intact and is_row(row) else None


def is_row(row: object) -> bool:
    """Return whether a value has what every reader of a row relies on: its place, and numbers or null."""
    if not isinstance(row, dict) or row.get("split") not in SPLITS or not REQUIRED <= row.keys():
        return False
    numbers = all(is_number(value) for key, value in row.items() if key != "split" and value is not None)
    return numbers and isinstance(row["step"], int) and 0 <= row["step"] < LARGEST_STEP and row["epoch"] is not None


def checksum_of(row: Mapping) -> str:
    """Return the CRC-32 of a row as JSON, 8 hexadecimal digits."""
    return f"{zlib.crc32(json.dumps(row).encode()):08x}"
