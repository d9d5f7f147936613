"""Criteria: (outputs (B, K), targets (B, K)) -> one loss a sample (B,). Targets are floats, one-hot or soft for classes.

The loop averages the losses of a batch, so that the learning rate does not depend on the batch's size; lectures that sum them
over the batch have a gradient B times as large. What is summed and what averaged within a sample, each criterion says.
Outputs come in float32 even where the forward pass is in bf16. `tasks` says which kinds of data a criterion fits.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.base.checks import require, require_one_of


@dataclass(frozen=True, kw_only=True)
class CrossEntropy:
    """Cross-entropy between two distributions over the K classes: l = -sum_k t_k log softmax(o)_k.

    Gradient in o: softmax(o) - t, for targets that sum to 1. What mixing and smoothing do to labels is welcome: any t will do.
    For one-hot targets it is minus the log-probability of the class, of which the mean over the samples is the empirical risk.
    """

    tasks: ClassVar = ("classification",)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.log_softmax(1) * -targets).sum(
            1
        )  # F.cross_entropy(reduction="none") gives the same, 10 us slower


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

    Gradient in o: 2 (o - t), of the mean a K-th of it. For classes the targets are the one-hot vectors, and the sum is the
    Brier score of the raw outputs. The two are one where K = 1.

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

    Soft targets weigh the classes' losses. With one output, l = t max(0, margin - o) + (1 - t) max(0, margin + o), the hinge
    of a support vector machine. Gradient in o of a class j != y: 1 where it comes within the margin, else 0 (0 at the kink);
    of the class y: minus how many do. Takes B K^2 numbers of memory.

    Args:
        margin: how far the right class must stand above the others, > 0. cs231n: 1.
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
