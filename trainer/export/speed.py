"""Time of a prediction, and the multiplications in it."""

import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from trainer.base.device import describe
from trainer.base.text import printable
from trainer.inference.model import TrainedModel
from trainer.inspection.cost import median
from trainer.inspection.layer_table import count_operations

BATCHES = (1, 64)
WARM_UP, PASSES, SECONDS = 3, 100, 1.0  # passes that are not timed; at most so many, in so many seconds, are
CPUINFO, MODEL = Path("/proc/cpuinfo"), "model name"  # of Linux

Call = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Median time of a call.

    Args:
        batch: samples in it.
        macs: multiply-accumulate operations of the network for the batch.
        model, exported: seconds, of the loaded model and of the exported file.
    """

    batch: int
    macs: int
    model: float
    exported: float


@torch.no_grad()
def measure(model: TrainedModel, exported: Call, samples: Tensor) -> list[Speed]:
    """Return the times for batches of 1 and of 64 samples, with the threads that torch has."""
    macs = macs_of(model, samples)
    found = []
    for size in BATCHES:
        batch = samples[torch.arange(size) % len(samples)]
        times = {name: seconds(call, batch) for name, call in (("model", model), ("exported", exported))}
        found.append(Speed(batch=size, macs=macs * size, **times))
    return found


def seconds(call: Call, batch: Tensor) -> float:
    """Return the median time of a call, in seconds, after a warm-up."""
    for _ in range(WARM_UP):
        call(batch)
    taken: list[float] = []
    start = time.perf_counter()
    while not taken or (len(taken) < PASSES and time.perf_counter() - start < SECONDS):
        before = time.perf_counter()
        call(batch)
        taken.append(time.perf_counter() - before)
    return median(taken)


def machine() -> str:
    """Return the processor and the number of threads, in words."""
    name = platform.processor()
    with suppress(OSError):
        name = next((line.partition(":")[2] for line in CPUINFO.read_text().splitlines() if MODEL in line), name)
    return f"{printable(name).strip() or 'an unknown processor'}, {describe(torch.device('cpu'))}"


def macs_of(model: TrainedModel, samples: Tensor) -> int:
    """Return the multiply-accumulate operations of the network for one sample."""
    images = model.preprocess(samples[:1])
    return round(sum(count_operations(model.module, images).values()) / 2)
