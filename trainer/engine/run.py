"""Dataclasses of a run: Run (its parts), Slots (its regularisers) and Outcome."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from trainer.base import ranks
from trainer.base.classes import one_hot_labels
from trainer.base.clock import Clock
from trainer.base.device import out_of_memory
from trainer.base.errors import MachineError
from trainer.base.hooks import takes_labels, uses_losses
from trainer.base.metrics import Metric
from trainer.base.protocols import HasEvaluationPoint
from trainer.base.rng import derive, seed_default
from trainer.data.loader import Loader
from trainer.data.splits import Splits
from trainer.engine.batch_norms import recomputed_statistics
from trainer.engine.compilation import Compilation
from trainer.engine.decision import Decision
from trainer.engine.evaluate import evaluate
from trainer.engine.progress import Progress
from trainer.pretrain.stage import Stage
from trainer.rundir.status import Status


@dataclass(frozen=True, kw_only=True)
class Slots:
    """Regularisers by slot, the place where they act: the first key of an option's YAML in conf/reg/.

    Each list is in the order the user gave.

    Args:
        layer: each () -> a layer behind the activations (LayerFactory.drop).
        model: each (model) -> model, before the initialisation.
        batch: each (images, targets, rng) -> (images, targets), behind the augmentations.
        loss: each (model, images, outputs, targets) -> penalty, a scalar that is added to the loss.
        gradient: each (model, now) -> None, edits `.grad` after the backward pass, in every evaluation of the
            closure (SAM has two a step, L-BFGS many).
        weights: each (model, optimizer, now) -> None, edits the weights after the optimizer's step.
        stop: each (history) -> whether to stop, after every validation. task=train adds the pruning rule of a search.
    """

    layer: Sequence[Callable] = ()
    model: Sequence[Callable] = ()
    batch: Sequence[Callable] = ()
    loss: Sequence[Callable] = ()
    gradient: Sequence[Callable] = ()
    weights: Sequence[Callable] = ()
    stop: Sequence[Callable] = ()


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything a run is made of, built and checked."""

    data: Splits
    train: Loader
    val: Loader
    test: Loader
    model: nn.Module
    forward: Callable[[Tensor], Tensor]  # the model, or what computes its outputs in its place
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
    frozen: frozenset[str] = frozenset()  # names of parameters and modules that model.freeze keeps from training
    stages: Sequence[Stage] = ()  # of a pretraining, before the first step
    taught: bool = False  # the targets are a teacher's, not those of the data
    lr_factors: Mapping[str, float] = field(default_factory=dict)  # on the learning rate, by parameter; empty for 1
    compiling: Compilation | None = None  # what is compiled; None for compile=off
    decisions: Mapping[str, Decision] = field(default_factory=dict)  # on settings that are `auto`
    fit_title: str = ""  # of pictures of the fit at evaluations; empty for none

    @cached_property
    def uses_losses(self) -> bool:
        return uses_losses(self.sampler)

    @cached_property
    def labels(self) -> Tensor | None:
        """Classes (N,) of the training samples; None where the loss has no use for them, or the targets are soft."""
        if self.data.task != "classification" or not takes_labels(self.criterion):
            return None
        return one_hot_labels(self.train.targets)

    def random_samples(self, purpose: str, count: int | None = None) -> Tensor:
        """Return the indices of training samples, drawn for a purpose without repetition; None for all of them."""
        rng = torch.Generator().manual_seed(derive(self.seed, purpose))
        return torch.randperm(len(self.train), generator=rng)[:count].to(self.train.targets.device)

    @property
    def samples_seen(self) -> int:
        """Training samples of all steps, each as often as it is seen."""
        return self.clock.total_steps * self.batch_size * self.accumulate

    @contextmanager
    def evaluation_model(self) -> Iterator[nn.Module]:
        """Yield the model to evaluate: averaged weights (ema, swa) or the optimizer's point (schedule-free).

        Where its weights are not those of the last step, the statistics of its batch norms are computed for them.
        """
        elsewhere = isinstance(self.optimizer, HasEvaluationPoint)
        versions = versions_of(self.model)
        if elsewhere:
            self.optimizer.eval()
        try:
            model = self.averaging.evaluated(self.model)
            untrained = model is not self.model or versions_of(model) != versions
            fitting = recomputed_statistics(model, self.train, self.eval_batch_size) if untrained else nullcontext()
            with self._memory_of_evaluation(), fitting:
                yield model
        finally:
            if elsewhere:
                self.optimizer.train()

    def evaluate(
        self,
        model: nn.Module,
        split: Loader,
        views: Callable | None = None,
        observe: Callable | None = None,
        shared: bool = False,
    ) -> dict[str, float]:
        """Return mean loss and score on a split. Errors: MachineError where a batch does not fit into memory.

        Args:
            shared: each of the ranks that take steps together evaluates its share of every batch.
        """
        batches = split.in_order(self.eval_batch_size)
        if shared and ranks.is_joined():
            batches = (
                (images[own], targets[own]) for images, targets in batches for own in [ranks.share(len(targets))]
            )
        return self.evaluate_batches(model, batches, views, observe, shared)

    def evaluate_batches(
        self,
        model: nn.Module,
        batches: Iterable[tuple[Tensor, Tensor]],
        views: Callable | None = None,
        observe: Callable | None = None,
        shared: bool = False,
    ) -> dict[str, float]:
        """Return mean loss and score on batches. Errors: MachineError where one does not fit into memory."""
        seed_default(self.device, derive(self.seed, "views"))
        with self._memory_of_evaluation():
            return evaluate(model, batches, self.criterion, self.data.task, self.autocast, views, observe, shared)

    def no_confusion(self) -> Tensor | None:
        """Return counts (K, K) of 0 by class and prediction; None for regression."""
        if self.data.task == "regression":
            return None
        classes = max(self.data.outputs, 2)
        return torch.zeros(classes, classes, dtype=torch.long, device=self.device)

    @contextmanager
    def _memory_of_evaluation(self) -> Iterator[None]:
        """Name the key to change where memory runs out."""
        try:
            yield
        except Exception as error:
            if not out_of_memory(error):
                raise
            half = max(self.eval_batch_size // 2, 1)
            what = f"eval_batch_size={self.eval_batch_size}: does not fit into the memory of {self.device}"
            raise MachineError(f"{what}; try eval_batch_size={half}") from None


def versions_of(model: nn.Module) -> list[int]:
    """Return torch's count of changes of each weight."""
    return [weight._version for weight in model.parameters()]


@dataclass(frozen=True)
class Outcome:
    """The end of a run.

    Args:
        status: finished, stopped (early), diverged or interrupted (by a signal).
        now: the time after its last step.
        signal: number of the signal.
        nonfinite_step: of a run that diverged, the first step with a non-finite loss; with on_nan=skip the last of as
            many skipped steps in a row as end a run.
        skipped: steps that were left out.
        confusion: counts of the validation split by class and prediction, of an evaluation after the last step; None
            where there was none.
    """

    status: Status
    now: Clock
    signal: int = 0
    nonfinite_step: int = 0
    skipped: int = 0
    confusion: Tensor | None = None
