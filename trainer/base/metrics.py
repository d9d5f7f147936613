"""Mean loss and score over many batches, gathered on the device and copied to the host once."""

from collections.abc import Sequence

import torch
from torch import Tensor

SCORE = {"classification": "accuracy", "binary": "accuracy", "regression": "r2"}
FOLD = 64  # batches held before they are reduced to sums


class MetricAccumulator:
    """Adding a batch costs next to nothing: its outputs are kept, and reduced many batches at a time.

    Args:
        task: of the data; says which score stands beside the loss: accuracy, or r2 = 1 - sum (o - t)^2 / sum (t - mean t)^2.
    """

    def __init__(self, task: str) -> None:
        self.task = task
        self._pending: list[tuple[Tensor, Tensor, Tensor]] = []
        self._count = 0
        self._sums: Tensor | float = 0.0

    def add(self, losses: Tensor, outputs: Tensor, targets: Tensor) -> None:
        """A batch's losses (B,), outputs and targets (B, K), all without gradient."""
        self._pending.append((losses, outputs, targets))
        self._count += len(targets)
        if len(self._pending) >= FOLD:
            self._fold()

    @torch.no_grad()
    def _fold(self) -> None:
        losses, outputs, targets = zip(*self._pending)
        self._pending.clear()
        sums = [torch.cat(losses).sum()]
        outputs, targets = torch.cat(outputs), torch.cat(targets)
        if self.task == "regression":
            targets = (
                targets if targets.device.type == "mps" else targets.double()
            )  # t^2 - mean^2 cancels; MPS has no float64
            sums += [(outputs - targets).square().sum(), targets.square().sum(), *targets.sum(0)]
        elif self.task == "binary":
            sums.append(((outputs > 0) == (targets > 0.5)).sum())
        else:
            sums.append((outputs.argmax(1) == targets.argmax(1)).sum())
        self._sums = self._sums + torch.stack(
            [part.to(sums[-1].dtype if self.task == "regression" else torch.float32) for part in sums]
        )

    @property
    def empty(self) -> bool:
        return self._count == 0

    def take(self) -> list[float]:
        """The count and the sums so far, as numbers that may be added up; starts anew. Not to be called when empty."""
        if self._pending:
            self._fold()
        numbers = [float(self._count), *self._sums.tolist()]  # host sync: one copy
        self._count, self._sums = 0, 0.0
        return numbers

    def state_dict(self) -> dict[str, float | Tensor]:
        if self._pending:
            self._fold()
        return {"count": self._count, "sums": self._sums}

    def load_state_dict(self, state: dict[str, float | Tensor]) -> None:
        self._count, self._sums = state["count"], state["sums"]

    def means(self, numbers: Sequence[float]) -> dict[str, float]:
        """`loss` and the score that the numbers of one or more `take` mean."""
        count, loss, *rest = numbers
        if self.task != "regression":
            return {"loss": loss / count, "accuracy": rest[0] / count}
        error, squares, *totals = rest
        spread = squares - sum(total * total for total in totals) / count
        return {"loss": loss / count, "r2": 1 - error / spread if spread > 0 else float("nan")}
