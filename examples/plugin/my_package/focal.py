"""Losses of one's own."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Focal:
    """l = -sum_k t_k (1 - p_k)^gamma log p_k, p the softmax of the outputs (Lin et al., 2017, arXiv:1708.02002)."""

    tasks: ClassVar = ("classification",)  # and binary, regression; without this line any
    gamma: float = 2.0

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        log_p = outputs.log_softmax(1)
        return -(targets * (1 - log_p.exp()) ** self.gamma * log_p).sum(1)  # one loss for each sample

    def probabilities(self, outputs: Tensor) -> Tensor:
        return outputs.softmax(1)
