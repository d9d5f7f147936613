"""Checkpoints: files of a run that are there whole or not at all, and that a reader can tell good from bad."""

import io
import math
import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import torch
from torch import nn

from trainer.base.atomic import atomic_write
from trainer.base.clock import Clock
from trainer.base.errors import DataError, MachineError
from trainer.base.text import printable

NEWEST = 2  # kept beside the best


class Checkpoints:
    """`checkpoints/step-N.pt`, beside each its SHA-256, and the pointers `best` and `last`, text files that hold a name.

    A checkpoint counts once its digest stands beside it; a pointer is moved after that. Every file is written under another
    name, brought to the disk and renamed, so that a process or a machine that dies leaves the older ones as they were.

    Args:
        directory: the run's.
        monitor: what is best: loss (small), accuracy or r2 (large); equal scores are decided by the loss.
        best: the record of the best so far, of a run that goes on.
    Errors: MachineError where that cannot be pointed at.
    """

    def __init__(self, directory: Path, monitor: str, best: dict[str, float] | None = None) -> None:
        self.folder = directory / "checkpoints"
        self.monitor = monitor
        self.best = best
        self.failed = False  # the newest attempt; the next that succeeds mends it
        self._written: set[Path] = set()
        self._kept: tuple[Path, io.BytesIO] | None = None  # the best, where the disk did not take it
        if best and is_complete(kept := self.folder / f"step-{best['step']}.pt"):
            try:
                atomic_write(
                    self.folder / "best", kept.name.encode()
                )  # a process may die between its best checkpoint and the pointer to it
            except OSError as error:
                raise MachineError(
                    f"{printable(self.folder / 'best')}: cannot be written ({error.strerror}); make room and resume it again"
                ) from None

    def better(self, now: Clock, scores: dict[str, float]) -> bool:
        """Take a scoring; whether it is the best so far. A loss that is not finite never is."""
        record = {"step": now.step, "epoch": now.epoch, **scores}
        if not math.isfinite(scores["loss"]) or (self.best and self._rank(record) >= self._rank(self.best)):
            return False
        self.best = record
        return True

    def save(self, state: dict, best: bool = False) -> None:
        """Write a state, whose `step` names the file, and let `last` and, where it is one, `best` name it.

        Errors: OSError, with the older ones as they were. A best one that the disk does not take stays in memory, and is written
        before any later one: a run that goes on from a checkpoint finds the best of its time beside it.
        """
        self.failed = True
        path, payload = self.folder / f"step-{state['step']}.pt", io.BytesIO()
        torch.save(state, payload)
        if best:
            self._kept = path, payload
        if self._kept:
            self._put(*self._kept, ("last", "best"))
            self._kept = None
        if not best:
            self._put(path, payload, ("last",))
        self.failed = False

    def best_weights(self, device: torch.device) -> dict[str, torch.Tensor]:
        """Of the best checkpoint, wherever it is; of the last where none was scored. Errors: DataError where there is none that is whole."""
        if self._kept:
            self._kept[1].seek(0)
            return torch.load(self._kept[1], map_location=device, weights_only=True)["weights"]
        path = pointed(self.folder, "best", "last")
        if path is None:
            raise DataError(f"{printable(self.folder)}: no checkpoint is there")
        return load(path, device)["weights"]

    def newest(self) -> Path | None:
        """The newest that is whole."""
        return next(filter(is_complete, newest_first(self.folder)), None)

    def _put(self, path: Path, payload: io.BytesIO, pointers: Sequence[str]) -> None:
        self.folder.mkdir(exist_ok=True)
        if path not in self._written or not is_complete(path):  # what another process left there counts for nothing
            try:
                atomic_write(path, payload.getbuffer())
                atomic_write(digest_path(path), f"{sha256(payload.getbuffer()).hexdigest()}\n".encode())
            except OSError:
                path.unlink(missing_ok=True)  # it would count for nothing, and take the room of the next
                raise
            self._written.add(path)
        for pointer in pointers:
            atomic_write(self.folder / pointer, path.name.encode())
        self._prune()

    def _prune(self) -> None:
        for left in self.folder.glob(".*"):
            left.unlink(missing_ok=True)  # by a process that died while it wrote; this one writes nothing now
        named = {
            (self.folder / pointer).read_text().strip()
            for pointer in ("best", "last")
            if (self.folder / pointer).exists()
        }
        for path in list(newest_first(self.folder))[NEWEST:]:
            if path.name not in named:
                digest_path(path).unlink(missing_ok=True)
                path.unlink()

    def _rank(self, scores: dict[str, float]) -> tuple[float, float]:
        sign = 1 if self.monitor == "loss" else -1
        return sign * scores[self.monitor], scores["loss"]


def export(model: nn.Module, path: Path) -> None:
    """Weights and buffers under the model's own names, in the format of the safetensors library: for use elsewhere."""
    from safetensors.torch import save

    atomic_write(
        path, save({name: value.detach().cpu().clone().contiguous() for name, value in model.state_dict().items()})
    )


def digest_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def newest_first(folder: Path) -> Iterator[Path]:
    """The checkpoints of a folder, whole or not, by their step."""
    numbered = {path: re.fullmatch(r"step-(\d+)\.pt", path.name) for path in folder.glob("step-*.pt")}
    yield from sorted((path for path, match in numbered.items() if match), key=lambda path: -int(numbered[path][1]))


def is_complete(path: Path) -> bool:
    try:
        return bool(read_verified(path))
    except DataError:
        return False


def read_verified(path: Path) -> bytes:
    """A checkpoint's bytes, if they are those that were written. Errors: DataError."""
    try:
        payload = path.read_bytes()
    except OSError as error:
        raise DataError(f"{printable(path)}: cannot be read ({error.strerror})") from None
    try:
        written = digest_path(path).read_text().strip()
    except OSError:
        raise DataError(f"{printable(path)}: was not finished: its digest is missing") from None
    if sha256(payload).hexdigest() != written:
        raise DataError(f"{printable(path)}: is damaged: its digest does not match")
    return payload


def load(path: Path, device: torch.device) -> dict:
    """A checkpoint's state: tensors, numbers, words, lists and dicts; nothing in the file is executed. Errors: DataError."""
    payload = read_verified(path)
    try:
        state = torch.load(io.BytesIO(payload), map_location=device, weights_only=True)
    except Exception as error:  # torch and pickle raise many kinds
        raise DataError(
            f"{printable(path)}: cannot be read as a checkpoint ({printable(str(error).partition(chr(10))[0])})"
        ) from None
    if (
        not isinstance(state, dict)
        or not isinstance(state.get("step"), int)
        or not isinstance(state.get("weights"), dict)
    ):
        raise DataError(f"{printable(path)}: is not a checkpoint of a run")
    return state


def pointed(folder: Path, *pointers: str) -> Path | None:
    """The file that the first pointer there is names; only a checkpoint of the same folder counts."""
    for pointer in pointers:
        if (folder / pointer).is_file():
            name = (folder / pointer).read_text().strip()
            return folder / name if re.fullmatch(r"step-\d+\.pt", name) else None
    return None


def digest(model: nn.Module) -> str:
    """SHA-256 of all weights and buffers, by name: equal for two runs only if they are equal bit for bit."""
    total = sha256()
    for name, tensor in sorted(model.state_dict().items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
