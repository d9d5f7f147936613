"""Which weights are scored: `update(model, now)` after each step, `evaluated(model)` gives the model to score.

Each is made with the model: Averaging(model, ...).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from trainer.clock import Clock
from trainer.errors import require


class Nothing:
    """The weights as they are."""

    def __init__(self, model: nn.Module) -> None:
        pass

    def update(self, model: nn.Module, now: Clock) -> None:
        pass

    def evaluated(self, model: nn.Module) -> nn.Module:
        return model


class Ema:
    """Exponential moving average of the weights, kept beside them: a = d a + (1 - d) w.

    With warmup, d = min(decay, (1 + t) / (10 + t)) after t updates, so that the random start is soon forgotten.
    Buffers (batch-norm statistics) are copied, not averaged.

    Args:
        decay: share of the average kept at each update, in (0, 1). Mean teacher: 0.999.
        warmup: use the smaller decay at first.
    Errors: ValueError. Source: Polyak & Juditsky, 1992; arXiv:1703.01780, eq. (1). Differs from the paper: the warm-up.
    """

    def __init__(self, model: nn.Module, *, decay: float = 0.999, warmup: bool = True) -> None:
        require("in (0, 1)", decay=decay)
        self.decay = decay
        self.warmup = warmup
        self.step = 0
        self.averaged = AveragedModel(model, multi_avg_fn=self._blend)
        self.averaged.update_parameters(model)  # the first call copies

    def update(self, model: nn.Module, now: Clock) -> None:
        self.step = now.step
        self.averaged.update_parameters(model)

    def evaluated(self, model: nn.Module) -> nn.Module:
        return self.averaged.module

    @torch.no_grad()
    def _blend(self, averages: Sequence[Tensor], weights: Sequence[Tensor], count: Tensor) -> None:
        decay = min(self.decay, (1 + self.step) / (10 + self.step)) if self.warmup else self.decay
        torch._foreach_lerp_(averages, weights, 1 - decay)
