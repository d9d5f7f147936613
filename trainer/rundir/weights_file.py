"""Weights that a run begins with: of another run, of safetensors or of a state dict of torch; nothing is executed."""

import hashlib
import io
import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from trainer.base.errors import DataError
from trainer.base.plain_files import open_plain, require_plain
from trainer.base.text import printable
from trainer.rundir.checkpoint import resolve_pointer
from trainer.rundir.description import KEY, Description, from_json, from_state
from trainer.rundir.locations import from_root

WEIGHTS = "weights.safetensors"  # of a run's directory
ENDINGS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
# The parts of a file that hold weights, the likeliest first: ours, averages, others.
PARTS = ("weights", "state_dict_ema", "model_ema", "ema_state_dict", "state_dict", "model_state_dict", "model")
DEEPEST = 3  # mappings within mappings
OTHER_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")  # of torch's message on what is not loaded


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """Content of a file of weights.

    Args:
        typed: the path as it was typed, or saved.
        path: of the file.
        sha256: of its bytes.
        parts: sets of tensors by name in it, the likeliest first, each with the key that holds it.
        description: of the model, in a file of a run; else None.
        key: of the configuration that names the file.
    """

    typed: str
    path: Path
    sha256: str
    parts: tuple[tuple[str, Mapping[str, Tensor]], ...]
    description: Description | None = None
    key: str = "model.weights"


def read_weights(typed: str, key: str = WeightsFile.key) -> WeightsFile:
    """Return the weights of a run's directory, its best ones, or of a file. Errors: DataError.

    Args:
        key: of the configuration that names it.
    """
    name = f"{key}={printable(typed)}"
    path = from_root(typed)
    place = file_of(path, name) if path.is_dir() else Path(os.path.realpath(path))  # a cache holds links
    try:
        with open(open_plain(place, os.O_RDONLY), "rb") as file:
            data = file.read()
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror})") from None
    except MemoryError:
        raise DataError(f"{name}: is larger than the memory") from None
    content, description = safetensors_in(data, name) if data[8:9] == b"{" else pickled_in(data, name)
    parts = sorted(parts_of(content), key=lambda part: PARTS.index(part[0]) if part[0] in PARTS else len(PARTS))
    if not parts:
        raise DataError(f"{name}: holds no tensors by name; save model.state_dict()")
    sha256 = hashlib.sha256(data).hexdigest()
    return WeightsFile(typed=typed, path=place, sha256=sha256, parts=tuple(parts), description=description, key=key)


def file_of(directory: Path, name: str) -> Path:
    """Return the file of a run's best weights; of a run that has not ended, its best checkpoint. Errors: DataError."""
    best = directory / WEIGHTS
    found = best if os.path.lexists(best) else resolve_pointer(directory / "checkpoints", "best", "last")
    if found is None:
        held = sorted(entry.name for entry in directory.iterdir() if entry.suffix in ENDINGS and entry.is_file())
        hint = f"did you mean {name}/{printable(held[0])}?" if held else f"it must hold {WEIGHTS} or checkpoints/"
        raise DataError(f"{name}: not the directory of a run with weights; {hint}")
    require_plain(directory, name)
    return found


def safetensors_in(data: bytes, name: str) -> tuple[Mapping, Description | None]:
    """Return the tensors of a safetensors file, and the description that a run's has. Errors: DataError."""
    try:
        tensors, text = parsed_safetensors(data)
    except ValueError as error:
        raise cannot_be_read(name, error) from None
    try:
        return tensors, from_json(text, tensors) if text else None
    except DataError:  # of another version: the tensors count
        return tensors, None


def parsed_safetensors(data: bytes) -> tuple[dict[str, Tensor], str | None]:
    """Return the tensors of a safetensors file, and the description of their model, as JSON, if it has one.

    Errors: ValueError.
    """
    from safetensors.torch import load

    try:
        tensors = load(data)
        metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__", {})
    except Exception as error:  # safetensors raises its own
        raise ValueError(printable(error)) from None
    return tensors, metadata.get(KEY)


def pickled_in(data: bytes, name: str) -> tuple[object, Description | None]:
    """Return the tensors, numbers, texts, lists and dicts of a file of torch. Errors: DataError."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of a pickle by another program
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch and pickle raise many kinds
        if other := OTHER_GLOBAL.search(str(error)):
            what = f"holds more than tensors ({printable(other[1])}), and loading that could execute code"
            raise DataError(f"{name}: {what}; save model.state_dict() alone") from None
        raise cannot_be_read(name, error) from None
    try:
        return content, from_state(content.get("description")) if isinstance(content, Mapping) else None
    except DataError:
        return content, None


def cannot_be_read(name: str, error: Exception) -> DataError:
    """Return the error of a file that holds no weights that this program knows."""
    reason = printable(str(error).strip().partition("\n")[0])[:100]
    return DataError(f"{name}: cannot be read as safetensors or as a state dict of torch ({reason})")


def parts_of(content: object, key: str = "", depth: int = 0) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    """Yield each mapping of names to tensors in nested mappings, with the key that holds it."""
    if not isinstance(content, Mapping) or depth > DEEPEST:
        return
    tensors = {name: value for name, value in content.items() if isinstance(name, str) and is_plain(value)}
    if tensors:
        yield key, tensors
    for name, value in content.items():
        if isinstance(name, str):
            yield from parts_of(value, name, depth + 1)


def is_plain(value: object) -> bool:
    """Return whether a value is a tensor of numbers in memory."""
    return isinstance(value, Tensor) and value.layout is torch.strided and not value.is_quantized and not value.is_meta
