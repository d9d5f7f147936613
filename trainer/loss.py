"""Criteria: (outputs (B, K), targets (B, K)) -> losses (B,), one a sample.

Targets are floats, for classes one-hot or soft. The loop averages the losses of a batch, so that the learning rate does
not depend on the batch's size; lectures that sum them over the batch have a gradient B times as large. Each criterion
documents whether it sums or averages the K outputs. Outputs are float32 even where the forward pass is in bf16. `tasks`
names the kinds of data that a criterion is for.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.base.checks import require, require_one_of
from trainer.base.protocols import Criterion


@dataclass(frozen=True, kw_only=True)
class CrossEntropy:
    """Cross-entropy between two distributions over the K classes: l = -sum_k t_k log softmax(o)_k.

    Gradient in o: softmax(o) - t, for targets that sum to 1. Mixed and smoothed labels are targets like any other.
    For one-hot targets it is minus the log-probability of the class; its mean over the samples is the empirical risk.
    """

    tasks: ClassVar = ("classification",)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        # F.cross_entropy(reduction="none") gives the same, 10 us slower.
        return (outputs.log_softmax(1) * -targets).sum(1)


@dataclass(frozen=True, kw_only=True)
class BinaryCrossEntropy:
    """Cross-entropy of K yes-or-no questions: l = -sum_k [t_k log s(o_k) + (1 - t_k) log s(-o_k)], s the sigmoid.

    Gradient in o: s(o) - t. With K = 1 it is the loss of logistic regression; with classes, one against all.
    Differs from torch's mean: the K terms of a sample are summed.
    """

    tasks: ClassVar = ("binary", "classification")

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(outputs, targets, reduction="none").sum(1)


@dataclass(frozen=True, kw_only=True)
class MeanSquaredError:
    """Squared distance between outputs and targets: l = mean_k (o_k - t_k)^2, or the sum over k, which is ||o - t||^2.

    Gradient in o: 2 (o - t) for the sum, a K-th of that for the mean. For classes the targets are the one-hot vectors,
    and the sum is the Brier score of the raw outputs. With K = 1 the two are equal.

    Args:
        reduction: over the K outputs of a sample, mean (torch) or sum (the lectures' ||o - t||^2).
    Errors: ValueError.
    """

    tasks: ClassVar = ("regression", "classification")
    reduction: str = "mean"

    def __post_init__(self) -> None:
        require_one_of("mean", "sum", reduction=self.reduction)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        squares = (outputs - targets).square()
        return squares.sum(1) if self.reduction == "sum" else squares.mean(1)


@dataclass(frozen=True, kw_only=True)
class Hinge:
    """Multiclass hinge (Weston & Watkins, 1999): l = sum_y t_y sum_{j != y} max(0, o_j - o_y + margin).

    Soft targets weigh the classes' losses. With one output, l = t max(0, margin - o) + (1 - t) max(0, margin + o), the
    hinge of a support vector machine. Gradient in o_j of a class j != y: 1 within the margin, else 0 (0 at the kink);
    in
    o_y: minus the number of classes within the margin. Memory: B K^2 floats.

    Args:
        margin: difference between the right class's output and the others' at which the loss is 0, > 0. cs231n: 1.
    Errors: ValueError. Differs from torch's MultiMarginLoss: the sum is not divided by K.
    """

    tasks: ClassVar = ("classification", "binary")
    margin: float = 1.0

    def __post_init__(self) -> None:
        require("> 0", margin=self.margin)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if outputs.shape[1] == 1:
            return (targets * F.relu(self.margin - outputs) + (1 - targets) * F.relu(self.margin + outputs)).squeeze(1)
        gaps = F.relu(outputs.unsqueeze(1) - outputs.unsqueeze(2) + self.margin)  # [b, y, j]
        against = gaps.sum(2) - self.margin  # j = y always adds the margin
        return torch.einsum("by,by->b", targets, against)


@dataclass(frozen=True, kw_only=True)
class Auto:
    """Criterion that fits the data: CrossEntropy for classes, BinaryCrossEntropy for binary, or MeanSquaredError."""

    def for_task(self, task: str) -> Criterion:
        fitting = {"classification": CrossEntropy, "binary": BinaryCrossEntropy, "regression": MeanSquaredError}
        return fitting[task]()
