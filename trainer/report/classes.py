"""Figures of a classification by class, and the classes that it confuses, computed by scikit-learn."""

import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from trainer.report.predictions import Predictions

MAX_MATRIX = 2_000  # classes up to which the confusion matrix is made: 32 MB
TOP = 5  # places, of more classes than TOP_FROM
TOP_FROM = 10


class Confused(NamedTuple):
    """Samples of one class that were taken for another one: their number, and that of all samples of the class."""

    true: int
    predicted: int
    count: int
    support: int


@dataclass(frozen=True, kw_only=True)
class ClassFigures:
    """Figures of N predictions of K classes.

    Args:
        precision, recall, f1: (K,) in [0, 1]; NaN for a class that has no samples here and was never predicted.
        support: (K,) samples of each class.
        macro, weighted: precision, recall and F1, averaged over the classes that occur, alike or by their support.
        accuracy, balanced_accuracy: the second is the average of the recall over classes with samples.
        top_five: fraction of samples with the true class among the five largest outputs; None for 10 classes or fewer.
        matrix: (K, K) number of samples by true class (rows) and predicted class (columns); None for many classes.
        confused: pairs of classes, the largest number first.
    """

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray
    macro: dict[str, float]
    weighted: dict[str, float]
    accuracy: float
    balanced_accuracy: float
    top_five: float | None
    matrix: np.ndarray | None
    confused: tuple[Confused, ...]

    @property
    def worst(self) -> int:
        """The class with the lowest F1 of those with samples, of equal ones that of the lowest recall."""
        return int(min(np.flatnonzero(self.support), key=lambda place: (self.f1[place], self.recall[place])))


def figures_of_classes(found: Predictions, pairs: int) -> ClassFigures:
    """Return the figures of predictions of classes.

    Args:
        pairs: number of confused pairs to keep.
    """
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix
    from sklearn.metrics import precision_recall_fscore_support as by_class

    true, predicted, count = found.true, found.predicted, found.outputs
    there = np.unique(np.concatenate([true, predicted]))
    columns = np.full((3, count), np.nan)
    columns[:, there] = by_class(true, predicted, labels=there, zero_division=0)[:3]
    means = {kind: by_class(true, predicted, average=kind, zero_division=0)[:3] for kind in ("macro", "weighted")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class without samples was predicted
        balanced = balanced_accuracy_score(true, predicted)
    return ClassFigures(
        precision=columns[0],
        recall=columns[1],
        f1=columns[2],
        support=np.bincount(true, minlength=count),
        **{kind: dict(zip(("precision", "recall", "f1"), map(float, mean))) for kind, mean in means.items()},
        accuracy=float(accuracy_score(true, predicted)),
        balanced_accuracy=float(balanced),
        top_five=float(np.mean(found.rank < TOP)) if count > TOP_FROM else None,
        matrix=confusion_matrix(true, predicted, labels=np.arange(count)) if count <= MAX_MATRIX else None,
        confused=most_confused(found, pairs),
    )


def most_confused(found: Predictions, most: int) -> tuple[Confused, ...]:
    """Return the pairs of classes with the most samples of the first taken for the second."""
    wrong, support = found.wrong, np.bincount(found.true, minlength=found.outputs)
    codes = found.true[wrong].astype(np.int64) * found.outputs + found.predicted[wrong]
    codes, counts = np.unique(codes, return_counts=True)
    chosen = np.argsort(-counts, kind="stable")[:most]
    pairs = zip(*np.divmod(codes[chosen], found.outputs), counts[chosen])
    return tuple(Confused(int(true), int(other), int(number), int(support[true])) for true, other, number in pairs)
