"""Criteria: (outputs (B, K), targets (B, K)) -> losses (B,), one a sample.

Targets are floats, for classes one-hot or soft. The loop averages the losses of a batch, so that the learning rate does
not depend on the batch's size; lectures that sum them over the batch have a gradient B times as large. Each criterion
documents whether it sums or averages the K outputs. Outputs are float32 even where the forward pass is in bf16. `tasks`
names the kinds of data that a criterion is for. `average` makes one prediction of outputs (V, B, K) on V views of a
sample, and `constant` gives the outputs (K,) whose constant prediction of the targets (N, K) has the smallest loss.
`probabilities` gives those of the classes; a criterion without it (hinge, mse) has outputs that are none.
"""

import math
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
    constant_loss: ClassVar = "entropy of the labels"

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        # F.cross_entropy(reduction="none") gives the same, 10 us slower.
        return (outputs.log_softmax(1) * -targets).sum(1)

    def of_labels(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return -log softmax(o)_k of the class k of each sample: the same, 10 us faster."""
        return F.cross_entropy(outputs, labels, reduction="none")

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Return softmax(o)."""
        return outputs.softmax(1)

    def average(self, outputs: Tensor) -> Tensor:
        """Return log of the mean of softmax(o), so that its softmax is the mean probability."""
        return outputs.log_softmax(2).logsumexp(0) - math.log(len(outputs))

    def constant(self, targets: Tensor) -> Tensor:
        """Return log p_k, p_k the frequency of class k, at least that of half a sample: the loss is the entropy."""
        return targets.mean(0).clamp_min(0.5 / len(targets)).log()


@dataclass(frozen=True, kw_only=True)
class BinaryCrossEntropy:
    """Cross-entropy of K yes-or-no questions: l = -sum_k [t_k log s(o_k) + (1 - t_k) log s(-o_k)], s the sigmoid.

    Gradient in o: s(o) - t. With K = 1 it is the loss of logistic regression; with classes, one against all.
    Differs from torch's mean: the K terms of a sample are summed.
    """

    tasks: ClassVar = ("binary", "classification")
    constant_loss: ClassVar = "entropy of the labels"
    separate_outputs: ClassVar = True

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(outputs, targets, reduction="none").sum(1)

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Return s(o), each output's own probability."""
        return outputs.sigmoid()

    def average(self, outputs: Tensor) -> Tensor:
        """Return the logit of the mean of s(o), each output's mean probability."""
        return F.logsigmoid(outputs).logsumexp(0) - F.logsigmoid(-outputs).logsumexp(0)

    def constant(self, targets: Tensor) -> Tensor:
        """Return log(p_k / (1 - p_k)), p_k the frequency of ones; p and 1 - p are at least that of half a sample."""
        floor = 0.5 / len(targets)
        return targets.mean(0).clamp(floor, 1 - floor).logit()


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
    constant_loss: ClassVar = "variance of the targets"
    reduction: str = "mean"

    def __post_init__(self) -> None:
        require_one_of("mean", "sum", reduction=self.reduction)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        squares = (outputs - targets).square()
        return squares.sum(1) if self.reduction == "sum" else squares.mean(1)

    def average(self, outputs: Tensor) -> Tensor:
        """Return the mean of the outputs."""
        return outputs.mean(0)

    def constant(self, targets: Tensor) -> Tensor:
        """Return the mean of the targets: the loss is their variance."""
        return targets.mean(0)


@dataclass(frozen=True, kw_only=True)
class Hinge:
    """Multiclass hinge (Weston & Watkins, 1999): l = sum_y t_y sum_{j != y} max(0, o_j - o_y + margin).

    Soft targets weigh the classes' losses. With one output, l = t max(0, margin - o) + (1 - t) max(0, margin + o), the
    hinge of a support vector machine; with margin 0 it is the perceptron's (Rosenblatt, 1958). Gradient in o_j of a
    class j != y: 1 within the margin and at its end, so that a perceptron that begins at 0 learns, else 0; in o_y:
    minus the number of such classes. Memory: B K^2 floats.

    Args:
        margin: difference between the right class's output and the others' at which the loss is 0, >= 0. cs231n: 1.
    Errors: ValueError. Differs from torch's MultiMarginLoss: the sum is not divided by K.
    """

    tasks: ClassVar = ("classification", "binary")
    constant_loss: ClassVar = "best constant"
    margin: float = 1.0

    def __post_init__(self) -> None:
        require(">= 0", margin=self.margin)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if outputs.shape[1] == 1:
            yes, no = positive_part(self.margin - outputs), positive_part(self.margin + outputs)
            return (targets * yes + (1 - targets) * no).squeeze(1)
        gaps = positive_part(outputs.unsqueeze(1) - outputs.unsqueeze(2) + self.margin)  # [b, y, j]
        against = gaps.sum(2) - self.margin  # j = y always adds the margin
        return torch.einsum("by,by->b", targets, against)

    def average(self, outputs: Tensor) -> Tensor:
        """Return the mean of the outputs."""
        return outputs.mean(0)

    def constant(self, targets: Tensor) -> Tensor:
        """Return the majority's side of the margin for one output, else a whole number of margins for each class."""
        frequencies = targets.mean(0)
        if len(frequencies) == 1:
            return self.margin * (2 * frequencies - 1).sign()
        return self.margin * hinge_levels(frequencies)


@dataclass(frozen=True, kw_only=True)
class Auto:
    """Criterion that fits the data: CrossEntropy for classes, BinaryCrossEntropy for binary, or MeanSquaredError."""

    def for_task(self, task: str) -> Criterion:
        fitting = {"classification": CrossEntropy, "binary": BinaryCrossEntropy, "regression": MeanSquaredError}
        return fitting[task]()


def hinge_levels(frequencies: Tensor) -> Tensor:
    """Return the outputs (K,) >= 0, in margins, of the constant prediction with the smallest hinge loss.

    The minimum of sum_y p_y sum_{j != y} max(0, o_j - o_y + 1) is a linear program of differences, so that whole
    numbers solve it: classes sorted by frequency, in groups of one level each. A group of the places a to b - 1 costs
    its frequency times b - 1, for the classes that are not below its own; a step from level to level costs a (the
    classes above) times the frequency of those below.
    """
    ordered, places = frequencies.double().sort(descending=True)
    below = 1 - torch.cat([ordered.new_zeros(1), ordered.cumsum(0)])  # frequency of the classes from a place on
    count = len(ordered)
    costs, starts = ordered.new_full((count + 1,), math.inf), [0] * (count + 1)
    costs[0] = 0.0
    firsts = torch.arange(count)
    for end in range(1, count + 1):  # the cheapest groups of the first `end` classes
        first = firsts[:end]
        group = (below[:end] - below[end]) * (end - 1)
        total = costs[:end] + first * below[:end] + group
        starts[end] = int(total.argmin())
        costs[end] = total[starts[end]]
    levels, end, level = torch.zeros_like(ordered), count, 0
    while end:
        levels[starts[end] : end] = level
        end, level = starts[end], level + 1
    return torch.empty_like(levels).scatter_(0, places, levels)


def positive_part(x: Tensor) -> Tensor:
    """Return max(0, x), with the gradient 1 at 0, where relu has 0."""
    return torch.where(x >= 0, x, 0)
