"""Dropping units and channels, where torch.nn has no layer for it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.base.checks import require


class ScaledDropout(nn.Module):
    """Dropout as it was first published (Srivastava et al., 2014): x m in training, m ~ Bernoulli(1 - p); (1 - p) x in evaluation.

    `p` is the probability of dropping, as everywhere in torch; the paper and cs231n call p what is kept here, 1 - p. So the outputs in
    evaluation are those in training on average; the inverted form (reg=dropout) is this one divided by 1 - p in both modes.

    Args:
        p: probability of dropping a unit, in [0, 1). Paper: 0.5 for hidden units.
    Shapes: any -> the same. Errors: ValueError. Source: JMLR 15, 2014, section 4. Differs from the paper: no.
    """

    def __init__(self, *, p: float = 0.5) -> None:
        super().__init__()
        require("in [0, 1)", p=p)
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x * (1 - self.p)
        return x * torch.empty_like(x).bernoulli_(1 - self.p)


class SpatialDropout(nn.Module):
    """Drop whole channels of images, as neighbouring pixels say nearly the same (Tompson et al., 2015).

    x_c <- x_c m_c / (1 - p) in training, one m_c ~ Bernoulli(1 - p) for each channel of each sample; x in evaluation. The kit puts it
    behind the activations of convolutions.

    Args:
        p: probability of dropping a channel, in [0, 1).
    Shapes: (B, C, H, W) -> the same. Errors: ValueError. Source: arXiv:1411.4280, section on SpatialDropout. Differs from the paper: inverted form.
    """

    on_maps = True

    def __init__(self, *, p: float = 0.1) -> None:
        super().__init__()
        require("in [0, 1)", p=p)
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout2d(x, self.p, self.training)
