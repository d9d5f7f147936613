"""Comparison of an exported file with the model that it was made from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.inference.model import TrainedModel

LIMIT = 1e-5  # of the answers: what float32 makes of another order of the same operations stays below
BATCHES = (1, 2, 64, 256)
FEW = 16  # batches of one size, at most
SPACING = 2**-22  # between float32 numbers, relative to them, with room for one rounding more

Call = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Equality:
    """Differences between an exported file's answers and the model's.

    Args:
        samples: that were compared.
        source: of the samples, in words.
        largest: difference, as `largest_difference` measures it.
        by_batch: the same by the number of samples in a batch.
        limit: at most this is rounding.
    """

    samples: int
    source: str
    largest: float
    by_batch: Mapping[int, float]
    limit: float = LIMIT

    @property
    def holds(self) -> bool:
        """True if the answers are the same but for rounding."""
        return self.largest <= self.limit

    @property
    def in_words(self) -> str:
        """The largest difference, as `3.0e-07`, or 0."""
        return f"{self.largest:.1e}" if self.largest else "0"


@torch.no_grad()
def compare(exported: Call, model: TrainedModel, samples: Tensor, source: str) -> Equality:
    """Compare a file with its model on samples, in batches of several sizes; few samples are used repeatedly."""
    count = max(BATCHES)
    repeated = samples[torch.arange(count) % len(samples)]
    by_batch = {}
    for size in BATCHES:
        batches = repeated[: FEW * size].split(size)
        found, wanted = (torch.cat([call(batch) for batch in batches]) for call in (exported, model))
        by_batch[size] = largest_difference(found, wanted, model)
    largest = max(by_batch.values())
    return Equality(samples=min(count, len(samples)), source=source, largest=largest, by_batch=by_batch)


def largest_difference(found: Tensor, wanted: Tensor, model: TrainedModel) -> float:
    """Return the largest difference between answers (B, K); inf where one is not finite and the other another value.

    Probabilities are compared as they are. Values of a regression, and outputs that are no probabilities, are compared
    in units of the target's deviation where the data set has divided by that, else of the largest answer where that is
    above 1; what float32 cannot tell apart in them counts as equal.
    """
    if found.shape != wanted.shape:
        return float("inf")
    found, wanted = found.double(), wanted.double()
    gaps = (found - wanted).abs()
    if not model.has_probabilities:
        finite = torch.where(wanted.isfinite(), wanted, 0.0)
        gaps = (gaps - SPACING * finite.abs()).clamp_min(0)
        deviation = model.description.predicted.deviation
        gaps = gaps / (gaps.new_tensor(deviation) if deviation else finite.abs().amax(0).clamp_min(1))
    same = (found == wanted) | (found.isnan() & wanted.isnan())
    gaps = torch.where(same, 0.0, gaps.nan_to_num(nan=float("inf"), posinf=float("inf")))
    return gaps.max().item() if gaps.numel() else 0.0
