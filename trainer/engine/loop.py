"""Training. BEGIN HERE: `Update` is the path of a batch, `fit` the life of a run around it.

Before: engine/order.py takes samples in the sampler's order, and data/loader.py makes preprocessed batches of them.
Beside: engine/transforms.py (augmentation), cadence.py (the learning rate; when to log, validate, save), loss_watch.py,
validation.py (scores).
Non-finite losses: loss_watch.py finds them, at the next log, validation or save, and ends `fit` as diverged; then
engine/session.py, which calls `fit`, rolls back (on_nan=rollback) or ends the run. on_nan=skip leaves steps out here.
Hooks of techniques: base/protocols.py. The objects of a run: engine/run.py, made by engine/build.py.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, suppress
from functools import partial

import torch
from torch import Tensor

from trainer.base.backward import backward
from trainer.base.clock import Clock
from trainer.base.errors import Interrupted
from trainer.base.hooks import needs_graph
from trainer.base.layers import common_rate, decay_parameters
from trainer.base.protocols import AnalyticPenalty, PreStepEdit
from trainer.base.rng import derive, seed_default
from trainer.base.signals import Signals
from trainer.diagnosis.early import certain
from trainer.engine.cadence import FIRST_WARNING, Cadence
from trainer.engine.compiled import StepGraphs
from trainer.engine.contracts import broken
from trainer.engine.graphs import Evaluated
from trainer.engine.hard_labels import HardLabels, Losses
from trainer.engine.loss_watch import LossWatch
from trainer.engine.measured_update import timed
from trainer.engine.order import MicroBatch, batches
from trainer.engine.probe import record_probe
from trainer.engine.progress import MicroOutput
from trainer.engine.run import Outcome, Run
from trainer.engine.sharing import Share, Sharing
from trainer.engine.transforms import Transforms
from trainer.engine.validation import Validation
from trainer.optimizer.fused_step import step_of
from trainer.rundir.console import Console
from trainer.rundir.progress_bar import Bar, Pace
from trainer.rundir.recorder import Recorder
from trainer.rundir.status import Status

# Takes the time, the weights that were just evaluated or None, and whether they are the best so far.
Save = Callable[[Clock, dict[str, Tensor] | None, bool], None]


class SkipStep(Exception):
    """Raised inside the closure, before a weight has moved: loss or gradient is not finite (on_nan=skip)."""


class Update:
    """One optimizer step: everything that happens to a batch, in order. Built once a run.

    Args:
        recorder: None for steps that are not logged.
    """

    def __init__(self, run: Run, recorder: Recorder | None) -> None:
        self.run, self.recorder = run, recorder
        self.weights = [weight for weight in run.model.parameters() if weight.requires_grad]
        self.decaying = decay_parameters(run.model)
        self.transforms, self.labels, self.sharing = Transforms(run), HardLabels(run), Sharing(run)
        self.layers_seed, self.equal_parts = derive(run.seed, "layers"), {}
        self.pre_step_edits = [edit for edit in run.slots.weights if isinstance(edit, PreStepEdit)]
        self.create_graph, self.step = needs_graph(run.optimizer), step_of(run.optimizer)
        analytic = [isinstance(penalty, AnalyticPenalty) and not self.create_graph for penalty in run.slots.loss]
        self.analytic = [penalty for penalty, known in zip(run.slots.loss, analytic) if known]
        self.penalties = [penalty for penalty, known in zip(run.slots.loss, analytic) if not known]
        self.graphs = run.compiling and StepGraphs(run, self.penalties, self.analytic, self.decaying)
        self.evaluate = partial(self.graphs.evaluate, self.evaluate_eagerly) if self.graphs else self.evaluate_eagerly

    def __call__(
        self, now: Clock, indices: Sequence[Tensor], batch: list[MicroBatch], log: bool
    ) -> tuple[Tensor | None, list[MicroOutput]]:
        """Return the loss and each micro-batch's outputs, on the device; None and nothing for a skipped step."""
        run, model, slots = self.run, self.run.model, self.run.slots
        before, batch = [targets for _, targets in batch], self.transforms(now, batch)
        criteria = self.labels(indices, before, batch)  # of targets, or of classes where these are not softened
        batch, criteria, shares = self.sharing(batch, criteria)  # of several ranks, this one's
        evaluations = []  # of the closure: one, but for optimizers as SAM and L-BFGS

        def closure() -> Tensor:
            for weight in self.weights:
                weight.grad = None  # as zero_grad does, 8 us faster
            seed_default(run.device, self.layers_seed + now.step)  # the same dropout masks in every evaluation
            loss, micro_outputs = None, []
            for (images, targets), (criterion, truth), share in zip(batch, criteria, shares):
                per_sample = self.weights_of(len(targets), share.count)
                losses, outputs, penalties = self.evaluate(images, targets, truth, criterion, per_sample, share)
                for part in (losses.dot(per_sample), *penalties):
                    loss = part if loss is None else loss + part
                micro_outputs.append(share.own(losses, outputs, truth))
            loss = self.sharing.total(loss, self.weights)
            for penalty in self.analytic:
                loss = loss + penalty.add_gradient(self.decaying)
            if log and not evaluations:
                self.recorder.measure_gradient(self.weights)
            for edit in slots.gradient:
                edit(model, now)
            if log and slots.gradient and not evaluations:
                self.recorder.measure_edited_gradient(self.weights)
            if run.skips_nonfinite and not evaluations and not is_finite(loss, self.weights):
                raise SkipStep
            evaluations.append((loss, micro_outputs))
            return loss

        if log:
            self.recorder.before_step(self.weights)
        for edit in self.pre_step_edits:
            edit.before(model, run.optimizer, now)
        if whole := self.graphs and self._step_as_graph(now, batch, criteria, log):
            evaluations.append(whole)
        elif not self._step(closure):
            return None, []
        for edit in slots.weights:
            edit(model, run.optimizer, now)
        run.averaging.update(model, now)
        if log:
            self.sharing.require_equal(now)
        if not evaluations:
            raise broken("optimizer", "optimizer", run.optimizer, "does not call the closure in its step")
        return evaluations[0]  # at the weights before the step

    def evaluate_eagerly(
        self, images: Tensor, targets: Tensor, truth: Tensor, criterion: Losses, per_sample: Tensor, share: Share
    ) -> Evaluated:
        """Add a micro-batch's gradient to `.grad`; return losses (B,), outputs (B, K), penalties, without gradient."""
        run = self.run
        with run.autocast(), share:
            outputs = (self.graphs or run).forward(images)
        outputs = outputs.float()
        losses = criterion(outputs, truth).float()  # (B,)
        fraction = len(targets) / share.count
        penalties = [penalty(run.model, images, outputs, targets) * fraction for penalty in self.penalties]
        # Backward of losses.dot(per_sample) + sum(penalties), without a node for the dot product (15 us).
        gradients = [per_sample, *[None] * len(penalties)]
        backward([losses, *penalties], gradients, self.create_graph)
        return losses.detach(), outputs.detach(), [penalty.detach() for penalty in penalties]

    def weights_of(self, size: int, count: int) -> Tensor:
        """Return 1 / count for each of `size` losses; nearly every step has the same."""
        known = self.equal_parts.get((size, count))
        if known is None:
            known = self.equal_parts[size, count] = torch.full((size,), 1 / count, device=self.run.device)
        return known

    def _step_as_graph(self, now: Clock, batch: Sequence[MicroBatch], criteria: Sequence, log: bool):
        """Make the step as one compiled graph, and return loss and outputs; None where nothing is done (compile=step).

        Before and behind it are the edits of the weights.
        """
        seed_default(self.run.device, self.layers_seed + now.step)
        (_, targets), (criterion, truth) = batch[0], criteria[0]
        made = self.graphs.whole(batch, truth, criterion, self.weights_of(len(targets), len(targets)))
        if made is None:
            return None
        loss, losses, outputs, unedited = made
        if log:
            self.recorder.measure_gradient(self.weights, unedited)
        if log and self.run.slots.gradient:
            self.recorder.measure_edited_gradient(self.weights)
        return loss, [(losses, outputs, truth)]

    def _step(self, closure: Callable[[], Tensor]) -> bool:
        """Step the optimizer; False if the closure has skipped the step, with the model's buffers as they were."""
        if not self.run.skips_nonfinite:
            self.step(closure)
            return True
        buffers = [(buffer, buffer.clone()) for buffer in self.run.model.buffers()]  # a batch norm would never forget
        try:
            self.step(closure)
        except SkipStep:
            for buffer, before in buffers:
                buffer.copy_(before)
            return False
        return True


