"""Training of several jobs at once, each with the life that `fit` in engine/loop.py gives a run alone."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from trainer.base.accumulator import BATCHES_HELD
from trainer.base.clock import Clock
from trainer.base.layers import common_rate
from trainer.base.signals import Signals
from trainer.engine.cadence import Cadence
from trainer.engine.loop import after_step, catch_up, look_at_layers
from trainer.engine.loss_watch import LossWatch
from trainer.engine.order import micro_batches_of, order_of
from trainer.engine.progress import MicroOutput
from trainer.engine.run import Outcome
from trainer.engine.training import Training
from trainer.engine.validation import Validation
from trainer.rundir.progress_bar import Bar, Pace
from trainer.rundir.status import Status
from trainer.stacked.step import StackedUpdate


class Member:
    """A job of a stack, and what happens to it around the steps.

    Args:
        training: of the job, in its directory.
    """

    def __init__(self, training: Training) -> None:
        self.training, self.run, self.recorder = training, training.run, training.recorder
        self.cadence, self.watch = Cadence(self.run), LossWatch(self.run.progress)
        self.status = Status.FINISHED
        self.error: Exception | None = None
        self.outcome: Outcome | None = None
        self.validation: Validation | None = None
        self.done = self.run.clock.at(self.step, common_rate(self.run.optimizer))
        self.parts: Sequence[Tensor] = ()  # batches of the epoch

    @property
    def step(self) -> int:
        """Steps done."""
        return self.run.progress.step

    @property
    def has_ended(self) -> bool:
        """True if there are no more steps to do."""
        over = self.step >= self.run.clock.total_steps
        return self.error is not None or self.status is not Status.FINISHED or over

    def begin(self, signals: Signals) -> None:
        """Do what comes before the first step; nothing the second time."""
        run, console = self.run, self.training.console
        if self.validation is not None:
            return
        if not self.step:
            self.done = self.cadence.set_learning_rate(0)
        run.model.train()
        samples = run.batch_size * run.accumulate
        bar = Bar(Pace(run.clock, self.step, run.eval_steps), False, self.recorder.running_averages, samples)
        self.validation = Validation(run, self.recorder, console, bar)
        self.status = catch_up(self.validation, self.done, signals, self.training.save)

    def next_samples(self) -> Tensor:
        """Return the samples of the next step, as `batches` in engine/order.py takes them."""
        run, progress = self.run, self.run.progress
        epoch, place = divmod(progress.step, run.clock.steps_per_epoch)
        if progress.order is None or not place:
            progress.order, self.parts = order_of(run, epoch), ()
        if not self.parts:
            self.parts = micro_batches_of(run, progress.order)
        return self.parts[place]

    def at_event(self, log: bool, validate: bool, saving: bool, signals: Signals) -> None:
        """Log, validate and save after a step, where that is due."""
        run, done = self.run, self.done
        if log:
            self.recorder.log([weight for weight in run.model.parameters() if weight.requires_grad], done)
        if self.cadence.probe(done):
            look_at_layers(run, done, self.training.console)
        self.watch.check(done)
        validation, save = self.validation if validate else None, self.training.save
        self.status = after_step(done, self.watch, validation, self.cadence, saving, save, signals)

    def end(self, signals: Signals) -> None:
        """Note how the training has ended."""
        counts = self.validation.counts_at(self.done) if self.validation else None
        skipped, nonfinite = self.run.progress.skipped, self.watch.nonfinite_step
        self.outcome = Outcome(self.status, self.done, signals.number, nonfinite, skipped, counts)


def train_until_one_ends(members: Sequence[Member]) -> list[Member]:
    """Train the members at once until one or more of them have ended, and return these.

    Those that are behind the others, as after a kill, train until they have reached them.
    """
    with Signals() as signals:
        for member in members:
            attempt(member, member.begin, signals)
        while not (ended := [member for member in members if member.has_ended]):
            first = min(member.step for member in members)
            active = [member for member in members if member.step == first]
            until = min((member.step for member in members if member.step > first), default=math.inf)
            train_together(active, until, signals)
        for member in ended:
            member.end(signals)
        if signals.number:
            signals.answered()
    return ended


class Pending:
    """Losses and outputs of the last steps of a stack, on the device until its members need them.

    Args:
        members: of the stack.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        self.totals: list[Tensor] = []  # of a step each, (K,)
        self.outputs: list[MicroOutput] = []  # of a step each, (K B, ...)

    def add(self, done: Clock, totals: Tensor, samples: Sequence[Tensor], outputs: MicroOutput) -> None:
        """Take a step's results."""
        self.totals.append(totals)
        self.outputs.append(outputs)
        losses = outputs[0].chunk(len(self.members)) if any(member.run.uses_losses for member in self.members) else ()
        for member, own, loss in zip(self.members, samples, losses):
            member.run.progress.advance(done, [own], [(loss, *outputs[1:])], keep_losses=member.run.uses_losses)
        if len(self.outputs) == BATCHES_HELD:
            self.give_outputs()

    def give_outputs(self) -> None:
        """Give each member's recorder its own part."""
        jobs, count = len(self.members), len(self.outputs)
        together = [
            torch.cat([part.view(jobs, -1, *part.shape[1:]) for part in parts], 1) for parts in zip(*self.outputs)
        ]
        for member, *own in zip(self.members, *(part.unbind() for part in together)):
            member.recorder.add(*own, batches=count)
        self.outputs.clear()

    def give(self) -> None:
        """Give each member all that waits."""
        if self.outputs:
            self.give_outputs()
        for member, totals in zip(self.members, torch.stack(self.totals, 1).unbind()):
            member.watch.pending.extend(totals.unbind())
        self.totals.clear()


def train_together(members: Sequence[Member], until: float, signals: Signals) -> None:
    """Train members that are at the same step, up to the step `until` or the end of one of them."""
    update = StackedUpdate([member.run for member in members], [member.recorder for member in members])
    first, pending, cadence = members[0].run, Pending(members), members[0].cadence
    step, end = members[0].step, min(until, first.clock.total_steps)
    try:
        while step < end and not any(member.has_ended for member in members):
            nows = [member.cadence.set_learning_rate(step) for member in members]
            log, validate = cadence.log(nows[0]), cadence.validate(nows[0])
            samples = [member.next_samples() for member in members]
            totals, outputs = update(nows, samples, log)
            step += 1
            for member, now in zip(members, nows):
                member.done = member.run.clock.at(step, now.lr)
                member.run.progress.step = step
            pending.add(members[0].done, totals, samples, outputs)
            saving = [member.cadence.save(member.done) for member in members]
            full = len(pending.totals) >= LossWatch.MAX_PENDING
            if log or validate or any(saving) or signals.number or full or step == end:
                pending.give()
                for member, own in zip(members, saving):
                    attempt(member, member.at_event, log, validate, own, signals)
            elif cadence.probe(members[0].done):
                for member in members:
                    attempt(member, look_at_layers, member.run, member.done, member.training.console)
    finally:
        update.release()


def attempt(member: Member, do, *arguments: object) -> None:
    """Do something for a member; an error ends this one alone."""
    try:
        do(*arguments)
    except Exception as error:
        member.error = error
