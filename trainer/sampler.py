"""Samplers: `(epoch, targets (N, K), losses (N,), rng) -> indices (N,)`, an epoch's order, on the losses' device.

A sampler with `uses_losses` gets each training sample's most recent loss, 0 before its first; others get zeros. The
order follows from these alone and the rng is seeded for each epoch, so that a resumed run keeps the same order.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from trainer.base.checks import require
from trainer.base.classes import labels_of


@dataclass(frozen=True, kw_only=True)
class Shuffle:
    """Random permutation, a new one in every epoch: each sample once."""

    def __call__(self, epoch: int, targets: Tensor, losses: Tensor, rng: torch.Generator) -> Tensor:
        return torch.randperm(len(losses), generator=rng, device=losses.device)


@dataclass(frozen=True, kw_only=True)
class Sequential:
    """Order of the data set, 0, 1, ..., N - 1 in every epoch."""

    def __call__(self, epoch: int, targets: Tensor, losses: Tensor, rng: torch.Generator) -> Tensor:
        return torch.arange(len(losses), device=losses.device)


@dataclass(frozen=True, kw_only=True)
class WithReplacement:
    """N independent draws, each sample with probability 1 / N, as the theory of SGD assumes (Robbins & Monro, 1951).

    An epoch leaves out about 1 / e = 37 % of the samples and holds others several times.
    """

    def __call__(self, epoch: int, targets: Tensor, losses: Tensor, rng: torch.Generator) -> Tensor:
        return torch.randint(len(losses), losses.shape, generator=rng, device=losses.device)


@dataclass(frozen=True, kw_only=True)
class Balanced:
    """N independent draws: a class, each of the C that occur with probability 1 / C, then one of its samples.

    All classes are equally frequent in expectation, in every batch, however rare in the set; samples of rare classes
    come several times an epoch.

    Shapes: targets (N, K) one-hot, or (N, 1) of 0 and 1.
    """

    tasks: ClassVar = ("classification", "binary")

    def __call__(self, epoch: int, targets: Tensor, losses: Tensor, rng: torch.Generator) -> Tensor:
        labels = labels_of(targets)
        by_class = labels.argsort(stable=True)
        counts = labels.bincount()
        starts, counts = (counts.cumsum(0) - counts)[counts > 0], counts[counts > 0]
        classes = torch.randint(len(counts), labels.shape, generator=rng, device=labels.device)
        places = (torch.rand(labels.shape, generator=rng, device=labels.device) * counts[classes]).long()
        return by_class[starts[classes] + places]


@dataclass(frozen=True, kw_only=True)
class HardExamples:
    """N independent draws that prefer samples of large recent loss, up to a cap against outliers (Schaul et al., 2016).

    p_i = uniform / N + (1 - uniform) c_i / sum of c, c_i = min(l_i, q), q the `cap` quantile of the losses. In epoch 0
    each sample comes once, in random order, so that all have a loss; a non-finite loss counts like the largest.
    The mean over such batches is not the mean over the set: it is biased to hard samples on purpose, not corrected.

    Args:
        cap: quantile of the losses above which all count alike, as the largest may be wrong labels, in (0, 1].
        uniform: fraction of the draws that take every sample alike, so that none is forgotten, in [0, 1].
    Errors: ValueError. Source: arXiv:1511.05952, section 3.3, with alpha = 1.
    Differs from the paper: samples of a data set instead of an agent's experience, the cap, the uniform fraction
    instead of a constant, no weights that correct the bias.
    """

    uses_losses: ClassVar = True
    cap: float = 0.9
    uniform: float = 0.5

    def __post_init__(self) -> None:
        require("in (0, 1]", cap=self.cap)
        require("in [0, 1]", uniform=self.uniform)

    def __call__(self, epoch: int, targets: Tensor, losses: Tensor, rng: torch.Generator) -> Tensor:
        if epoch == 0:
            return torch.randperm(len(losses), generator=rng, device=losses.device)
        finite = losses.isfinite()
        losses = losses.where(finite, losses.where(finite, 0).max()).clamp(min=0)
        capped = losses.clamp(max=losses.kthvalue(math.ceil(self.cap * len(losses))).values)
        total = capped.sum()
        hard = (capped / total).where(total > 0, 1 / len(losses))
        probabilities = self.uniform / len(losses) + (1 - self.uniform) * hard
        return torch.multinomial(probabilities, len(losses), replacement=True, generator=rng)
