"""Averages of weights: `update(model, now)` after each step, `evaluated(model)` returns the model to evaluate.

Snapshots are beside them: weights that are averaged by their predictions, after the run.

Each is made with the model: Averaging(model, ...). The model itself never changes. `state_dict` holds the state for a
checkpoint. Where the weights to evaluate are not the model's, engine/batch_norms.py computes their batch-norm
statistics, in one pass over the training split: those of no single model fit an average.

torch.optim.swa_utils is not used: AveragedModel takes twice as long a step (526 against 269 us for 20 convolutions with
batch norms, one thread), starts from the first trained weights, has one decay for all steps and rounds 1 / n to
float32.
"""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainer.base.checks import require
from trainer.base.clock import Clock, nearly_ends, parse_length
from trainer.base.cycle_protocols import HasCycles


class Identity:
    """Weights of the last step, without an average."""

    def __init__(self, model: nn.Module) -> None:
        pass

    def update(self, model: nn.Module, now: Clock) -> None:
        """Do nothing."""

    def evaluated(self, model: nn.Module) -> nn.Module:
        """Return the model itself."""
        return model


class Ema:
    """Exponential moving average of the weights, beside them: a = d a + (1 - d) w.

    With warmup, d = min(decay, (1 + t) / (10 + t)) at step t, from 0, so that the random start is soon forgotten.

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

    def evaluated(self, model: nn.Module) -> nn.Module:
        """Return the model with the averaged weights."""
        return self.averaged

    def state_dict(self) -> dict:
        return {"averaged": self.averaged.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.averaged.load_state_dict(state["averaged"])


class Swa:
    """Stochastic weight averaging: the mean of the weights at regular times late in the run (Izmailov et al., 2018).

    The first weights taken are those after `start`, then those after every further `every`: a = (a n + w) / (n + 1).
    Before the first the model itself is evaluated. SWA is made for a learning rate that stays high, or rises and falls,
    between the times: sched=constant, sched=cosine_restarts.

    Args:
        start: length before the first weights are taken, a percentage up to the end of the epoch. Paper: 75 % of the
            run.
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

    def update(self, model: nn.Module, now: Clock) -> None:
        """Take the weights after a step, where one of the times is due."""
        since = now.step + 1 - self._first(now)
        if since >= 0 and since % now.steps(self.every) == 0:
            self.count += 1
            move_towards(self.averaged, model, 1 / self.count)

    def evaluated(self, model: nn.Module) -> nn.Module:
        """Return the model with the averaged weights, or the model itself before the first."""
        return self.averaged if self.count else model

    def _first(self, now: Clock) -> int:
        """Return the step after which the first weights are taken."""
        first = now.steps(self.start)
        epoch_end = -(-first // now.steps_per_epoch) * now.steps_per_epoch
        return epoch_end if self.start.endswith("%") and epoch_end <= now.total_steps else first

    def state_dict(self) -> dict:
        return {"averaged": self.averaged.state_dict(), "count": self.count}

    def load_state_dict(self, state: dict) -> None:
        self.averaged.load_state_dict(state["averaged"])
        self.count = state["count"]


class Snapshots:
    """Snapshots of the weights at the end of each cycle of the learning rate, members of one ensemble from one run.

    The run itself is trained and evaluated as without them. At its end they are in snapshots/step-N.safetensors of its
    directory, whose predictions task=ensemble averages. Until then they are in memory, and in each checkpoint.

    Args:
        every: length between two; null for the last step of each cycle of the schedule, of one without cycles the last
            step of the run. A cycle that the run cuts short has no snapshot.
    Errors: ValueError. Source: Huang et al., 2017, arXiv:1704.00109, section 3. Differs from the paper: the schedule is
    that of `sched`: cosine_restarts with growth 1 and length T / M gives the M cycles of eq. (2).
    """

    def __init__(self, model: nn.Module, *, every: str | None = None) -> None:
        if every is not None:
            parse_length(every)
        self.every = every
        self.snapshots: dict[int, dict[str, Tensor]] = {}
        self._sched: object = None

    def follow(self, sched: object) -> None:
        """Take the run's schedule, without its warm-up."""
        self._sched = sched

    def update(self, model: nn.Module, now: Clock) -> None:
        """Copy the weights and buffers after a step that ends a cycle to the host."""
        if self._is_due(now):
            copied = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}  # host sync
            self.snapshots[now.step + 1] = copied

    def evaluated(self, model: nn.Module) -> nn.Module:
        """Return the model itself."""
        return model

    def _is_due(self, now: Clock) -> bool:
        if self.every is not None:
            length = now.steps(self.every)
            return nearly_ends(now, now.step % length, length)
        if isinstance(self._sched, HasCycles):
            return self._sched.ends_cycle(now)
        return now.step + 1 == now.total_steps

    def state_dict(self) -> dict:
        return {"snapshots": self.snapshots}

    def load_state_dict(self, state: Mapping) -> None:
        self.snapshots = {
            step: {name: value.cpu() for name, value in weights.items()} for step, weights in state["snapshots"].items()
        }


@torch.no_grad()
def move_towards(averaged: nn.Module, model: nn.Module, fraction: float) -> None:
    """Move the averaged weights, a <- a + fraction (w - a), and copy the buffers, which are not averaged."""
    torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), fraction)
    buffers = list(averaged.buffers())
    if buffers:
        torch._foreach_copy_(buffers, list(model.buffers()))
