"""Checkpoints: files that are complete or do not count, each verified by a digest before it is read."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import torch
from torch import nn

from trainer.base.atomic import atomic_write, discard_partial
from trainer.base.errors import DataError, MachineError
from trainer.base.plain_files import read_plain
from trainer.base.text import printable
from trainer.rundir.description import KEY, Description

NEWEST = 2  # kept, with the best of each one's time
LONGEST = 1000  # bytes of a digest or a pointer, with much to spare
FILE = re.compile(r"step-(\d+)\.pt", re.ASCII)


class Checkpoints:
    """`checkpoints/step-N.pt`, beside each its SHA-256, and the pointers `best` and `last`: text files with a name.

    A checkpoint counts once its digest is beside it; a pointer is moved after that. Every file is written atomically,
    so that a process or a machine that dies leaves the older ones as they were.

    Args:
        directory: the run's.
    """

    def __init__(self, directory: Path) -> None:
        self.folder = directory / "checkpoints"
        self.failed = False  # the newest attempt to write one
        self._written: set[Path] = set()  # by this process, with the present content
        self._best_of: dict[Path, int | None] = {}  # the step of the best evaluation when a file was written
        self._unwritten_best: tuple[Path, io.BytesIO] | None = None  # where the disk did not take it

    def save(self, state: dict, best: bool = False) -> None:
        """Write a state, whose `step` names the file; `last` and, if it is the best so far, `best` point to it.

        Errors: OSError, with the older ones as they were. A best one that could not be written stays in memory, and is
        written before any later one: a resumed run finds the best of its time beside its checkpoint.
        """
        self.failed = True
        path, payload = self._path(state["step"]), io.BytesIO()
        torch.save(state, payload)
        self._best_of[path] = best_step(state)
        if best:
            self._unwritten_best = path, payload
        if self._unwritten_best:
            self._write(*self._unwritten_best, ("last", "best"))
            self._unwritten_best = None
        if not best:
            self._write(path, payload, ("last",))
        self.failed = False

    def has(self, step: int) -> bool:
        """Return whether the checkpoint of a step is there, or waits for space."""
        path = self._path(step)
        return is_complete(path) or bool(self._unwritten_best and self._unwritten_best[0] == path)

    def weights_of(self, step: int, device: torch.device) -> dict[str, torch.Tensor]:
        """Return the weights that the checkpoint of a step was evaluated with. Errors: DataError."""
        path = self._path(step)
        if self._unwritten_best and self._unwritten_best[0] == path:
            self._unwritten_best[1].seek(0)
            return torch.load(self._unwritten_best[1], map_location=device, weights_only=True)["weights"]
        return load(path, device)["weights"]

    @property
    def incomplete(self) -> list[str]:
        """`checkpoints` if the disk did not take the newest one."""
        return ["checkpoints"] if self.failed else []

    def newest(self) -> Path | None:
        """Return the newest complete checkpoint."""
        return next(filter(is_complete, newest_first(self.folder)), None)

    def rewind(self, step: int, best: int | None, *, discard: bool) -> bool:
        """Let `best` point to the checkpoint of the step `best`, as when the run was at `step`; False if it is missing.

        Args:
            discard: delete all checkpoints after `step`, which belong to an abandoned branch of the run, and let `last`
                point to it.
        Errors: MachineError where a pointer cannot be written.
        """
        pointers = {"last": step} if discard else {}
        found = best is not None and is_complete(self._path(best))
        if found:
            pointers["best"] = best
        elif discard:
            (self.folder / "best").unlink(missing_ok=True)
        for pointer, target in pointers.items():
            self._point(pointer, self._path(target))
        if discard:
            self._unwritten_best = None
            self._written.discard(self._path(step))
            for path in newest_first(self.folder):
                if step_of(path) > step:
                    self._delete(path)
        return found

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step}.pt"

    def _point(self, pointer: str, path: Path) -> None:
        try:
            atomic_write(self.folder / pointer, path.name.encode())
        except OSError as error:
            place = printable(self.folder / pointer)
            raise MachineError(
                f"{place}: cannot be written ({error.strerror}); free some space and resume it again"
            ) from None

    def _write(self, path: Path, payload: io.BytesIO, pointers: Sequence[str]) -> None:
        self.folder.mkdir(exist_ok=True)
        if path not in self._written or not is_complete(path):  # another process's file may be of another branch
            try:
                atomic_write(path, payload.getbuffer())
                atomic_write(digest_path(path), f"{sha256(payload.getbuffer()).hexdigest()}\n".encode())
            except OSError:
                path.unlink(missing_ok=True)  # incomplete, and it would take the space of the next
                raise
            self._written.add(path)
        for pointer in pointers:
            atomic_write(self.folder / pointer, path.name.encode())
        self._prune()

    def _prune(self) -> None:
        """Delete old checkpoints, but the newest two, those of `best` and `last`, and the best of each of these."""
        discard_partial(self.folder)
        paths = list(newest_first(self.folder))
        kept = {*paths[:NEWEST], *filter(None, (resolve_pointer(self.folder, name) for name in ("best", "last")))}
        kept |= {self._path(step) for step in map(self._best_at, kept) if step is not None}
        for path in paths:
            if path not in kept:
                self._delete(path)

    def _best_at(self, path: Path) -> int | None:
        """Return the step of the best evaluation at a checkpoint's time; an earlier process's is read from its file."""
        if path not in self._best_of:
            try:
                self._best_of[path] = best_step(torch.load(path, map_location="cpu", mmap=True, weights_only=True))
            except Exception:  # damaged: torch and pickle raise many kinds
                self._best_of[path] = None
        return self._best_of[path]

    def _delete(self, path: Path) -> None:
        digest_path(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        self._written.discard(path)
        self._best_of.pop(path, None)


def export(model: nn.Module, path: Path, description: Description) -> None:
    """Write weights and buffers under the model's own names as safetensors, with the description of the model."""
    export_weights(model.state_dict(), path, description)


