"""Predictions of a model on a split: for each sample what the report needs. No torch here."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Predictions on N samples.

    Args:
        task: classification, binary or regression.
        true, predicted: (N,) numbers of classes; of a regression (N, K) values in the targets' own unit.
        losses: (N,).
        score: (N,) probability of the predicted class; where the loss gives no probabilities, its output.
        true_score: (N,) the same of the true class.
        margin: (N,) between the largest score of a sample and the next one.
        rank: (N,) classes that are placed before the true one, 0 where it is the predicted one.
        has_probabilities: whether the scores are probabilities.
        outputs: number of classes, or of values of a regression.
    """

    task: str
    true: np.ndarray
    predicted: np.ndarray
    losses: np.ndarray
    score: np.ndarray | None = None
    true_score: np.ndarray | None = None
    margin: np.ndarray | None = None
    rank: np.ndarray | None = None
    has_probabilities: bool = False
    outputs: int = 1

    def __len__(self) -> int:
        return len(self.losses)

    @property
    def wrong(self) -> np.ndarray:
        """Indices of the samples with another class than the predicted one."""
        return np.flatnonzero(self.true != self.predicted)

    def mistakes(self, most: int) -> np.ndarray:
        """Return the indices of the worst mistakes, the worst first.

        Those with the highest probability of the wrong class, of equal ones the larger loss; without probabilities
        those with the largest loss. Of a regression, the samples with the largest loss.
        """
        if self.task == "regression":
            return first(np.arange(len(self)), most, -self.losses)
        keys = (-self.score, -self.losses) if self.has_probabilities else (-self.losses,)
        return first(self.wrong, most, *keys)

    def uncertain(self, most: int) -> np.ndarray:
        """Return the indices of the predictions with the lowest probability; without any, with the smallest margin."""
        return first(np.arange(len(self)), most, self.score if self.has_probabilities else self.margin)


def first(rows: np.ndarray, most: int, *keys: np.ndarray) -> np.ndarray:
    """Return `most` of the rows with the smallest keys, the first key first; of equal ones the earlier row.

    A key that is NaN comes first: nothing is worse than a prediction that is no number.
    """
    values = [np.nan_to_num(key[rows], nan=-np.inf) for key in keys]
    return rows[np.lexsort(values[::-1])[:most]]