def never(now: Clock, weights: dict[str, Tensor] | None, best: bool) -> None:
    """Save nothing."""


def is_finite(loss: Tensor, weights: Sequence[Tensor]) -> bool:
    """Return whether the loss and all gradients are finite."""
    norms = torch._foreach_norm([weight.grad for weight in weights if weight.grad is not None])
    return bool(torch.stack([loss, *norms]).isfinite().all())  # host sync


def progress_bar(run: Run, recorder: Recorder, console: Console) -> AbstractContextManager[Bar]:
    """Return the bar of a run, from its current step on."""
    pace = Pace(run.clock, run.progress.step, run.eval_steps)
    return console.progress(pace, recorder.running_averages, run.batch_size * run.accumulate)


def look_at_layers(run: Run, done: Clock, console: Console) -> None:
    """Measure the layers, and warn of what is certain to stay wrong."""
    record_probe(run)
    for sign in certain(run.progress.probes) if done.step == FIRST_WARNING else ():
        console.print(f"warning: after {done.step} steps: {sign}")


def catch_up(validation: Validation, done: Clock, signals: Signals, save: Save) -> Status:
    """Evaluate a fresh network, or do the validation that a resumed run was interrupted before.

    Return STOPPED where a rule has ended the run.
    """
    if not done.step:
        validation.evaluate_fresh(done, signals)
    if not validation.overdue():
        return Status.STOPPED if validation.has_stopped() else Status.FINISHED
    weights, best, stop = validation(done, signals)
    save(done, weights if best else None, best)
    return Status.STOPPED if stop else Status.FINISHED


