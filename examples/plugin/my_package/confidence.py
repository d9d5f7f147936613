"""Regularisers of one's own, in the slot `loss`; the others are in trainer/engine/run.py."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Confidence:
    """Penalty on confident outputs: strength times the mean of sum_k p_k log p_k (Pereyra et al., 2017)."""

    tasks: ClassVar = ("classification",)
    strength: float = 0.1

    def __call__(self, model: nn.Module, images: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
        log_p = outputs.log_softmax(1)
        return self.strength * (log_p.exp() * log_p).sum(1).mean()
