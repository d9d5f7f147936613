"""The best weights of a run, kept on disk."""

import math
import os
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor, nn

from trainer.clock import Clock


class Checkpoints:
    """`checkpoints/step-N.pt` with the pointers `best` and `last`, text files that hold a name.

    Args:
        directory: the run's.
        monitor: what is best: loss (small), accuracy or r2 (large); equal scores are decided by the loss.
    """

    def __init__(self, directory: Path, monitor: str) -> None:
        self.folder = directory / "checkpoints"
        self.monitor = monitor
        self.best: dict[str, float] | None = None

    def consider(self, model: nn.Module, now: Clock, scores: dict[str, float]) -> bool:
        """Keep the weights of the model that was scored, if it is the best so far. A loss that is not finite never is."""
        record = {"step": now.step, "epoch": now.epoch, **scores}
        if not math.isfinite(scores["loss"]) or (self.best and self._rank(record) >= self._rank(self.best)):
            return False
        self.best = record
        self.write("best", model, now)
        return True

    def write(self, pointer: str, model: nn.Module, now: Clock) -> None:
        """Write the model's weights and let `pointer` name them; a file that no pointer names any more is removed."""
        self.folder.mkdir(exist_ok=True)
        name = f"step-{now.step}.pt"
        if not (self.folder / name).exists():
            replace(self.folder / name, lambda temporary: torch.save({"weights": model.state_dict(), "step": now.step}, temporary))
        replace(self.folder / pointer, lambda temporary: temporary.write_text(name))
        named = {path.read_text() for path in (self.folder / "best", self.folder / "last") if path.exists()}
        for path in self.folder.glob("step-*.pt"):
            if path.name not in named:
                path.unlink()

    def _rank(self, scores: dict[str, float]) -> tuple[float, float]:
        sign = 1 if self.monitor == "loss" else -1
        return sign * scores[self.monitor], scores["loss"]


def replace(path: Path, write) -> None:
    """Write to a temporary name beside `path` and move it there, so that no reader meets half a file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    write(temporary)
    os.replace(temporary, path)


def load(folder: Path, pointer: str, device: torch.device) -> dict[str, Tensor]:
    """The weights that a pointer in a run's checkpoints/ names. Tensors only: nothing in the file is executed."""
    return torch.load(folder / (folder / pointer).read_text().strip(), map_location=device, weights_only=True)["weights"]


def digest(model: nn.Module) -> str:
    """SHA-256 of all weights and buffers, by name: equal for two runs only if they are equal bit for bit."""
    total = sha256()
    for name, tensor in sorted(model.state_dict().items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
