"""Time of a training step without the optimizer: forward and backward pass."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

WARM_UP, MOST_PASSES, SECONDS = 1, 20, 1.0  # of what is timed


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Time of a training step without the optimizer.

    Args:
        samples: in the batch.
        forward, backward: seconds.
    """

    samples: int
    forward: float
    backward: float

    @property
    def throughput(self) -> float:
        """Samples a second, forward and backward."""
        return self.samples / (self.forward + self.backward)


def measure_cost(loss: Callable[[], Tensor], weights: list[Tensor], samples: int, device: torch.device) -> Cost:
    """Return the median times of forward and backward pass.

    Args:
        loss: makes the forward pass.
        weights: to differentiate by.
        samples: in the batch.
    """
    forward, backward = [], []
    start = time.perf_counter()
    while len(forward) < WARM_UP + 1 or (len(forward) < MOST_PASSES and time.perf_counter() - start < SECONDS):
        before = now(device)
        scalar = loss()
        between = now(device)
        if scalar.requires_grad:
            torch.autograd.grad(scalar, weights, allow_unused=True)
        forward.append(between - before)
        backward.append(now(device) - between)
    return Cost(samples=samples, forward=median(forward[WARM_UP:]), backward=median(backward[WARM_UP:]))


def now(device: torch.device) -> float:
    """Return the time in seconds when the device has done all that it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()


def median(values: list[float]) -> float:
    """Return the median, of an even number of values the upper one."""
    return sorted(values)[len(values) // 2]
