"""Pooling layers that torch.nn does not have in this form."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.base.checks import require


class Fractional(nn.Module):
    """Max pooling over regions with borders drawn at random (Graham, 2014).

    An image of side n becomes one of side floor(ratio n), at least 1, by overlapping windows. In training their starts
    are drawn anew for every sample and channel; in evaluation they are those of u = 1/2, the same each time.

    Args:
        kernel_size: side of a window in pixels, >= 2. Paper: 2.
        ratio: side of the output over that of the input, in [0.5, 1). Paper: 1/sqrt(2) among others.
    Attributes:
        draws_in_evaluation: draw the regions in evaluation as well, to average over several draws; False unless set.
    Shapes: (B, C, H, W) -> (B, C, floor(ratio H), floor(ratio W)). Errors: ValueError.
    Source: arXiv:1412.6071, section 2 (overlapping, pseudorandom regions).
    Differs from the paper: regions differ by channel, as in torch.
    """

    def __init__(self, *, kernel_size: int = 2, ratio: float = 0.7071) -> None:
        super().__init__()
        require(">= 2", kernel_size=kernel_size)
        require("in [0.5, 1)", ratio=ratio)
        self.kernel_size = kernel_size
        self.ratio = ratio
        self.draws_in_evaluation = False

    def forward(self, x: Tensor) -> Tensor:
        kernel = [min(self.kernel_size, side) for side in x.shape[2:]]
        sides = [max(1, min(int(self.ratio * side), side - size + 1)) for side, size in zip(x.shape[2:], kernel)]
        if self.training or self.draws_in_evaluation:
            return F.fractional_max_pool2d(x, kernel, sides)
        # The windows are known: side by side, they are those of plain max pooling, which other programs know as well.
        rows, columns = (pixels(*each, device=x.device) for each in zip(x.shape[2:], kernel, sides))
        return F.max_pool2d(x.index_select(2, rows).index_select(3, columns), kernel)


def pixels(side: int, size: int, count: int, device: torch.device) -> Tensor:
    """Return the places (count * size,) of the pixels in windows of a size along a side, window after window.

    Window i begins at int((i + u) a) - int(u a) with a = (side - size) / (count - 1) and u = 1/2, and the last one at
    side - size, as in torch, in float32.
    """
    step = np.float32(side - size) / np.float32(max(count - 1, 1))
    starts = [int(np.float32(i + 0.5) * step) - int(np.float32(0.5) * step) for i in range(count - 1)]
    places = [start + place for start in (*starts, side - size) for place in range(size)]
    return torch.tensor(places, device=device)
