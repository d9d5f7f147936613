"""Dropout of units and of channels, in forms or places that torch.nn does not have."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.base.checks import require


class ScaledDropout(nn.Module):
    """Dropout as first published (Srivastava et al., 2014).

    x m in training, m ~ Bernoulli(1 - p) for each unit; (1 - p) x in evaluation.

    `p` is the probability of dropping, as everywhere in torch; in the paper and in cs231n p is that of keeping. The
    outputs in evaluation are the mean of those in training. The inverted form (reg=dropout) is this one divided
    by 1 - p in both modes.

    Args:
        p: probability of dropping a unit, in [0, 1). Paper: 0.5 for hidden units.
    Shapes: any -> the same. Errors: ValueError. Source: JMLR 15, 2014, section 4. Differs from the paper: no.
    """

    drops_in_training = True

    def __init__(self, *, p: float = 0.5) -> None:
        super().__init__()
        require("in [0, 1)", p=p)
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x * (1 - self.p)
        return x * torch.empty_like(x).bernoulli_(1 - self.p)


class AlphaDropout(nn.AlphaDropout):
    """Alpha dropout (Klambauer et al., 2017) of the outputs of SELU, whose mean 0 and variance 1 it keeps.

    a (x m + c (1 - m)) + b in training, m ~ Bernoulli(1 - p) for each unit, c = -1.7581 SELU's limit on the left, a and
    b such that mean and variance stay; x in evaluation. It directly follows every activation of dense layers and of
    convolutions: behind a pooling or a norm of its own the values are no longer SELU's.

    Args:
        p: probability of dropping a unit, in [0, 1). Paper: 0.05 and 0.1.
    Shapes: any -> the same. Errors: ValueError. Source: arXiv:1706.02515, section "New Dropout Technique". Differs from
    the paper: no; convolutions are not in it.
    """

    follows_act = True

    def __init__(self, *, p: float = 0.1) -> None:
        require("in [0, 1)", p=p)
        super().__init__(p)


class SpatialDropout(nn.Module):
    """Spatial dropout (Tompson et al., 2015) of whole channels of images, since neighbouring pixels are alike.

    x_c <- x_c m_c / (1 - p) in training, one m_c ~ Bernoulli(1 - p) for each channel of each sample; x in evaluation.
    It follows the activations of convolutions.

    Args:
        p: probability of dropping a channel, in [0, 1).
    Shapes: (B, C, H, W) -> the same. Errors: ValueError. Source: arXiv:1411.4280, section on SpatialDropout. Differs
    from the paper: inverted form.
    """

    drops_in_training = True
    on_maps = True

    def __init__(self, *, p: float = 0.1) -> None:
        super().__init__()
        require("in [0, 1)", p=p)
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout2d(x, self.p, self.training)
