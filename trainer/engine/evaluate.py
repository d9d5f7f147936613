"""Scoring a split."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from trainer.base.metrics import MetricAccumulator
from trainer.data.loader import Loader
from trainer.tta import average


def evaluate(
    model: nn.Module,
    split: Loader,
    criterion: Callable[[Tensor, Tensor], Tensor],
    task: str,
    batch_size: int,
    autocast: Callable[[], AbstractContextManager],
    views: Callable[[nn.Module, Tensor], Tensor] | None = None,
) -> dict[str, float]:
    """Mean loss and score of the model on a whole split, in evaluation mode; the model's mode is put back.

    The mean is over samples, whatever the size of the last batch. Nothing of the model changes. `views` gives the outputs
    on several views of each sample, which are averaged; without it the samples are scored as they are.
    """
    training = model.training
    model.eval()
    tally = MetricAccumulator(task)
    with torch.no_grad():
        for images, targets in split.in_order(batch_size):
            with autocast():
                outputs = views(model, images) if views else model(images)
            outputs = average(outputs.float(), task) if views else outputs.float()
            tally.add(criterion(outputs, targets), outputs, targets)
    model.train(training)
    return tally.means(tally.take())
