"""Watch for non-finite losses, and for too many skipped steps in a row: then a run has diverged (engine/session.py)."""

import torch
from torch import Tensor

from trainer.base.clock import Clock
from trainer.engine.progress import Progress


class LossWatch:
    """Watch for non-finite losses, which wait on the device and are checked together: no step waits for the host."""

    MAX_PENDING = 1000
    MAX_SKIPPED = 10  # in a row; then the run has diverged

    def __init__(self, progress: Progress) -> None:
        self.pending: list[Tensor] = []
        self.nonfinite_step = 0
        self._progress = progress  # counts the steps that were skipped

    def add(self, done: Clock, loss: Tensor | None) -> None:
        """Take the loss of a step; None for a step that was skipped."""
        if loss is not None:
            self.pending.append(loss)
            self._progress.skipped_in_a_row = 0
            return
        self._progress.skipped += 1
        self._progress.skipped_in_a_row += 1
        if self._progress.skipped_in_a_row == self.MAX_SKIPPED:
            self.nonfinite_step = done.step

    @property
    def full(self) -> bool:
        """True if so many losses wait that they must be checked now."""
        return len(self.pending) >= self.MAX_PENDING

    def check(self, done: Clock) -> None:
        """Find the first non-finite loss among those that wait; the last of them is that of the step just done."""
        finite = torch.stack(self.pending).isfinite().tolist() if self.pending else []  # host sync
        if False in finite:
            self.nonfinite_step = done.step - len(finite) + finite.index(False) + 1
        self.pending.clear()
