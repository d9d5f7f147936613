"""Means of metrics over many batches: gathered on the device, copied to the host once."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from trainer.base import ranks
from trainer.base.metrics import ACCURACY, R2
from trainer.base.statistics import exact_type

BATCHES_HELD = 64  # before they are reduced to sums


class MetricAccumulator:
    """Running sums behind the mean loss and the score.

    Adding a batch costs next to nothing: its outputs are kept, and reduced many batches at a time.

    Args:
        task: kind of the data; names the score.
        shared: what is read is of all ranks that take steps together.
    """

    def __init__(self, task: str, shared: bool = False) -> None:
        self.task, self._total = task, ranks.total if shared else list
        self._pending: list[tuple[Tensor, Tensor, Tensor]] = []
        self._held = 0  # batches in it
        self._count = 0
        self._sums: Tensor | float = 0.0

    def add(self, losses: Tensor, outputs: Tensor, targets: Tensor, batches: int = 1) -> None:
        """Take losses (B,), outputs (B, K), and targets (B, K) or classes (B,) of a batch, without gradient.

        Args:
            batches: how many in a row they are of.
        """
        self._pending.append((losses, outputs, targets))
        self._count += len(targets)
        self._held += batches
        if self._held >= BATCHES_HELD:
            self._reduce()

    def _reduce(self) -> None:
        self._sums = self._sums_with_pending()
        self._pending.clear()
        self._held = 0

    @torch.no_grad()
    def _sums_with_pending(self) -> Tensor:
        all_losses, all_outputs, all_targets = zip(*self._pending)
        losses, outputs = torch.cat(all_losses), torch.cat(all_outputs)
        exact = exact_type(losses.device)
        columns = [losses[:, None]]
        if self.task == "regression":
            targets = torch.cat(all_targets).to(exact)  # t^2 - mean^2 cancels
            columns += [(outputs - targets).square().reshape(-1, 1), targets.square().reshape(-1, 1), targets]
        elif self.task == "binary":
            columns.append(((outputs > 0) == (torch.cat(all_targets) > 0.5)).reshape(-1, 1))
        else:
            columns.append((outputs.argmax(1) == classes_of(all_targets))[:, None])
        widths = [column.shape[1] for column in columns]
        before = self._sums if isinstance(self._sums, Tensor) else losses.new_zeros(sum(widths), dtype=exact)
        return torch.cat([added(start, column.to(exact)) for start, column in zip(before.split(widths), columns)])

    @property
    def empty(self) -> bool:
        """True if nothing was added since the last reset."""
        return not self._pending and not isinstance(self._sums, Tensor)

    def sums(self) -> Tensor:
        """Return the count and the sums so far, on the device, and change nothing. Not for an empty accumulator."""
        sums = self._sums_with_pending() if self._pending else self._sums
        return torch.cat([torch.full_like(sums[:1], self._count), sums])

    def pop_sums(self) -> list[float]:
        """Return the count and the sums, which may be added up with others, and reset. Not for an empty accumulator."""
        if self._pending:
            self._reduce()
        sums = self._total([float(self._count), *self._sums.tolist()])  # host sync: one copy
        self._count, self._sums = 0, 0.0
        return sums

    def compute_and_reset(self) -> dict[str, float]:
        """Return the mean loss and the score, and reset. Not for an empty accumulator."""
        return self.means(self.pop_sums())

    def means(self, sums: Sequence[float]) -> dict[str, float]:
        """Return `loss` and the score that sums of `pop_sums` mean."""
        count, loss, *rest = sums
        if self.task != "regression":
            return {"loss": loss / count, ACCURACY.name: rest[0] / count}
        error, squares, *totals = rest
        spread = squares - sum(total * total for total in totals) / count
        return {"loss": loss / count, R2.name: 1 - error / spread if spread > 0 else float("nan")}

    def state_dict(self) -> dict[str, float | Tensor]:
        if self._pending:
            self._reduce()
        if not isinstance(self._sums, Tensor):
            return {"count": self._count, "sums": self._sums}
        count, *sums = self._total([self._count, *self._sums.tolist()])
        return {"count": int(count), "sums": self._sums.new_tensor(sums)}

    def load_state_dict(self, state: Mapping[str, float | Tensor]) -> None:
        self._count, self._sums = state["count"], state["sums"]


def classes_of(targets: Sequence[Tensor]) -> Tensor:
    """Return the classes (N,) of batches of targets, each either one-hot or soft (B, K) or classes (B,) already."""
    if all(batch.dim() == 2 for batch in targets):
        return torch.cat(targets).argmax(1)
    return torch.cat([batch if batch.dim() == 1 else batch.argmax(1) for batch in targets])


def added(start: Tensor, values: Tensor) -> Tensor:
    """Return start (C,) plus the sums of values (N, C).

    A CPU adds them one after the other, so that a checkpoint or the end of a process between two batches changes no
    digit. A GPU adds them in another order, and the last digits depend on where the batches were divided.
    """
    if values.device.type != "cpu":
        return start + values.sum(0)
    return torch.cat([start[None], values]).cumsum(0)[-1]


class Glance:
    """The newest numbers of a device that have reached the host: nobody waits for them."""

    def __init__(self) -> None:
        self._newest: list[float] = []
        self._copy: Tensor | None = None
        self._arrived: torch.cuda.Event | None = None

    def __call__(self, numbers: Tensor) -> list[float]:
        """Start to copy numbers, and return the newest that have arrived: on a CPU these; none at first."""
        if numbers.device.type != "cuda":
            return numbers.tolist()
        if self._arrived is not None and self._arrived.query():
            self._newest, self._arrived = self._copy.tolist(), None  # pinned memory of the host
        if self._arrived is None:
            self._copy, self._arrived = numbers.to("cpu", non_blocking=True), torch.cuda.Event()
            self._arrived.record()
        return self._newest
