"""Gradient noise: how far the gradient of a batch is from that of the whole training split, by batch size."""

import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainer.base.freezing import keeps_statistics
from trainer.base.rng import derive
from trainer.engine.run import Run
from trainer.inspection.objective import Objective, Vector, dot

LARGEST, REPEATS = 256, 32  # batch size, batches of each size
SMALLEST_COUPLED, MOST_COUPLED = 32, 512  # sizes where a batch has statistics of its own: smaller ones are too far off
LARGEST_DEVIATION = 0.4  # of the power of the batch size from -1
FIRST = 0.75  # of the time is left after the first batch of each size


@dataclass(frozen=True, kw_only=True)
class NoisePoint:
    """Gradients of batches of one size.

    Args:
        size: samples in a batch.
        batches: how many were drawn.
        square: the mean of |g|^2, with its standard error.
        variance: the mean of |g - mean g|^2, tr of the covariance, unbiased.
    """

    size: int
    batches: int
    square: float
    square_error: float
    variance: float


@dataclass(frozen=True, kw_only=True)
class GradientNoise:
    """Noise of a run's gradients.

    Args:
        points: by batch size, ascending.
        square: |G|^2 of the whole gradient, unbiased; by chance <= 0 where it is lost in the noise.
        trace: tr(Sigma), the variance of the gradient of one sample, unbiased.
        square_error, trace_error: their standard errors.
    """

    points: Sequence[NoisePoint]
    square: float
    trace: float
    square_error: float
    trace_error: float

    @property
    def slope(self) -> float:
        """The power of the batch size with which the variance falls: -1 where the samples are independent."""
        known = [(math.log(point.size), math.log(point.variance)) for point in self.points if point.variance > 0]
        return statistics.linear_regression(*zip(*known)).slope if len(known) > 1 else -1.0

    @property
    def independent(self) -> bool:
        """True if the variance is about proportional to 1 / B, as the estimates assume."""
        return abs(self.slope + 1) <= LARGEST_DEVIATION

    @property
    def scale(self) -> float | None:
        """The gradient-noise scale tr(Sigma) / |G|^2, in samples; None where it cannot be told."""
        known = self.independent and self.square > self.square_error and self.trace > 0
        return self.trace / self.square if known else None

    @property
    def scale_error(self) -> float | None:
        """The standard error of the scale, to first order."""
        if self.scale is None:
            return None
        return self.scale * math.hypot(self.trace_error / self.trace, self.square_error / self.square)


def unbiased(points: Sequence[NoisePoint]) -> GradientNoise:
    """Return the noise with unbiased estimates of |G|^2 and tr(Sigma) from the smallest and the largest batch size.

    E|g_B|^2 = |G|^2 + tr(Sigma) / B, so that two sizes give both.
    Source: McCandlish et al., 2018, arXiv:1812.06162, appendix A.1.
    """
    small, big = points[0], points[-1]
    width, gap = big.size - small.size, 1 / small.size - 1 / big.size
    return GradientNoise(
        points=points,
        square=(big.size * big.square - small.size * small.square) / width,
        square_error=math.hypot(big.size * big.square_error, small.size * small.square_error) / width,
        trace=(small.square - big.square) / gap,
        trace_error=math.hypot(small.square_error, big.square_error) / gap,
    )


def measure_noise(run: Run, seconds: float) -> GradientNoise:
    """Return the noise of gradients over random batches, drawn with replacement from the training split.

    Augmentation and dropping layers are left out, so that all noise is that of the choice of samples. Sizes are powers
    of two. At the time limit of `seconds` sizes and batches are fewer, at least two sizes and two batches of each.
    """
    sizes = [*batch_sizes(run)]
    rng = torch.Generator().manual_seed(derive(run.seed, "gradient noise"))
    moments = {size: Moments() for size in sizes}
    end = time.monotonic() + seconds
    for repeat in range(REPEATS):
        for place, size in enumerate(sizes):
            indices = torch.randint(len(run.train), (size,), generator=rng).to(run.train.targets.device)
            moments[size].add(Objective(run, [run.train.batch(indices)]).gradient())
            if not repeat and place and time.monotonic() > end - FIRST * seconds:
                sizes = sizes[: place + 1]
                break
        if repeat and time.monotonic() > end:
            break
    return unbiased([each.point(size) for size, each in moments.items() if size in sizes])


def batch_sizes(run: Run) -> Iterator[int]:
    """Yield powers of two from 1 to 256 samples, of models with batch norms from 32 to 512, within the training split.

    Two sizes are the least.
    """
    smallest, largest = (SMALLEST_COUPLED, MOST_COUPLED) if uses_batch_statistics(run.model) else (1, LARGEST)
    largest = max(min(largest, 1 << (len(run.train).bit_length() - 1)), 4)
    size = min(smallest, largest // 2)
    while size <= largest:
        yield size
        size *= 2


def uses_batch_statistics(model: nn.Module) -> bool:
    """Return whether the output for a sample depends on the others in its batch, through a batch norm in training."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.training]
    return not all(map(keeps_statistics, norms))


class Moments:
    """Running mean and variance of vectors (Welford, 1962), and the mean of their squares."""

    def __init__(self) -> None:
        self.squares: list[float] = []
        self.deviations = 0.0
        self.mean: Vector = []

    def add(self, vector: Vector) -> None:
        """Take one more vector."""
        self.squares.append(float(dot(vector, vector)))  # host sync
        if not self.mean:
            self.mean = vector
            return
        before = torch._foreach_sub(vector, self.mean)
        torch._foreach_add_(self.mean, before, alpha=1 / len(self.squares))
        self.deviations += float(dot(before, torch._foreach_sub(vector, self.mean)))  # host sync

    def point(self, size: int) -> NoisePoint:
        """Return what was gathered for batches of a size."""
        count = len(self.squares)
        return NoisePoint(
            size=size,
            batches=count,
            square=statistics.fmean(self.squares),
            square_error=statistics.stdev(self.squares) / math.sqrt(count),
            variance=self.deviations / (count - 1),
        )
