"""Training of a run into a directory: checkpoints, and recovery from a non-finite loss or a lack of memory."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig
from torch import Tensor

from trainer.base.clock import Clock
from trainer.base.device import out_of_memory
from trainer.base.layers import common_rate
from trainer.base.text import printable
from trainer.engine import recovery
from trainer.engine.loop import fit
from trainer.engine.run import Outcome, Run
from trainer.engine.state import capture, restore
from trainer.rundir import checkpoint
from trainer.rundir.checkpoint import Checkpoints
from trainer.rundir.console import Console
from trainer.rundir.recorder import Recorder
from trainer.rundir.status import Status

MAX_ROLLBACKS = 3  # a run that diverges again has diverged
Fit = Callable[[Run, Recorder, Console, Callable], Outcome]
SLOWER = 0.5  # the learning rate after a rollback, of the one before


class Training:
    """A run, and the files of a directory that it trains into: curves and checkpoints.

    Args:
        cfg: configuration of the run, in which a smaller batch is chosen.
        build: makes the run from a configuration, for a smaller batch and for finding a non-finite layer.
        console: for notes.
        notes: those printed so far; more are added.
        saved: what the checkpoints hold beside the state, keys of `capture`: config, description.
        texts: config.yaml and the overrides, for TensorBoard.
    """

    def __init__(
        self,
        cfg: DictConfig,
        build: Callable[[DictConfig], Run],
        run: Run,
        directory: Path,
        console: Console,
        notes: list[str],
        saved: Mapping[str, Mapping],
        texts: tuple[str, Sequence[str]],
    ) -> None:
        self.cfg, self.build, self.run, self.directory = cfg, build, run, directory
        self.console, self.notes, self.saved, self.texts = console, notes, saved, texts
        self.recorder = Recorder(directory, run.data.task, console.print)
        self.checkpoints = Checkpoints(directory)
        self._warned = False

    def save(self, now: Clock, evaluated: dict | None, best: bool) -> None:
        """Write a checkpoint; a full disk or memory gives one warning and ends nothing."""
        try:
            state = capture(self.run, self.recorder, now, evaluated, notes=self.notes, **self.saved)
            self.checkpoints.save(state, best)
        except Exception as error:
            if not isinstance(error, OSError) and not out_of_memory(error):
                raise
            reason = error.strerror if isinstance(error, OSError) else "it does not fit into memory"
            if not self._warned:
                newest = self.checkpoints.newest()
                left = f"the newest one is of step {checkpoint.step_of(newest)}" if newest else "there is none yet"
                what = f"the checkpoint of step {now.step} could not be written ({reason})"
                self.console.print(f"warning: {printable(self.directory)}: {what}; {left}; training continues")
            self._warned = True
            if best and not self.checkpoints.has(now.step):
                self.forget_best(f"the checkpoint of the best evaluation, after step {now.step:,}, was not written")

    def finish(self, outcome: Outcome) -> dict[str, Tensor]:
        """Save the last weights of a complete run, and return the best ones, or the last where none were evaluated."""
        run, best = self.run, self.run.progress.best
        with self.console.status("saving the last weights"):
            with run.evaluation_model() as model:
                last = {name: value.clone() for name, value in model.state_dict().items()}
            self.save(outcome.now, last, False)
        return self.checkpoints.weights_of(best["step"], run.device) if best else last

    def forget_best(self, why: str) -> None:
        """Let the best evaluation be one of those to come: the weights of the present one are lost."""
        self.run.progress.best = None
        self.note(f"{why}; the best is that of the evaluations from here on, or the last weights")

    def fit_with_recovery(self, fit: Fit = fit, first: Fit | None = None) -> Outcome:
        """Train; where the configuration asks for it, retry after a non-finite loss or a lack of memory.

        Args:
            fit: takes the steps; with other ranks, that of engine/followers.py.
            first: takes them in place of it at first.
        Errors: MachineError.
        """
        attempts = itertools.chain([first or fit], itertools.repeat(fit))
        while True:
            try:
                outcome = next(attempts)(self.run, self.recorder, self.console, self.save)
            except Exception as error:
                if not out_of_memory(error):
                    raise
                outcome = None  # outside the handler the failed step's tensors are free
            if outcome is None:
                self.halve_batch()
            elif outcome.status is not Status.DIVERGED or not self.roll_back(outcome.nonfinite_step):
                break
        if outcome.skipped and outcome.status is not Status.INTERRUPTED:
            self.note(f"{outcome.skipped:,} steps were skipped: their loss or gradient was not finite (NaN or Inf)")
        return outcome

    def halve_batch(self) -> None:
        """Continue from the newest checkpoint with smaller batches.

        Errors: MachineError where nobody asked for that.
        """
        if self.cfg.on_oom != "halve":
            raise recovery.does_not_fit(self.run)
        before, self.cfg = self.run.batch_size, recovery.halved(self.cfg, self.run)
        self.run = None  # its memory is needed
        self.run = self.build(self.cfg)
        state, _ = recovery.newest_state(self.directory, self.run.device)
        restore(self.run, self.recorder, self.checkpoints, state)
        self.recorder.record_config(*self.texts, step=self.run.progress.step)
        smaller = f"batch_size={self.cfg.batch_size} accumulate={self.cfg.accumulate}, which makes the same steps"
        after = f"continuing after step {state['step']:,} with {smaller}"
        self.note(f"batch_size={before} does not fit into memory; {after}")

    def roll_back(self, nonfinite_step: int) -> bool:
        """Return to a checkpoint before a non-finite loss, with a lower learning rate; False where it cannot.

        Every rollback goes behind the one before. The restored state is written anew with its lower rate, so that a run
        that is killed now resumes on this branch.
        """
        rollbacks = self.run.progress.rollbacks[:]
        if self.cfg.on_nan != "rollback" or len(rollbacks) == MAX_ROLLBACKS:
            return False
        state, _ = recovery.newest_state(self.directory, self.run.device, before=min([nonfinite_step, *rollbacks[-1:]]))
        if state is None:
            return False
        rates = [group["base_lr"] * SLOWER for group in self.run.optimizer.param_groups]
        restore(self.run, self.recorder, self.checkpoints, state, discard=True)
        self.recorder.record_config(*self.texts, step=self.run.progress.step)
        for group, rate in zip(self.run.optimizer.param_groups, rates):
            group["base_lr"] = rate
        self.run.progress.rollbacks[:] = [*rollbacks, state["step"]]
        is_best = checkpoint.best_step(state) == state["step"]
        self.note(
            f"the loss was not finite (NaN or Inf) at step {nonfinite_step:,}; rolled back to step {state['step']:,}, "
            f"continuing with optimizer.lr={common_rate(self.run.optimizer, 'base_lr'):.4g}"
        )
        self.save(self.run.clock.at(state["step"]), state["weights"], is_best)
        return True

    def note(self, line: str) -> None:
        """Print a note, and keep it for the summary, once."""
        if line not in self.notes:
            self.notes.append(line)
        self.console.print(f"note: {line}")

    def nonfinite_layer(self, outcome: Outcome) -> str:
        """Return where the loss of a diverged run became non-finite, in words; empty for any other."""
        if outcome.status is not Status.DIVERGED:
            return ""
        with self.console.status("looking for the layer where the loss became NaN or Inf"):
            return recovery.name_nonfinite_layer(lambda: self.build(self.cfg), self.directory, outcome.nonfinite_step)
