"""Collaborators of the loop around a step: when things are due, whether losses are finite, and validation."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from trainer.base.clock import Clock
from trainer.base.signals import Signals
from trainer.engine.run import Run
from trainer.rundir.console import Console
from trainer.rundir.recorder import Recorder

# Takes the time, the weights that were just evaluated or None, and whether they are the best so far.
Save = Callable[[Clock, dict[str, Tensor] | None, bool], None]


class Cadence:
    """When to log, validate and save; and the learning rate of each step."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._last_save = time.monotonic()

    def start(self, step: int) -> Clock:
        """Set the learning rate of a step, and return its time."""
        multiplier = self.run.sched(self.run.clock.at(step))
        for group in self.run.optimizer.param_groups:
            group["lr"] = group["base_lr"] * multiplier
        return self.run.clock.at(step, self.run.optimizer.param_groups[0]["lr"])

    def log(self, now: Clock) -> bool:
        """True if a log point is due after the step that begins now."""
        return self._every(self.run.log_steps, now)

    def validate(self, now: Clock) -> bool:
        """True if a validation is due after the step that begins now."""
        return self._every(self.run.eval_steps, now)

    def save(self, done: Clock) -> bool:
        """True if a checkpoint is due, `done` being the time after the step."""
        run = self.run
        if run.save_steps:
            return done.step % run.save_steps == 0
        return time.monotonic() - self._last_save >= run.save_seconds

    def saved(self) -> None:
        """Start the time to the next checkpoint anew."""
        self._last_save = time.monotonic()

    def _every(self, steps: int, now: Clock) -> bool:
        return (now.step + 1) % steps == 0 or now.step + 1 == now.total_steps


class LossWatch:
    """Watch for non-finite losses, which wait on the device and are checked together: no step waits for the host."""

    MAX_PENDING = 1000
    MAX_SKIPPED = 10  # in a row; then the run has diverged

    def __init__(self) -> None:
        self.pending: list[Tensor] = []
        self.skipped = self.nonfinite_step = 0
        self._skipped_in_a_row = 0

    def add(self, done: Clock, loss: Tensor | None) -> None:
        """Take the loss of a step; None for a step that was skipped."""
        if loss is not None:
            self.pending.append(loss)
            self._skipped_in_a_row = 0
            return
        self.skipped, self._skipped_in_a_row = self.skipped + 1, self._skipped_in_a_row + 1
        if self._skipped_in_a_row == self.MAX_SKIPPED:
            self.nonfinite_step = done.step

    @property
    def full(self) -> bool:
        """True if so many losses wait that they must be checked now."""
        return len(self.pending) >= self.MAX_PENDING

    def check(self, done: Clock) -> None:
        """Find the first non-finite loss among those that wait; the last of them is that of the step just done."""
        finite = torch.stack(self.pending).isfinite().tolist() if self.pending else []  # host sync
        if False in finite:
            self.nonfinite_step = done.step - len(finite) + finite.index(False) + 1
        self.pending.clear()


class Validation:
    """Evaluate the validation split, and pass the scores on: best, curves, console, plateau, early stopping."""

    def __init__(self, run: Run, recorder: Recorder, console: Console) -> None:
        self.run, self.recorder, self.console = run, recorder, console

    def overdue(self) -> bool:
        """True if the run was interrupted before the validation due at its current step."""
        step, history = self.run.progress.step, self.run.progress.history
        due = step and (step % self.run.eval_steps == 0 or step == self.run.clock.total_steps)
        return bool(due and len(self.run.val) and not (history and history[-1]["step"] == step))

    def __call__(self, now: Clock, signals: Signals) -> tuple[dict[str, Tensor], bool, bool]:
        """Return the evaluated weights, whether they are the best so far, and whether to stop. Errors: Interrupted."""
        run, progress = self.run, self.run.progress
        self.recorder.flush_averages(now)
        with signals.interrupt_immediately(), run.evaluation_model() as model:
            scores = run.evaluate(model, run.val)
            weights = {name: value.clone() for name, value in model.state_dict().items()}
        best = progress.add_evaluation(now, scores, run.monitor)
        self.recorder.record_evaluation("val", now, scores)
        self.console.print_evaluation(now, run.epochs, self.recorder.since_evaluation(), scores)
        if run.plateau:
            run.plateau.observe(scores["loss"])
        return weights, best, any([stop(progress.history) for stop in run.slots.stop])