def export_weights(state: Mapping[str, torch.Tensor], path: Path, description: Description) -> None:
    """Write weights and buffers by name as safetensors, with the description of their model.

    A preprocessing with large matrices has them beside the weights, under names of its own. The metadata have one key,
    as safetensors writes several in any order, and equal runs have equal files.
    """
    from safetensors.torch import save

    text, large = description.to_json()
    weights = {name: value.detach().cpu().clone().contiguous() for name, value in state.items()}
    atomic_write(path, save(large | weights, metadata={KEY: text}))


def best_step(state: dict) -> int | None:
    """Return the step of the best evaluation that a state knows."""
    best = state.get("progress", {}).get("best")
    return best["step"] if best else None


def digest_path(path: Path) -> Path:
    """Return the file of a checkpoint's digest."""
    return path.with_name(f"{path.name}.sha256")


def step_of(path: Path) -> int:
    """Return the step in a checkpoint's name."""
    return int(FILE.fullmatch(path.name)[1])


def newest_first(folder: Path) -> Iterator[Path]:
    """Yield the checkpoints of a folder, complete or not, from the latest step down."""
    yield from sorted(
        filter(lambda path: FILE.fullmatch(path.name), folder.glob("step-*.pt")), key=step_of, reverse=True
    )


def missing(folder: Path) -> list[Path]:
    """Return the checkpoints whose digest or whose pointer `last` is there without them: no run leaves one so."""
    digests = {path.with_suffix("") for path in folder.glob("step-*.pt.sha256") if FILE.fullmatch(path.stem)}
    named = {resolve_pointer(folder, "last")} - {None}
    return sorted((path for path in digests | named if not path.exists()), key=step_of, reverse=True)


def is_complete(path: Path) -> bool:
    """Return whether a checkpoint has its digest and matches it."""
    try:
        return bool(read_verified(path))
    except DataError:
        return False


def read_verified(path: Path) -> bytes:
    """Return a checkpoint's bytes. Errors: DataError where they are not those that were written."""
    try:
        payload = read_plain(path)
    except OSError as error:
        raise DataError(f"{printable(path)}: cannot be read ({error.strerror})") from None
    except MemoryError:
        raise DataError(f"{printable(path)}: is larger than the memory") from None
    try:
        written = read_plain(digest_path(path), LONGEST).strip()
    except OSError:
        raise DataError(f"{printable(path)}: incomplete: its digest is missing") from None
    if sha256(payload).hexdigest().encode() != written:
        raise DataError(f"{printable(path)}: damaged: its digest does not match")
    return payload


def load(path: Path, device: torch.device) -> dict:
    """Return a checkpoint's state: tensors, numbers, strings, lists and dicts; nothing in the file is executed.

    Errors: DataError.
    """
    payload = read_verified(path)
    try:
        state = torch.load(io.BytesIO(payload), map_location=device, weights_only=True)
    except Exception as error:  # torch and pickle raise many kinds
        reason = printable(str(error).partition("\n")[0])
        raise DataError(f"{printable(path)}: cannot be read as a checkpoint ({reason})") from None
    if not is_state(state):
        raise DataError(f"{printable(path)}: not a checkpoint of a run")
    return state


def is_state(state: object) -> bool:
    """Return whether a value has what every reader of a state relies on."""
    if not (isinstance(state, dict) and isinstance(state.get("step"), int) and isinstance(state.get("weights"), dict)):
        return False
    progress = state.get("progress", {})
    best = progress.get("best") if isinstance(progress, dict) else 0
    return best is None or (isinstance(best, dict) and isinstance(best.get("step"), int))


def resolve_pointer(folder: Path, *pointers: str) -> Path | None:
    """Return the checkpoint of the folder that the first existing pointer names; None for any other name."""
    for pointer in pointers:
        with suppress(OSError):
            name = read_plain(folder / pointer, LONGEST).decode(errors="replace").strip()
            return folder / name if FILE.fullmatch(name) else None
    return None


def weights_digest(model: nn.Module) -> str:
    """Return the SHA-256 of all weights and buffers by name: equal only for models that are equal bit for bit."""
    total = sha256()
    for name, tensor in sorted(model.state_dict().items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
