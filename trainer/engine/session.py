"""A run's life in its directory: start or resume, train with recovery, checkpoint, and write the summary."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig
from torch import nn
from torch.utils.tensorboard.summary import image

from trainer.base import signals
from trainer.base.cycle_protocols import HasSnapshots
from trainer.base.device import ALL_THREADS, describe, use_threads
from trainer.base.errors import ConfigError, DataError, Diverged, Interrupted
from trainer.base.text import printable
from trainer.config.hydra_context import Invocation
from trainer.engine import recovery
from trainer.engine import summary as texts
from trainer.engine.advice import advice
from trainer.engine.decision import AS_BEFORE, Decision
from trainer.engine.describe import describe_model
from trainer.engine.ending import error_for
from trainer.engine.filters import draw_filters, first_filters
from trainer.engine.first_batch import first_batch
from trainer.engine.fit_pictures import caption_of, fit_map
from trainer.engine.followers import leading
from trainer.engine.judgement import judge_run
from trainer.engine.last_files import LastFiles, Results
from trainer.engine.memory_format import set_channels_last
from trainer.engine.pretraining import has_stages, pretrain, stages_of
from trainer.engine.probe import record_probe
from trainer.engine.remarks import remarks
from trainer.engine.run import Outcome, Run
from trainer.engine.setup import make_setup
from trainer.engine.split_report import evaluate_with_report, events_of, held_out_split
from trainer.engine.state import restore
from trainer.engine.training import Fit, Training
from trainer.report.report import Report
from trainer.rundir import checkpoint, reader
from trainer.rundir import directory as rundir
from trainer.rundir.console import Console
from trainer.rundir.event_file import picture
from trainer.rundir.fit_map import FitMap
from trainer.rundir.recorder import Recorder
from trainer.rundir.resume import require_same
from trainer.rundir.status import COMPLETE, Status
from trainer.rundir.title import title_of


def with_decision(run: Run, key: str, value: object) -> Run:
    """Return a resumed run with the decision that it began with."""
    return replace(run, decisions={**run.decisions, key: Decision(str(value), AS_BEFORE)})


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
        self.cfg, self.directory, self.invocation = cfg, directory, invocation
        self.best: nn.Module | None = None
        self.report: Report | None = None
        self.fit: FitMap | None = None
        self.filters = b""  # of the best weights, as PNG
        self._config = rundir.saved_config(cfg)  # with the batch size that was asked for
        texts_of_run = rundir.saved_texts(self._config, invocation.overrides)
        self.description = describe_model(run, cfg, invocation)
        if not cfg.resume.run:
            rundir.write_texts(directory, *texts_of_run)
        state, skipped = recovery.newest_state(directory, run.device) if cfg.resume.run else (None, [])
        if cfg.resume.run and not state and reader.completed_summary(directory):
            what = "complete, but none of its checkpoints can be read: it cannot go on, and is left as it is"
            raise DataError(f"resume={printable(directory)}: {what}")
        self._fresh = state is None
        notes = [*dict.fromkeys(reader.notes_of(state or {}) + reader.notes_of(reader.read_summary(directory)))]
        if state and cfg.threads == "auto":
            use_threads(min(before := state.get("threads", ALL_THREADS), ALL_THREADS))
            run = with_decision(run, "threads", min(before, ALL_THREADS))
            if before > ALL_THREADS:
                skipped.append(f"threads was {before}, this machine has {ALL_THREADS}; {texts.OTHER_THREADS}")
        if state and cfg.channels_last == "auto" and (decided := state.get("channels_last")) in ("on", "off"):
            set_channels_last(run.model, decided == "on")
            run = with_decision(run, "channels_last", decided)
        begun = (directory / "run.log").exists()
        self.console = Console(directory / "run.log", silent=invocation.sweep is not None)
        self.console.print_settings(texts.settings_table(cfg, invocation), [*texts.facts(run), *facts])
        self.setup = make_setup(cfg, run, invocation)
        saved = {"config": self._config, "description": self.description.to_state()}
        self.training = Training(cfg, build, run, directory, self.console, notes, saved, texts_of_run)
        told = [*advice(self.setup), *remarks(self.setup)] if self.setup else []
        for line in (*skipped, *run.data.notes, *told):
            self.training.note(line)
        if state:
            self._resume(state, changed)
        elif begun:
            self._begin_anew()
        if begun:
            rundir.write_texts(directory, *texts_of_run)
        self.console.log_only(texts.decay_lists(run.model))
        self.recorder.record_config(*texts_of_run, step=self.run.progress.step)
        if not state and (shown := first_batch(run)) is not None:
            self.recorder.record_summary(image("first_batch", shown, dataformats="HWC"), 0)

    @property
    def run(self) -> Run:
        """The run; another one from where its batch did not fit into memory."""
        return self.training.run

    @property
    def recorder(self) -> Recorder:
        """The curves of the run."""
        return self.training.recorder

    @property
    def notes(self) -> list[str]:
        """Notes that the run has printed."""
        return self.training.notes

    def _begin_anew(self) -> None:
        """Let the record of a run without a checkpoint begin anew."""
        self.recorder.restart()
        if not has_stages(self.directory):
            what = "no checkpoint to resume from; the run starts anew"
            self.console.print(f"note: {printable(self.directory)}: {what}")

    def _resume(self, state: dict, changed: dict) -> None:
        clock, training = self.run.clock, self.training
        if state["step"] > clock.total_steps:
            done = f"{clock.at(state['step']).epochs:g} epochs ({state['step']} steps)"
            how = "epochs=+N adds N epochs, epochs=+Nst N steps"
            raise ConfigError(f"epochs={self.cfg.epochs}: the run has already done {done}; {how}")
        require_same(state, self._config, [*changed, *self.cfg.resume.allow])
        restore(self.run, self.recorder, training.checkpoints, state, changed=changed)
        if (lost := checkpoint.best_step(state)) is not None and self.run.progress.best is None:
            training.forget_best(f"the checkpoint of the best evaluation, after step {lost:,}, is damaged or missing")
        line = texts.resumed(self.run, changed)
        self.console.print(line)
        if changed:
            self.notes.append(line)  # its settings are those of the last part alone
        if reader.completed_summary(self.directory):
            self.run.progress.begin_extension()
            training.save(clock.at(state["step"]), state["weights"], False)
            (self.directory / "summary.json").unlink()  # it is of the run's first part

    def begin(self) -> None:
        """Pretrain a run before its first step, and save it where it may have to return there. Errors: UserError."""
        run, cfg = self.run, self.cfg
        if not self._fresh:
            return
        if run.stages:
            pretrain(self.training, self.invocation)
        if run.stages or cfg.on_nan == "rollback" or cfg.on_oom == "halve" or run.progress.start:
            self.training.save(run.clock.at(0), None, False)  # a state to return to
        self._fresh = False

    def execute(self, fit: Fit | None = None) -> float | None:
        """Train and evaluate; return the best validation score. Errors: UserError.

        Args:
            fit: what has trained the run with others, in place of its own first training.
        """
        summary = {
            "status": Status.FAILED,
            "seed": self.cfg.seed,
            "device": describe(self.run.device),
            "versions": rundir.versions(),
            "notes": self.notes,
        }
        try:
            self.begin()
            usual = leading(self.cfg, self.invocation)
            outcome = self.training.fit_with_recovery(usual, first=fit)
            summary |= self.results(outcome)
            layer = self.training.nonfinite_layer(outcome)
            with self.console.status("looking for what is wrong"):
                setup = self.setup and replace(self.setup, run=self.run, cfg=self.training.cfg)
                judgement = judge_run(setup, self.recorder.rows, outcome, summary, layer)
            summary["verdicts"] = judgement.as_dicts()
            error = error_for(outcome, layer, judgement.cause, self.cfg.on_nan)
            settings = texts.hparams(self.training.cfg, self.run, self.invocation)
            columns = texts.hparams_columns(self.directory, self.invocation.overrides)
            scores, complete = texts.hparams_metrics(summary), outcome.status in COMPLETE
            events = [*events_of(self.report)] if self.report and self.report.files else []
            events += [picture("filters", self.filters)] if self.filters else []
            self.recorder.record_results(settings, columns, scores, complete, judgement.as_markdown(), events)
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(signals.cause_of(error), KeyboardInterrupt | Interrupted):
                summary["status"] = Status.INTERRUPTED
            elif isinstance(error, Diverged):
                summary["status"] = Status.DIVERGED
            raise
        finally:
            files = self.report.files if self.report else {}
            made = {"report": files, "fit": self.fit, "filters": self.filters}
            results = Results(best=self.best, probes=self.run.progress.probes, **made)
            unwritten = self.last_files().write(summary, results)
        texts.print_summary(self.console, summary, self.run, self.directory, judgement.as_lines(), self.report)
        if error or unwritten:
            raise error or unwritten
        return (summary["best"] or {}).get(self.run.monitor.name)

    def results(self, outcome: Outcome) -> dict:
        """Save the last weights, evaluate the best ones on the test split, and return the figures of the summary."""
        run, progress, split = self.run, self.run.progress, held_out_split(self.run)
        test = None
        if outcome.status is not Status.INTERRUPTED and progress.step:
            record_probe(run)
        if outcome.status in COMPLETE:
            weights = self.training.finish(outcome)
            signals.raise_received()  # a signal behind the last step
            self.best = copy.deepcopy(run.model)
            self.best.load_state_dict(weights)
            best = progress.best or {"epoch": outcome.now.epochs}
            caption = f"best weights, {caption_of(run, self.best, best['epoch'])}"
            self.fit = fit_map(run, self.best, caption)
            kernels = first_filters(self.best) if self.invocation.sweep is None else None
            self.filters = b"" if kernels is None else draw_filters(kernels, title_of(self.invocation), caption)
            if split:
                with self.console.status(f"evaluating the {split} split"):
                    title, whole = title_of(self.invocation), self.invocation.sweep is None
                    scores, self.report, failure = evaluate_with_report(run, self.best, split, title, whole)
                if failure:
                    self.training.note(f"no report on the {split} split ({failure})")
                if split == "test":
                    test = scores
                    self.recorder.record_evaluation(split, outcome.now, test)
        said = {"pretrain": stages} if (stages := stages_of(self.directory)) else {}
        said |= {"notes": self.notes, "stopped": texts.why_stopped(run), "report": self.report and self.report.figures}
        return {**texts.figures_of(run, self.recorder, outcome, test, self.best), **said}

    def last_files(self) -> LastFiles:
        """Return what writes the files of the run's end."""
        parts = self.recorder, self.console, self.training.checkpoints, self.invocation, self.description
        averaging = self.run.averaging
        return LastFiles(self.directory, *parts, averaging.snapshots if isinstance(averaging, HasSnapshots) else {})
