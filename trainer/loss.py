"""Criteria: (outputs (B, K), targets (B, K)) -> one loss a sample (B,). Targets are floats, one-hot or soft for classes.

`tasks` says which kinds of data a criterion fits.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.errors import require


@dataclass(frozen=True, kw_only=True)
class CrossEntropy:
    """Cross-entropy between two distributions over classes: l = -sum_k t_k log softmax(o)_k.

    Gradient in o: softmax(o) - t, for targets that sum to 1.
    """

    tasks: ClassVar = ("classification",)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.log_softmax(1) * -targets).sum(1)  # F.cross_entropy(reduction="none") gives the same, 10 us slower


@dataclass(frozen=True, kw_only=True)
class BinaryCrossEntropy:
    """l = -sum_k [t_k log s(o_k) + (1 - t_k) log s(-o_k)], s the sigmoid. Gradient in o: s(o) - t.

    Differs from torch's mean: the K terms of a sample are summed.
    """

    tasks: ClassVar = ("binary", "classification")

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(outputs, targets, reduction="none").sum(1)


@dataclass(frozen=True, kw_only=True)
class MeanSquaredError:
    """l = mean_k (o_k - t_k)^2. For classes the targets are the one-hot vectors (the Brier score of the raw outputs)."""

    tasks: ClassVar = ("regression", "classification")

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().mean(1)


@dataclass(frozen=True, kw_only=True)
class Hinge:
    """Multiclass hinge (Weston & Watkins, 1999): l = sum_y t_y sum_{j != y} max(0, o_j - o_y + margin).

    Soft targets weigh the classes' losses. With one output, l = t max(0, margin - o) + (1 - t) max(0, margin + o).

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
