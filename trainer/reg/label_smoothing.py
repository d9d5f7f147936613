"""Label smoothing."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from trainer.base.checks import require
from trainer.base.protocols import SeparateOutputs


@dataclass(kw_only=True)
class LabelSmoothing:
    """Label smoothing (Szegedy et al., 2016): t <- (1 - alpha) t + alpha / K, a mixture with the uniform distribution.

    K is the number of classes among which a target chooses: 2 for a single binary output, and for every output of a
    criterion that takes each for a question of its own (loss=bce), whose distributions are yes and no. There a target
    of 1 becomes 1 - alpha / 2 and one of 0 becomes alpha / 2, as in Keras.

    Args:
        alpha: weight of the uniform distribution, in [0, 1). Paper: 0.1.
    Shapes: targets (B, K). Errors: ValueError. Source: arXiv:1512.00567, section 7. Differs from the paper: no; it
    knows only the softmax.
    """

    tasks: ClassVar = ("classification", "binary")
    alpha: float = 0.1
    separate_outputs: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        require("in [0, 1)", alpha=self.alpha)

    def use(self, criterion: object) -> None:
        """Take the run's criterion."""
        self.separate_outputs = isinstance(criterion, SeparateOutputs) and criterion.separate_outputs

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        classes = 2 if self.separate_outputs else max(2, targets.shape[1])
        return images, targets * (1 - self.alpha) + self.alpha / classes
