"""A run's life in its directory: start or resume, train with recovery, checkpoint, and write the summary."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig
from torch import nn

from trainer.base import signals
from trainer.base.clock import Clock
from trainer.base.device import ALL_THREADS, describe, out_of_memory, use_threads
from trainer.base.errors import ConfigError, Interrupted
from trainer.base.layers import common_rate
from trainer.base.text import printable
from trainer.config.hydra_context import Invocation
from trainer.engine import recovery
from trainer.engine import summary as texts
from trainer.engine.advice import advice
from trainer.engine.describe import describe_model
from trainer.engine.ending import error_for
from trainer.engine.first_batch import first_batch
from trainer.engine.judgement import judge_run
from trainer.engine.last_files import LastFiles
from trainer.engine.loop import fit
from trainer.engine.probe import record_probe
from trainer.engine.remarks import remarks
from trainer.engine.run import Outcome, Run
from trainer.engine.setup import make_setup
from trainer.engine.split_report import evaluate_with_report, events_of, held_out_split, import_ahead, title_of
from trainer.engine.state import capture, restore
from trainer.report.report import Report
from trainer.rundir import checkpoint, reader
from trainer.rundir import directory as rundir
from trainer.rundir.checkpoint import Checkpoints
from trainer.rundir.console import Console
from trainer.rundir.recorder import Recorder
from trainer.rundir.resume import require_same
from trainer.rundir.status import COMPLETE, Status

MAX_ROLLBACKS = 3  # a run that diverges again has diverged
SLOWER = 0.5  # the learning rate after a rollback, of the one before


class Session:
    """One run in a directory that is locked for this process.

    Args:
        build: makes the run from a configuration, for a smaller batch and for finding a non-finite layer.
        run: the run that was built.
        changed: keys of the configuration with other values than the resumed run had, with both values.
        facts: name and value of what else the table at the start tells.
    """

    def __init__(
        self,
        cfg: DictConfig,
        build: Callable[[DictConfig], Run],
        run: Run,
        directory: Path,
        invocation: Invocation,
        changed: dict,
        facts: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.cfg, self.build, self.run, self.directory, self.invocation = cfg, build, run, directory, invocation
        self.best: nn.Module | None = None
        self.report: Report | None = None
        self._warned = False
        self._config = rundir.saved_config(cfg)  # with the batch size that was asked for
        self._texts = rundir.saved_texts(self._config, invocation.overrides)
        self.description = describe_model(run, cfg, invocation)
        if not cfg.resume.run:
            rundir.write_texts(directory, *self._texts)
        state, skipped = recovery.newest_state(directory, run.device) if cfg.resume.run else (None, [])
        self.notes = [*dict.fromkeys(reader.notes_of(state or {}) + reader.notes_of(reader.read_summary(directory)))]
        if state and cfg.threads == "auto":
            use_threads(min(before := state.get("threads", ALL_THREADS), ALL_THREADS))
            if before > ALL_THREADS:
                skipped.append(f"threads was {before}, this machine has {ALL_THREADS}; {texts.OTHER_THREADS}")
        begun = (directory / "run.log").exists()
        self.console = Console(directory / "run.log", silent=invocation.sweep is not None)
        self.console.print_settings(texts.settings_table(cfg, invocation), [*texts.facts(run), *facts])
        self.setup = make_setup(cfg, run, invocation)
        told = [*advice(self.setup), *remarks(self.setup)] if self.setup else []
        for line in (*skipped, *run.data.notes, *told):
            self.note(line)
        self.recorder = Recorder(directory, run.data.task, self.console.print)
        self.checkpoints = Checkpoints(directory)
        if state:
            self._resume(state, changed)
        elif begun:
            self.recorder.restart()
            self.console.print(f"note: {printable(directory)}: no checkpoint to resume from; the run starts anew")
        if begun:
            rundir.write_texts(directory, *self._texts)
        self.console.log_only(texts.decay_lists(run.model))
        self.recorder.record_config(*self._texts, step=self.run.progress.step)
        if not state:
            if (picture := first_batch(run)) is not None:
                self.recorder.record_first_batch(picture)
            if cfg.on_nan == "rollback" or cfg.on_oom == "halve" or run.progress.start:
                self.save(run.clock.at(0), None, False)  # a state to return to

    def _resume(self, state: dict, changed: dict) -> None:
        clock = self.run.clock
        if state["step"] > clock.total_steps:
            done = f"{state['step'] / clock.steps_per_epoch:g} epochs ({state['step']} steps)"
            how = "epochs=+N adds N epochs, epochs=+Nst N steps"
            raise ConfigError(f"epochs={self.cfg.epochs}: the run has already done {done}; {how}")
        require_same(state, self._config, [*changed, *self.cfg.resume.allow])
        restore(self.run, self.recorder, self.checkpoints, state, changed=changed)
        if (lost := checkpoint.best_step(state)) is not None and self.run.progress.best is None:
            self.forget_best(f"the checkpoint of the best evaluation, after step {lost:,}, is damaged or missing")
        line = texts.resumed(self.run, changed)
        self.console.print(line)
        if changed:
            self.notes.append(line)  # its settings are those of the last part alone
        if reader.completed_summary(self.directory):
            self.run.progress.begin_extension()
            self.save(clock.at(state["step"]), state["weights"], False)
            (self.directory / "summary.json").unlink()  # it is of the run's first part

    def execute(self) -> float | None:
        """Train and evaluate; return the best validation score. Errors: UserError."""
        summary = {
            "status": Status.FAILED,
            "seed": self.cfg.seed,
            "device": describe(self.run.device),
            "versions": rundir.versions(),
            "notes": self.notes,
        }
        try:
            if self.invocation.sweep is None:
                import_ahead(self.run)
            outcome = self.fit_with_recovery()
            summary |= self.results(outcome)
            layer = self.nonfinite_layer(outcome)
            with self.console.status("looking for what is wrong"):
                setup = self.setup and replace(self.setup, run=self.run, cfg=self.cfg)
                judgement = judge_run(setup, self.recorder.rows, outcome, summary, layer)
            summary["verdicts"] = judgement.as_dicts()
            error = error_for(outcome, layer, judgement.cause, self.cfg.on_nan)
            settings = texts.hparams(self.cfg, self.run, self.invocation)
            columns = texts.hparams_columns(self.directory, self.invocation.overrides)
            scores, complete = texts.hparams_metrics(summary), outcome.status in COMPLETE
            events = events_of(self.report) if self.report and self.report.files else ()
            self.recorder.record_results(settings, columns, scores, complete, judgement.as_markdown(), events)
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(signals.cause_of(error), KeyboardInterrupt | Interrupted):
                summary["status"] = Status.INTERRUPTED
            raise
        finally:
            files = self.report.files if self.report else {}
            unwritten = self.last_files().write(summary, self.best, self.run.progress.probes, files)
        texts.print_summary(self.console, summary, self.run, self.directory, judgement.as_lines(), self.report)
        if error or unwritten:
            raise error or unwritten
        return (summary["best"] or {}).get(self.run.monitor.name)

    def save(self, now: Clock, evaluated: dict | None, best: bool) -> None:
        """Write a checkpoint; a full disk or memory gives one warning and ends nothing."""
        try:
            described = self.description.to_state()
            state = capture(self.run, self.recorder, now, evaluated, self._config, self.notes, described)
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

    def forget_best(self, why: str) -> None:
        """Let the best evaluation be one of those to come: the weights of the present one are lost."""
        self.run.progress.best = None
        self.note(f"{why}; the best is that of the evaluations from here on, or the last weights")

    def fit_with_recovery(self) -> Outcome:
        """Train; where the configuration asks for it, retry after a non-finite loss or a lack of memory.

        Errors: MachineError.
        """
        while True:
            try:
                outcome = fit(self.run, self.recorder, self.console, self.save)
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
        self.recorder.record_config(*self._texts, step=self.run.progress.step)
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
        self.recorder.record_config(*self._texts, step=self.run.progress.step)
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

    def results(self, outcome: Outcome) -> dict:
        """Save the last weights, evaluate the best ones on the test split, and return the figures of the summary."""
        run, progress, split = self.run, self.run.progress, held_out_split(self.run)
        test = None
        if outcome.status is not Status.INTERRUPTED and progress.step:
            record_probe(run)
        if outcome.status in COMPLETE:
            with self.console.status("saving the last weights"):
                with run.evaluation_model() as model:
                    last = {name: value.clone() for name, value in model.state_dict().items()}
                self.save(outcome.now, last, False)
                signals.raise_received()  # a signal behind the last step
                self.best = copy.deepcopy(run.model)
                best = progress.best
                self.best.load_state_dict(self.checkpoints.weights_of(best["step"], run.device) if best else last)
            if split:
                with self.console.status(f"evaluating the {split} split"):
                    title, whole = title_of(self.invocation), self.invocation.sweep is None
                    scores, self.report, failure = evaluate_with_report(run, self.best, split, title, whole)
                if failure:
                    self.note(f"no report on the {split} split ({failure})")
                if split == "test":
                    test = scores
                    self.recorder.record_evaluation(split, outcome.now, test)
        said = {"notes": self.notes, "stopped": texts.why_stopped(run), "report": self.report and self.report.figures}
        return {**texts.figures_of(run, self.recorder, outcome, test, self.best), **said}

    def last_files(self) -> LastFiles:
        """Return what writes the files of the run's end."""
        parts = self.recorder, self.console, self.checkpoints, self.invocation, self.description
        return LastFiles(self.directory, *parts)
