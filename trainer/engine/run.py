"""What a run is made of, what it has become, and how it ended."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from trainer.base.clock import Clock
from trainer.base.device import out_of_memory
from trainer.base.errors import MachineError
from trainer.base.rng import derive, seed_default
from trainer.data.loader import Loader
from trainer.data.splits import Splits
from trainer.engine.evaluate import evaluate


@dataclass(frozen=True, kw_only=True)
class Slots:
    """Where regularisers act; each list in the order the user gave."""

    layer: Sequence[Callable] = ()
    model: Sequence[Callable] = ()
    batch: Sequence[Callable] = ()
    loss: Sequence[Callable] = ()
    gradient: Sequence[Callable] = ()
    weights: Sequence[Callable] = ()
    stop: Sequence[Callable] = ()


@dataclass(kw_only=True)
class Progress:
    """What a run has become besides its weights.

    Args:
        step: updates done.
        history: scorings of the validation split, oldest first.
        losses: of each training sample when it was last seen, for samplers that ask.
        order: of the samples in the present epoch.
    """

    losses: Tensor
    step: int = 0
    order: Tensor | None = None
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything a run is made of, built and checked."""

    data: Splits
    train: Loader
    val: Loader
    test: Loader
    model: nn.Module
    forward: nn.Module  # the model, compiled where asked
    criterion: Callable[[Tensor, Tensor], Tensor]
    optimizer: torch.optim.Optimizer
    sched: Callable[[Clock], float]  # with its warm-up
    plateau: object | None  # the schedule without its warm-up, if it has memory: observe(loss), state_dict()
    sampler: Callable[[int, Tensor, Tensor, torch.Generator], Tensor]
    aug: Sequence[Callable]
    slots: Slots
    averaging: object
    tta: Callable[[nn.Module, Tensor], Tensor]
    clock: Clock
    device: torch.device
    autocast: Callable[[], AbstractContextManager]
    seed: int
    epochs: int
    batch_size: int
    accumulate: int
    drop_last: bool
    eval_batch_size: int
    eval_steps: int
    log_steps: int
    save_steps: int | None
    save_seconds: float
    skips: bool  # updates whose loss or gradient is not finite
    monitor: str
    memory: Progress

    @property
    def uses_losses(self) -> bool:
        return getattr(self.sampler, "uses_losses", False)

    @contextmanager
    def evaluated(self) -> Iterator[nn.Module]:
        """The model to score and to keep: averaged where that was asked for, at the optimizer's point of evaluation where it has one."""
        between = hasattr(self.optimizer, "eval")  # it trains at one point and means another
        if between:
            self.optimizer.eval()
        try:
            yield self.averaging.evaluated(self.model, self.train)
        finally:
            if between:
                self.optimizer.train()

    def score(self, model: nn.Module, split: Loader, views: Callable | None = None) -> dict[str, float]:
        """Mean loss and score. Errors: MachineError where a batch does not fit into memory."""
        seed_default(self.device, derive(self.seed, "views"))
        try:
            return evaluate(model, split, self.criterion, self.data.task, self.eval_batch_size, self.autocast, views)
        except Exception as error:
            if not out_of_memory(error):
                raise
            half = max(self.eval_batch_size // 2, 1)
            raise MachineError(
                f"eval_batch_size={self.eval_batch_size}: does not fit into the memory of {self.device}; try eval_batch_size={half}"
            ) from None


@dataclass(frozen=True)
class Outcome:
    """How a run ended: finished, stopped (early), diverged or interrupted (by a signal), and when.

    Args:
        bad: the update whose loss was no number, of a run that diverged.
        skipped: updates that were left out.
    """

    status: str
    now: Clock
    signal: int = 0
    bad: int = 0
    skipped: int = 0