def after_step(
    done: Clock,
    watch: LossWatch,
    validation: Validation | None,
    cadence: Cadence,
    saving: bool,
    save: Save,
    signals: Signals,
) -> Status:
    """Validate and save after a step; return how the run goes on, FINISHED where nothing ends it.

    Args:
        validation: None where none is due.
        saving: a checkpoint is due.
    """
    if watch.nonfinite_step:
        return Status.DIVERGED
    weights, best, stop = None, False, False
    if validation and not signals.number:
        with suppress(Interrupted):  # a resumed run validates first
            weights, best, stop = validation(done, signals)
    status = Status.INTERRUPTED if signals.number else Status.STOPPED if stop else Status.FINISHED
    if best or saving or status is Status.INTERRUPTED:
        save(done, weights if best else None, best)
        cadence.saved()
    return status


def fit(run: Run, recorder: Recorder, console: Console, save: Save = never, until: int | None = None) -> Outcome:
    """Train `run.model` in place from `run.progress.step` to the step `until` (None: the end).

    Inside, `now` is the time before a step and `done` the time after it.
    Errors: Interrupted by a signal in the first step.
    """
    update, cadence, watch = timed(Update, run, recorder, console), Cadence(run), LossWatch(run.progress)
    progress, first, end = run.progress, run.progress.step, run.clock.total_steps if until is None else until
    done = run.clock.at(first, common_rate(run.optimizer)) if first else cadence.set_learning_rate(0)
    run.model.train()
    with Signals() as signals, closing(batches(run)) as upcoming, progress_bar(run, recorder, console) as bar:
        validation = Validation(run, recorder, console, bar)
        status = catch_up(validation, done, signals, save)
        while progress.step < end and status is Status.FINISHED:
            now = cadence.set_learning_rate(progress.step)
            log, validate = cadence.log(now), cadence.validate(now)
            indices, batch = next(upcoming)
            with signals.interrupt_immediately(when=now.step == first):  # it may compile for minutes; nothing is lost
                loss, micro_outputs = update(now, indices, batch, log)
            done = run.clock.at(now.step + 1, now.lr)
            progress.advance(done, indices, micro_outputs, keep_losses=run.uses_losses)
            watch.add(done, loss)
            for micro_output in micro_outputs:
                recorder.add(*micro_output)
            bar.advance(done)  # before the log point, which begins the averages anew
            if log and loss is not None:
                recorder.log(update.weights, done)
            if cadence.probe(done):
                look_at_layers(run, done, console)
            saving = cadence.save(done)
            if log or validate or saving or signals.number or watch.full:
                watch.check(done)
            status = after_step(done, watch, validation if validate else None, cadence, saving, save, signals)
    if status is Status.INTERRUPTED:
        signals.answered()
    return Outcome(status, done, signals.number, watch.nonfinite_step, progress.skipped, validation.counts_at(done))
