"""Classes of the samples of a step, for losses that are cheaper for them than for one-hot targets."""

from collections.abc import Callable, Sequence

from torch import Tensor

from trainer.engine.order import MicroBatch
from trainer.engine.run import Run

Losses = Callable[[Tensor, Tensor], Tensor]  # of outputs (B, K) and either targets (B, K) or labels (B,)


class HardLabels:
    """The loss of each micro-batch, and what it takes: classes where nothing has softened the targets, else targets.

    Both give the same numbers.
    """

    def __init__(self, run: Run) -> None:
        self._criterion, self._labels = run.criterion, run.labels

    def __call__(
        self, indices: Sequence[Tensor], before: Sequence[Tensor], batch: Sequence[MicroBatch]
    ) -> list[tuple[Losses, Tensor]]:
        """Return for each micro-batch the loss and what it is of, beside the outputs.

        Args:
            indices: of the samples.
            before: targets as they were before the transforms of the step.
            batch: behind the transforms.
        """
        if self._labels is None:
            return [(self._criterion, targets) for _, targets in batch]
        return [
            (self._criterion.of_labels, self._labels.index_select(0, samples))
            if targets is old and not targets._version
            else (self._criterion, targets)
            for samples, old, (_, targets) in zip(indices, before, batch)
        ]
