"""The batches of a run, in the order that (seed, epoch) and the samples' losses give."""

import math
from collections.abc import Iterator, Sequence
from contextlib import closing

import torch
from torch import Tensor

from trainer.base.rng import derive
from trainer.engine.run import Run

MicroBatch = tuple[Tensor, Tensor]  # images and targets


def batches(run: Run) -> Iterator[tuple[Sequence[Tensor], list[MicroBatch]]]:
    """Yield the batch of each step that is left: indices, and images with targets, of its micro-batches, on the device.

    A batch is one micro-batch unless gradients are accumulated. A resumed run begins within its epoch, in that epoch's
    order.
    """
    progress = run.progress
    first_epoch, done = divmod(progress.step, run.clock.steps_per_epoch)
    for epoch in range(first_epoch, math.ceil(run.clock.total_epochs)):
        if progress.order is None or not done:
            progress.order = order_of(run, epoch)
        micro_batches = micro_batches_of(run, progress.order)[done * run.accumulate :]
        done = 0
        with closing(run.train.batches(micro_batches)) as upcoming:
            for first in range(0, len(micro_batches), run.accumulate):
                indices = micro_batches[first : first + run.accumulate]
                yield indices, [next(upcoming) for _ in indices]


def micro_batches_of(run: Run, order: Tensor) -> Sequence[Tensor]:
    """Return the indices of each micro-batch of an epoch; with drop_last without those of a smaller step at its end."""
    if run.drop_last:
        order = order[: len(order) - len(order) % (run.batch_size * run.accumulate)]
    return order.split(run.batch_size)


def order_of(run: Run, epoch: int) -> Tensor:
    """Return the indices of the samples of an epoch, in the sampler's order."""
    rng = torch.Generator(run.device)
    rng.manual_seed(derive(run.seed, "order", epoch))
    return run.sampler(epoch, run.train.targets, run.progress.losses, rng)
