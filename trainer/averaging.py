"""Averages of weights: `update(model, now)` after each step, `evaluated(model, train)` returns the model to evaluate.

Each is made with the model: Averaging(model, ...). `train` is the loader of the training split. The model itself never
changes. `state_dict` holds the state for a checkpoint.

torch.optim.swa_utils is not used: AveragedModel takes twice as long a step (526 against 269 us for 20 convolutions with
batch norms, one thread), starts from the first trained weights, has one decay for all steps and rounds 1 / n to
float32; update_bn leaves dropout on and gives a small last batch the weight of a full one.
"""

import copy

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainer.base.checks import require
from trainer.base.clock import Clock, parse_length

BATCH = 256  # samples a pass when batch-norm statistics are computed anew


class Identity:
    """Weights of the last step, without an average."""

    def __init__(self, model: nn.Module) -> None:
        pass

    def update(self, model: nn.Module, now: Clock) -> None:
        """Do nothing."""

    def evaluated(self, model: nn.Module, train: object) -> nn.Module:
        """Return the model itself."""
        return model


class Ema:
    """Exponential moving average of the weights, beside them: a = d a + (1 - d) w.

    With warmup, d = min(decay, (1 + t) / (10 + t)) at step t, from 0, so that the random start is soon forgotten.
    Buffers (batch-norm statistics) are copied, not averaged.

    Args:
        decay: fraction of the average kept at each step, in (0, 1). Mean teacher: 0.999.
        warmup: use the smaller decay at first.
    Errors: ValueError. Source: Polyak & Juditsky, 1992; arXiv:1703.01780, eq. (1). Differs from the paper: the warm-up.
    """

    def __init__(self, model: nn.Module, *, decay: float = 0.999, warmup: bool = True) -> None:
        require("in (0, 1)", decay=decay)
        self.decay = decay
        self.warmup = warmup
        self.averaged = copy.deepcopy(model)

    def update(self, model: nn.Module, now: Clock) -> None:
        """Take the weights after a step."""
        decay = min(self.decay, (1 + now.step) / (10 + now.step)) if self.warmup else self.decay
        move_towards(self.averaged, model, 1 - decay)

    def evaluated(self, model: nn.Module, train: object) -> nn.Module:
        """Return the model with the averaged weights."""
        return self.averaged

    def state_dict(self) -> dict:
        return {"averaged": self.averaged.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.averaged.load_state_dict(state["averaged"])


class Swa:
    """Stochastic weight averaging: the mean of the weights at regular times late in the run (Izmailov et al., 2018).

    The first weights taken are those after `start`, then those after every further `every`: a = (a n + w) / (n + 1).
    Before the first the model itself is evaluated. Later evaluations compute the statistics of the batch norms anew, in
    one pass over the training split without augmentation, as those of no single model fit the mean; each evaluation
    takes that much longer. SWA is made for a learning rate that stays high, or rises and falls, between the times:
    sched=constant, sched=cosine_restarts.

    Args:
        start: length before the first weights are taken. Paper: 75 % of the run.
        every: length between two, 1ep with a constant rate or one cycle with a cyclical one in the paper.
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
        """Take the weights after a step, where one of the times is due."""
        since = now.step + 1 - now.steps(self.start)
        if since >= 0 and since % now.steps(self.every) == 0:
            self.count += 1
            move_towards(self.averaged, model, 1 / self.count)
            self._stale = True

    def evaluated(self, model: nn.Module, train: object) -> nn.Module:
        """Return the model with the averaged weights and statistics that fit them, or the model before the first."""
        if self.count == 0:
            return model
        if self._stale:
            recompute_batch_norms(self.averaged, train)
            self._stale = False
        return self.averaged

    def state_dict(self) -> dict:
        return {"averaged": self.averaged.state_dict(), "count": self.count}

    def load_state_dict(self, state: dict) -> None:
        self.averaged.load_state_dict(state["averaged"])
        self.count, self._stale = state["count"], True


@torch.no_grad()
def move_towards(averaged: nn.Module, model: nn.Module, fraction: float) -> None:
    """Move the averaged weights, a <- a + fraction (w - a), and copy the buffers."""
    torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), fraction)
    buffers = list(averaged.buffers())
    if buffers:
        torch._foreach_copy_(buffers, list(model.buffers()))


@torch.no_grad()
def recompute_batch_norms(model: nn.Module, train: object) -> None:
    """Set the running statistics of all batch norms to those of the training split, and leave the model in evaluation.

    They are averaged over samples, in random batches of one size, with all other layers in evaluation mode: nothing is
    dropped. The same weights give the same statistics.
    """
    model.eval()
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0)).to(train.targets.device)
    count = 0
    for images, _ in train.batches(order.tensor_split(-(-len(order) // BATCH))):
        count += len(images)
        for norm in norms:
            norm.momentum = len(images) / count  # so that the running average is the mean over samples
        model(images)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    model.eval()
