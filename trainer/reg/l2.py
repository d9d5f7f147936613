"""The L2 penalty."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.errors import require


@dataclass(frozen=True, kw_only=True)
class L2:
    """Ridge penalty: strength / 2 * sum of w^2 over the weights of 2 or more dimensions (no biases, no norm scales).

    With the factor 1/2 its gradient is strength * w, so that one SGD step shrinks w by (1 - lr strength).

    Args:
        strength: lambda, >= 0. cs231n: 1e-4.
    Errors: ValueError.
    """

    strength: float = 1e-4

    def __post_init__(self) -> None:
        require(">= 0", strength=self.strength)

    def __call__(self, model: nn.Module, images: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
        weights = [weight for weight in model.parameters() if weight.dim() > 1 and weight.requires_grad]
        return self.strength / 2 * torch.stack(torch._foreach_norm(weights)).square().sum()
