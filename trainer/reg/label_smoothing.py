"""Label smoothing."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from trainer.base.checks import require


@dataclass(frozen=True, kw_only=True)
class LabelSmoothing:
    """Label smoothing (Szegedy et al., 2016): t <- (1 - alpha) t + alpha / K; K is 2 for a single binary output.

    Args:
        alpha: weight of the uniform distribution, in [0, 1). Paper: 0.1.
    Shapes: targets (B, K). Errors: ValueError. Source: arXiv:1512.00567, section 7. Differs from the paper: no.
    """

    tasks: ClassVar = ("classification", "binary")
    alpha: float = 0.1

    def __post_init__(self) -> None:
        require("in [0, 1)", alpha=self.alpha)

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        classes = max(2, targets.shape[1])
        return images, targets * (1 - self.alpha) + self.alpha / classes
