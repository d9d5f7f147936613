"""DropConnect: dropout of weights."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from trainer.base.checks import require
from trainer.base.layers import weight_layers


class DroppedWeight(nn.Module):
    """Parametrisation of a weight: w m / (1 - p) in training, m ~ Bernoulli(1 - p) for each weight; w in evaluation."""

    drops_in_training = True

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, weight: Tensor) -> Tensor:
        return F.dropout(weight, self.p, self.training)


@dataclass(frozen=True, kw_only=True)
class DropConnect:
    """DropConnect (Wan et al., 2013): each weight of the hidden layers is dropped with probability p in training.

    One mask a batch, in dense layers and convolutions. The last layer, which gives the outputs, keeps its weights.

    Args:
        p: probability of dropping a weight, in [0, 1). Paper: 0.5.
    Errors: ValueError. Source: Wan et al., "Regularization of neural networks using DropConnect", 2013, eq. (2).
    Differs from the paper: one mask a batch instead of one a sample; weights are rescaled in training instead of
    sampling from a normal distribution in evaluation.
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        require("in [0, 1)", p=self.p)

    def __call__(self, model: nn.Module) -> nn.Module:
        for layer in list(weight_layers(model))[:-1]:
            parametrize.register_parametrization(layer, "weight", DroppedWeight(self.p))
        return model
