"""Dataclasses of a run: Slots, Progress (its mutable state), Run (its parts), Outcome."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from trainer.base.clock import Clock
from trainer.base.device import out_of_memory
from trainer.base.errors import MachineError
from trainer.base.metrics import Metric
from trainer.base.protocols import HasEvaluationPoint, uses_losses
from trainer.base.rng import derive, seed_default
from trainer.data.loader import Loader
from trainer.data.splits import Splits
from trainer.engine.evaluate import evaluate
from trainer.rundir.status import Status

MicroBatch = tuple[Tensor, Tensor]  # images and targets
MicroOutput = tuple[Tensor, Tensor, Tensor]  # losses (B,), outputs and targets (B, K), without gradient


@dataclass(frozen=True, kw_only=True)
class Slots:
    """Regularisers by slot, the place where they act: the first key of an option's YAML in conf/reg/.

    Each list is in the order the user gave.

    Args:
        layer: each () -> a layer behind the activations (LayerFactory.drop).
        model: each (model) -> model, before the initialisation.
        batch: each (images, targets, rng) -> (images, targets), behind the augmentations.
        loss: each (model, images, outputs, targets) -> penalty, a scalar that is added to the loss.
        gradient: each (model, now) -> None, edits `.grad` after the backward pass.
        weights: each (model, now) -> None, edits the weights after the optimizer's step.
        stop: each (history) -> whether to stop, after every validation.
    """

    layer: Sequence[Callable] = ()
    model: Sequence[Callable] = ()
    batch: Sequence[Callable] = ()
    loss: Sequence[Callable] = ()
    gradient: Sequence[Callable] = ()
    weights: Sequence[Callable] = ()
    stop: Sequence[Callable] = ()


@dataclass(kw_only=True)
class Progress:
    """Mutable state of a run other than weights, optimizer and curves; a checkpoint holds all of it.

    Args:
        losses: of each training sample when it was last seen, for samplers that use them.
        step: steps done.
        order: of the samples in the present epoch.
        history: evaluations of the validation split, oldest first.
        best: the best of them, by the monitored metric.
        rollbacks: steps of the checkpoints that the run was rolled back to, in that order.
    """

    losses: Tensor
    step: int = 0
    order: Tensor | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, float] | None = None
    rollbacks: list[int] = field(default_factory=list)

    def advance(
        self, done: Clock, indices: Sequence[Tensor], micro_outputs: Sequence[MicroOutput], *, keep_losses: bool
    ) -> None:
        """Count a step, and keep the losses of its samples; of a sample that a batch holds twice, the larger one."""
        self.step = done.step
        if keep_losses:
            for which, (losses, _, _) in zip(indices, micro_outputs):
                self.losses.scatter_reduce_(0, which, losses, "amax", include_self=False)

    def add_evaluation(self, now: Clock, scores: dict[str, float], monitor: Metric) -> bool:
        """Append an evaluation to the history, and return whether it is the best so far. A non-finite loss never is."""
        record = {"step": now.step, "epoch": now.epoch, **scores}
        self.history.append(record)
        if not math.isfinite(scores["loss"]) or (self.best and monitor.rank(record) >= monitor.rank(self.best)):
            return False
        self.best = record
        return True


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
    plateau: object | None  # the schedule without its warm-up, if it observes the loss
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
    skips_nonfinite: bool  # leave out steps whose loss or gradient is not finite
    monitor: Metric
    progress: Progress

    @cached_property
    def uses_losses(self) -> bool:
        return uses_losses(self.sampler)

    @contextmanager
    def evaluation_model(self) -> Iterator[nn.Module]:
        """Yield the model to evaluate: averaged weights (ema, swa) or the optimizer's point (schedule-free)."""
        elsewhere = isinstance(self.optimizer, HasEvaluationPoint)
        if elsewhere:
            self.optimizer.eval()
        try:
            yield self.averaging.evaluated(self.model, self.train)
        finally:
            if elsewhere:
                self.optimizer.train()

    def evaluate(self, model: nn.Module, split: Loader, views: Callable | None = None) -> dict[str, float]:
        """Return mean loss and score on a split. Errors: MachineError where a batch does not fit into memory."""
        seed_default(self.device, derive(self.seed, "views"))
        try:
            return evaluate(model, split, self.criterion, self.data.task, self.eval_batch_size, self.autocast, views)
        except Exception as error:
            if not out_of_memory(error):
                raise
            half = max(self.eval_batch_size // 2, 1)
            what = f"eval_batch_size={self.eval_batch_size}: does not fit into the memory of {self.device}"
            raise MachineError(f"{what}; try eval_batch_size={half}") from None


@dataclass(frozen=True)
class Outcome:
    """The end of a run.

    Args:
        status: finished, stopped (early), diverged or interrupted (by a signal).
        now: the time after its last step.
        signal: number of the signal.
        nonfinite_step: the first step with a non-finite loss, of a run that diverged.
        skipped: steps that were left out.
    """

    status: Status
    now: Clock
    signal: int = 0
    nonfinite_step: int = 0
    skipped: int = 0
