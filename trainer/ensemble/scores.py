"""Scores of answers, sample by sample, so that differences of models have a standard error."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

SMALLEST = 1e-12  # probability of the true class below which its log loss stays


class Difference(NamedTuple):
    """A mean difference over samples, and its standard error, paired over them."""

    mean: float
    error: float


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """Loss and score of answers to N samples; each is a mean over samples.

    The loss is -log of the true class's probability, nan without probabilities; of a regression the squared error, in
    the unit of the training. The score is accuracy, or r2 = 1 - sum (o - t)^2 / sum (t - mean t)^2 over all outputs.

    Args:
        task: classification, binary or regression.
        true: (N,) numbers of the classes; of a regression (N, K) targets.
        has_probabilities: whether the answers are probabilities.
    """

    task: str
    true: np.ndarray
    has_probabilities: bool

    @property
    def name(self) -> str:
        """The name of the score."""
        return "r2" if self.task == "regression" else "accuracy"

    @property
    def has_loss(self) -> bool:
        """True if the answers have a loss: values, and probabilities."""
        return self.task == "regression" or self.has_probabilities

    def losses(self, answers: np.ndarray) -> np.ndarray:
        """Return the loss (..., N) of answers (..., N, K)."""
        if self.task == "regression":
            return ((answers - self.true) ** 2).mean(-1)
        if not self.has_probabilities:
            return np.full(answers.shape[:-1], np.nan)
        own = np.take_along_axis(answers, np.broadcast_to(self.true[:, None], (*answers.shape[:-1], 1)), -1)[..., 0]
        return -np.log(np.maximum(own, SMALLEST))

    def scores(self, answers: np.ndarray) -> np.ndarray:
        """Return what each sample adds to the score, (..., N), for answers (..., N, K); their mean is the score."""
        if self.task != "regression":
            return (answers.argmax(-1) == self.true).astype(np.float64)
        spread = ((self.true - self.true.mean(0)) ** 2).sum(-1).mean()
        return 1 - ((answers - self.true) ** 2).sum(-1) / (spread or math.nan)

    def diversity(self, answers: np.ndarray) -> float:
        """Return how much members (M, N, K) differ.

        Of classes, the fraction of samples on which two members disagree, the mean over all pairs. Of a regression, the
        ambiguity: the mean squared distance from the ensemble, by which its squared error is below the members' mean
        (Krogh & Vedelsby, 1995).
        """
        if self.task == "regression":
            return float(((answers - answers.mean(0)) ** 2).mean())
        count, classes = len(answers), answers.argmax(-1)
        pairs = [(classes[one] != classes[other]).mean() for one in range(count) for other in range(one)]
        return float(np.mean(pairs))


def difference(one: np.ndarray, other: np.ndarray) -> Difference:
    """Return the mean of one - other over samples (N,), with its standard error."""
    each = one - other
    error = each.std(ddof=1) / math.sqrt(len(each)) if len(each) > 1 else math.nan
    return Difference(float(each.mean()), float(error))
