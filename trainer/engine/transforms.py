"""Augmentations and the transforms of the `batch` slot, as they act in a step."""

from collections.abc import Sequence

import torch

from trainer.base.clock import Clock
from trainer.base.pixel_space import fuse_pixel_spaces
from trainer.base.protocols import UsesClock
from trainer.base.rng import derive
from trainer.base.warp import fuse_warps
from trainer.engine.order import MicroBatch
from trainer.engine.run import Run


class Transforms:
    """Transforms of a run's batches. What they draw depends on (seed, step) and the batch alone.

    They tell the time to the terms of the loss, too.
    """

    def __init__(self, run: Run) -> None:
        transforms = [*run.aug, *run.slots.batch]
        self.timed = [part for part in (*transforms, *run.slots.loss) if isinstance(part, UsesClock)]
        self.transforms = fuse_pixel_spaces(fuse_warps(transforms))
        self.seed, self.rng = derive(run.seed, "transforms"), torch.Generator(run.device)

    def __call__(self, now: Clock, batch: Sequence[MicroBatch]) -> Sequence[MicroBatch]:
        """Return the micro-batches of a step, transformed in order."""
        for part in self.timed:
            part.begin(now)
        if self.transforms:
            self.rng.manual_seed(self.seed + now.step)
            for transform in self.transforms:
                batch = [transform(images, targets, self.rng) for images, targets in batch]
        return batch
