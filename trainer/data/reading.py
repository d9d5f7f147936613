"""Reading of all samples of a torch Dataset once: kept in memory where they fit, else only their targets."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainer.base.cores import cores
from trainer.data.arrays import note_on_range
from trainer.data.capacity import free_bytes
from trainer.data.image_files import LazyImages
from trainer.data.image_scan import with_progress_bar
from trainer.data.samples import DatasetImages, Samples, Target, chunks, stacked
from trainer.data.worker_pool import WorkerPool

CHUNK = 64  # samples that are read at a time
MEMORY_FRACTION = 0.5  # of the free memory, for samples that are kept
ALONE = 2.0  # seconds for which this process reads before workers help
WORTH = 5.0  # seconds of reading that make workers worth their start

Inputs = Tensor | LazyImages


@dataclass(frozen=True)
class Read:
    """Samples of a split.

    Args:
        inputs: (N, ...).
        targets: (N,) or (N, K).
        outside: note on images whose floats are not in [0, 1], else empty.
    """

    inputs: Inputs
    targets: np.ndarray
    outside: str = ""


def read_split(samples: Samples, keep: bool) -> Read:
    """Return the samples of a split; each is read and checked.

    Args:
        keep: keep inputs in memory where they fit and do not change from reading to reading.
    Errors: DataError, which names the sample.
    """
    first, _ = samples.pair(0)
    count, shape, dtype = len(samples), tuple(first.shape), first.dtype
    draws = samples.draws_at_random()
    size = count * math.prod(shape) * dtype.itemsize
    kept = keep and not draws and size <= MEMORY_FRACTION * free_bytes(torch.device("cpu"))
    images = torch.empty((count, *shape), dtype=dtype) if kept else None
    targets: list[Target] = []
    low, high = 0.0, 1.0
    parts = list(chunks(count, CHUNK))
    for inputs, some in with_progress_bar(all_read(samples, parts), "reading", len(parts)):
        place = len(targets)
        for offset, found in enumerate(inputs):
            samples.require_like(place + offset, found, shape, dtype, samples.name(0))
        if images is not None:
            images[place : place + len(inputs)] = inputs
        targets += some
        if dtype != torch.uint8 and len(shape) == 3:
            low, high = min(low, inputs.min().item()), max(high, inputs.max().item())
    lazy = DatasetImages(samples, (count, *shape), dtype, draws)
    inputs = LazyImages(lazy, torch.arange(count)) if images is None else images
    return Read(inputs, stacked(targets, samples), note_on_range(low, high))


def all_read(samples: Samples, parts: list[Tensor]) -> Iterator[tuple[Tensor, list[Target]]]:
    """Yield inputs and targets of each part: this process reads, and where it would take long, workers do."""
    start = time.monotonic()
    for done, part in enumerate(parts):
        yield samples.read(part)
        taken = time.monotonic() - start
        left = len(parts) - done - 1
        if taken > ALONE and cores() > 1 and left * taken / (done + 1) > WORTH:
            yield from WorkerPool(samples, cores()).read(parts[done + 1 :])
            return
