"""Evaluation of the validation split while a run trains."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.base import ranks
from trainer.base.classes import one_hot_labels
from trainer.base.clock import Clock
from trainer.base.metrics import ACCURACY, LOSS, R2
from trainer.base.protocols import HasBestConstant
from trainer.base.signals import Signals
from trainer.base.text import figure, figures
from trainer.data.loader import Loader
from trainer.engine.batch_norms import recomputed_statistics
from trainer.engine.evaluate import counting
from trainer.engine.fit_pictures import FitPictures
from trainer.engine.probe import record_probe
from trainer.engine.run import Run
from trainer.rundir.console import Console
from trainer.rundir.progress_bar import Bar
from trainer.rundir.recorder import Recorder

FRESH_SAMPLES = 256  # of the training split, for the batch norms of a network before its first step
ROWS = 4096  # at once, of the targets
NEARLY = 0.99  # of a loss: what is above is not told apart from it


class Validation:
    """Evaluate the validation split, and pass the scores on.

    They go to the history and the best (Progress), the curves, the console, a schedule with memory (plateau), and the
    rules of the slot `stop`: early stopping, and the pruning of a search.
    """

    def __init__(self, run: Run, recorder: Recorder, console: Console, bar: Bar) -> None:
        self.run, self.recorder, self.console, self.bar = run, recorder, console, bar
        self.pictures = FitPictures(run, recorder, run.fit_title)
        self._counts: Tensor | None = None
        self._counted = -1  # the step of them

    def counts_at(self, done: Clock) -> Tensor | None:
        """Return the counts by class and prediction of an evaluation after a step; None where there was none."""
        return self._counts if self._counted == done.step else None

    def overdue(self) -> bool:
        """True if the run was interrupted before the validation due at its current step."""
        step, history = self.run.progress.step, self.run.progress.history
        due = step and (step % self.run.eval_steps == 0 or step == self.run.clock.total_steps)
        return bool(due and len(self.run.val) and not (history and history[-1]["step"] == step))

    def has_stopped(self) -> bool:
        """True if a rule has ended the run with the validation at its current step."""
        history = self.run.progress.recent_history
        return bool(history) and history[-1]["step"] == self.run.progress.step and self._stops()

    def _stops(self) -> bool:
        stops = [stop(self.run.progress.recent_history) for stop in self.run.slots.stop]  # each of them sees it
        return ranks.of_first(any(stops))

    def evaluate_fresh(self, now: Clock, signals: Signals) -> None:
        """Evaluate a network that is before its first step, and print its loss beside that of knowing nothing.

        Batch norms have the statistics of a batch, but for those that model.weights brings along: their fresh ones are
        those of no network. The history, by which runs are stopped and the best evaluation is chosen, begins with the
        first step.
        """
        run = self.run
        record_probe(run)
        if self.recorder.rows:
            return
        drawn = run.progress.start and run.progress.start["fresh"]
        fitting = recomputed_statistics(run.model, run.train, FRESH_SAMPLES, FRESH_SAMPLES, drawn)
        with signals.interrupt_immediately(), self.bar.evaluating(), fitting:
            if len(run.val):
                split, scores = "val", run.evaluate(run.model, run.val, shared=True)
            else:
                some = torch.arange(min(FRESH_SAMPLES, len(run.train)), device=run.device)
                split, scores = "train", run.evaluate_batches(run.model, [run.train.batch(some)])
            self.pictures.record(run.model, now)
        self.recorder.record_evaluation(split, now, scores)
        known = "" if run.taught else f"  ({ignorance(run)})"
        self.console.print(f"step 0  {split} {figures(scores)}{known}")

    def __call__(self, now: Clock, signals: Signals) -> tuple[dict[str, Tensor] | None, bool, bool]:
        """Return the evaluated weights, whether they are the best so far, and whether to stop. Errors: Interrupted.

        Without a validation split, print the training averages.
        """
        run, progress = self.run, self.run.progress
        self.recorder.flush_averages(now)
        if not len(run.val):
            if self.pictures.due(now):
                with signals.interrupt_immediately(), run.evaluation_model() as model:
                    self.pictures.record(model, now)
            self.console.print_evaluation(now, {"train": self.recorder.since_evaluation()})
            return None, False, False
        with signals.interrupt_immediately(), self.bar.evaluating(), run.evaluation_model() as model:
            counts = run.no_confusion()
            scores = run.evaluate(model, run.val, observe=counting(counts), shared=True)
            counts = counts if counts is None else ranks.sum_in_place(counts)
            weights = {name: value.clone() for name, value in model.state_dict().items()}
            self.pictures.record(model, now)
        self._counts, self._counted = counts, now.step
        best = progress.add_evaluation(now, scores, run.monitor)
        self.recorder.record_evaluation("val", now, scores)
        self.console.print_evaluation(now, {"train": self.recorder.since_evaluation(), "val": scores})
        if run.plateau:
            run.plateau.observe(scores["loss"])
        return weights, best, self._stops()


def ignorance(run: Run) -> str:
    """Return the loss of outputs of 0, and that of the best constant prediction where it is smaller.

    The first is `log 10 = 2.3026` for the cross-entropy of ten classes, the second the entropy of their labels.
    """
    targets, criterion = run.train.targets, run.criterion
    classes, zero = max(run.data.outputs, 2), constant_loss(criterion, torch.zeros_like(targets[0]), targets)
    of_equal_classes = run.data.task != "regression" and math.isclose(zero, math.log(classes), rel_tol=1e-4)  # float32
    shown = [f"log {classes} = {figure(zero)}" if of_equal_classes else f"outputs of 0: {figure(zero)}"]
    if isinstance(criterion, HasBestConstant):
        best = constant_loss(criterion, criterion.constant(targets.cpu().double()).to(targets), targets)
        if best < NEARLY * zero:
            shown.append(f"{criterion.constant_loss} {figure(best)}")
    return ", ".join(shown)


def constant_loss(criterion: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, targets: Tensor) -> float:
    """Return the mean loss of the same outputs (K,) for all targets (N, K): for classes, one loss a class."""
    labels = one_hot_labels(targets) if len(targets) > targets.shape[1] else None
    counts = torch.ones(len(targets), dtype=torch.double)
    if labels is not None:
        found, counts = labels.unique(return_counts=True)
        counts, targets = counts.cpu(), F.one_hot(found, targets.shape[1]).to(targets)
    losses = torch.cat([criterion(outputs.expand_as(part), part) for part in targets.split(ROWS)]).cpu().double()
    return ((losses * counts).sum() / counts.sum()).item()


def best_constant(run: Run, split: Loader) -> dict[str, float]:
    """Return the scores of the best constant prediction on a split, which a run that learns exceeds."""
    targets, criterion, scores = split.targets, run.criterion, {}
    if not len(split):
        return scores
    if run.data.task == "regression":
        scores[R2.name] = 0.0
    else:
        counts = targets.double().sum(0)
        counts = torch.stack([counts, len(targets) - counts]) if run.data.outputs == 1 else counts
        scores[ACCURACY.name] = counts.max().item() / len(targets)
    if isinstance(criterion, HasBestConstant):
        outputs = criterion.constant(targets.cpu().double()).to(targets)
        scores[LOSS.name] = constant_loss(criterion, outputs, targets)
    return scores
