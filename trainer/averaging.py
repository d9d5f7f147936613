"""Which weights are scored: `update(model, now)` after each step, `evaluated(model, train)` gives the model to score.

Each is made with the model: Averaging(model, ...). `train` is the loader of the training split. The model itself never changes.
`state_dict` holds what a resumed run needs.
"""

import copy

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainer.base.checks import require
from trainer.base.clock import Clock, parse_length

BATCH = 256  # samples a pass when batch-norm statistics are computed anew


class Identity:
    """The weights as they are."""

    def __init__(self, model: nn.Module) -> None:
        pass

    def update(self, model: nn.Module, now: Clock) -> None:
        pass

    def evaluated(self, model: nn.Module, train: object) -> nn.Module:
        return model


class Ema:
    """Exponential moving average of the weights, kept beside them: a = d a + (1 - d) w.

    With warmup, d = min(decay, (1 + t) / (10 + t)) at update t, from 0, so that the random start is soon forgotten.
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
        self.averaged = copy.deepcopy(model)

    def update(self, model: nn.Module, now: Clock) -> None:
        decay = min(self.decay, (1 + now.step) / (10 + now.step)) if self.warmup else self.decay
        blend(self.averaged, model, 1 - decay)

    def evaluated(self, model: nn.Module, train: object) -> nn.Module:
        return self.averaged

    def state_dict(self) -> dict:
        return {"averaged": self.averaged.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.averaged.load_state_dict(state["averaged"])


class Swa:
    """Stochastic weight averaging: the plain mean of the weights at regular times late in the run (Izmailov et al., 2018).

    The first weights taken are those after `start`, then those after every further `every`: a = (a n + w) / (n + 1). Before the first the
    model itself is scored. What is scored later has the statistics of its batch norms computed anew, in one pass over the training split
    without augmentation, as those of no single model fit the mean; each scoring takes that much longer.
    It is made for a learning rate that stays high, or rises and falls, between the times: sched=constant, sched=cosine_restarts.

    Args:
        start: when the first weights are taken, a length. Paper: 75 % of the run.
        every: between two, a length. Paper: 1ep with a constant rate, one cycle with a cyclical one.
    Errors: ValueError. Source: arXiv:1803.05407, algorithm 1. Differs from the paper: no.
    """

    def __init__(self, model: nn.Module, *, start: str = "75%", every: str = "1ep") -> None:
        parse_length(start)
        parse_length(every)
        self.start = start
        self.every = every
        self.count = 0
        self.averaged = copy.deepcopy(model)
        self._stale = True

    def update(self, model: nn.Module, now: Clock) -> None:
        since = now.step + 1 - now.steps(self.start)
        if since >= 0 and since % now.steps(self.every) == 0:
            self.count += 1
            blend(self.averaged, model, 1 / self.count)
            self._stale = True

    def evaluated(self, model: nn.Module, train: object) -> nn.Module:
        if self.count == 0:
            return model
        if self._stale:
            measure_batch_norms(self.averaged, train)
            self._stale = False
        return self.averaged

    def state_dict(self) -> dict:
        return {"averaged": self.averaged.state_dict(), "count": self.count}

    def load_state_dict(self, state: dict) -> None:
        self.averaged.load_state_dict(state["averaged"])
        self.count, self._stale = state["count"], True


@torch.no_grad()
def blend(averaged: nn.Module, model: nn.Module, share: float) -> None:
    """Weights: a <- a + share (w - a). Buffers are copied."""
    torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), share)
    buffers = list(averaged.buffers())
    if buffers:
        torch._foreach_copy_(buffers, list(model.buffers()))


@torch.no_grad()
def measure_batch_norms(model: nn.Module, train: object) -> None:
    """Running means and variances of all batch norms: those of the training split, in random batches of one size, averaged over samples.

    All other layers are in evaluation mode: nothing is dropped. The same weights give the same statistics. The model is left in that mode.
    """
    model.eval()
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
    order, seen = torch.randperm(len(train), generator=torch.Generator().manual_seed(0)).to(train.targets.device), 0
    for images, _ in train.batches(order.tensor_split(-(-len(order) // BATCH))):
        seen += len(images)
        for norm in norms:
            norm.momentum = len(images) / seen  # so that the running average is the mean over samples
        model(images)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    model.eval()
