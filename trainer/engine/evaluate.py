"""Evaluation of a model on a split."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from trainer.base.accumulator import MetricAccumulator
from trainer.base.classes import labels_of, predicted_classes
from trainer.tta import average


def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    criterion: Callable[[Tensor, Tensor], Tensor],
    task: str,
    autocast: Callable[[], AbstractContextManager],
    views: Callable[[nn.Module, Tensor], Tensor] | None = None,
    observe: Callable[[Tensor, Tensor, Tensor], None] | None = None,
    shared: bool = False,
) -> dict[str, float]:
    """Return mean loss and score of the model on batches of a split, in evaluation mode; its own mode is restored.

    The mean is over samples, whatever the size of the last batch.

    Args:
        views: gives outputs (V, B, K) on several views of each sample, which are averaged; None for the samples as they
            are.
        observe: takes the losses (B,), outputs and targets (B, K) of every batch.
        shared: the batches are a rank's shares, perhaps empty; the scores are those of all joined ranks.
    """
    training = model.training
    model.eval()
    accumulator = MetricAccumulator(task, shared)
    with torch.no_grad():
        for images, targets in batches:
            if not len(targets):
                accumulator.add(targets.new_zeros(0), targets, targets)
                continue
            with autocast():
                outputs = views(model, images) if views else model(images)
            outputs = average(outputs.float(), criterion) if views else outputs.float()
            losses = criterion(outputs, targets)
            accumulator.add(losses, outputs, targets)
            if observe:
                observe(losses, outputs, targets)
    model.train(training)
    return accumulator.compute_and_reset()


def counting(confusion: Tensor | None) -> Callable[[Tensor, Tensor, Tensor], None] | None:
    """Return an observer that adds the samples to counts (K, K) by class and prediction; None without counts."""
    if confusion is None:
        return None

    def count(losses: Tensor, outputs: Tensor, targets: Tensor) -> None:
        cells = labels_of(targets) * len(confusion) + predicted_classes(outputs)
        confusion.view(-1).index_add_(0, cells, torch.ones_like(cells))

    return count
