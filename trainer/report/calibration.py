"""Calibration of probabilities: how often predictions made with a probability are right."""

from dataclasses import dataclass

import numpy as np

BINS = 15


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Predictions in bins of equal width by their probability; only bins with predictions are kept.

    Args:
        ece: expected calibration error, sum over the bins of n_b / N |accuracy_b - confidence_b|.
        places: (B,) numbers of the bins, from 0.
        counts: (B,) predictions in each.
        confidence: (B,) their mean probability.
        accuracy: (B,) fraction of them that is right.
        bins: number of bins, with the empty ones.
    """

    ece: float
    places: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    bins: int = BINS


def calibrate(right: np.ndarray, confidence: np.ndarray, bins: int = BINS) -> Calibration:
    """Return the calibration of N predictions (Guo et al., 2017, arXiv:1706.04599, eq. 3).

    Args:
        right: (N,) whether each is right.
        confidence: (N,) probability of the predicted class, in [0, 1].
    """
    from sklearn.calibration import calibration_curve

    accuracy, mean = calibration_curve(right.astype(int), confidence, n_bins=bins)
    # The bins of calibration_curve, which does not return their counts: each has its upper edge, as in the paper.
    places = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence)
    counts = np.bincount(places, minlength=bins)
    there = np.flatnonzero(counts)
    ece = float(counts[there] @ np.abs(accuracy - mean) / len(confidence))
    return Calibration(ece=ece, places=there, counts=counts[there], confidence=mean, accuracy=accuracy, bins=bins)
