"""task=train: train a model and evaluate its best weights."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import DictConfig

from trainer.base.errors import MachineError
from trainer.base.interpreter import fewer_collections
from trainer.base.text import printable
from trainer.config import auto_rate, schema
from trainer.config.hydra_context import Invocation
from trainer.engine import decision
from trainer.engine.build import build_run
from trainer.engine.ending import errors_in_log
from trainer.engine.followers import fact, require_shareable, with_devices
from trainer.engine.run import Run
from trainer.engine.session import Session
from trainer.rundir import directory as rundir
from trainer.rundir import integrity, pictures, reader, resume
from trainer.rundir.checkpoint import Checkpoints
from trainer.rundir.console import Console
from trainer.rundir.status import Status
from trainer.rundir.title import title_of
from trainer.search.halving import pruning_rules


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train for `epochs`, evaluate the validation split every `eval_every`, and the best weights on the test split."""

    def execute(self, cfg: DictConfig, invocation: Invocation) -> float | None:
        """Return the best validation score, by which a search goes. Errors: UserError."""
        return self.train(cfg, invocation)[1]

    def train(self, cfg: DictConfig, invocation: Invocation) -> tuple[Path, float | None]:
        """Return the run's directory and its best validation score. Errors: UserError."""
        with self.begun(cfg, invocation) as begun:
            return begun.directory, begun.execute()

    @contextmanager
    def begun(self, cfg: DictConfig, invocation: Invocation, like: Run | None = None) -> Iterator["Session | Complete"]:
        """Yield a run that is built, new or resumed, in its locked directory; a complete one with nothing to resume.

        Args:
            like: a run with the same samples, which this one shares; None for samples of its own.
        Errors: UserError, those of the block, which run.log holds as well.
        """
        directory, cfg = Path(cfg.resume.run) if cfg.resume.run else None, with_devices(cfg)
        asked, decisions = auto_rate.auto_key(cfg), {}
        if directory:
            saved = reader.read_config(directory)
            cfg, decisions = auto_rate.with_measured(cfg, saved), decision.recorded(cfg, saved)
            cfg = decision.with_decisions(cfg, decisions)
        changed = resume.changes(directory, cfg, schema.rules(cfg, invocation.choices)) if directory else {}
        summary = reader.completed_summary(directory) if directory else None
        stopped_early = summary is not None and summary["status"] == Status.STOPPED  # any epochs are longer
        resume.require_allowed(changed, [*cfg.resume.allow, *(["epochs"] if stopped_early else [])])
        damaged = integrity.to_make_again(directory, summary) if summary else []
        if summary and "epochs" not in changed and not damaged:
            yield Complete(directory, summary, cfg.monitor)
            return

        def build(cfg: DictConfig, begins: bool = False) -> Run:
            run = build_run(cfg, invocation, like and like.data, begins=begins)
            stops = pruning_rules(run.monitor.name, run.clock.total_epochs, invocation)
            slots, title = replace(run.slots, stop=[*run.slots.stop, *stops]), title_of(invocation)
            shared = {"train": like.train, "val": like.val, "test": like.test} if like else {}
            decisions.update(run.decisions)  # built anew, a run has its configuration with them
            title = "" if invocation.sweep else title
            return replace(run, slots=slots, decisions={**decisions}, fit_title=title, **shared)

        console = Console(silent=invocation.sweep is not None)
        with fewer_collections(), console.status("preparing the run"):
            run = build(cfg, begins=directory is None or Checkpoints(directory).newest() is None)
            require_shareable(run, cfg, invocation)
        before, cfg = cfg, decision.with_decisions(cfg, decisions)
        if auto_rate.auto_key(cfg) is not None:
            from trainer.inspection.lr_finder import choose_rate

            with console.status("measuring the learning rate"):
                cfg = choose_rate(cfg, run, invocation)
        facts = [("rate", auto_rate.describe(cfg, asked))] if asked else []
        facts += fact(run)
        if directory is None:
            directory = rundir.create_for(cfg, invocation)
        with rundir.lock(directory), errors_in_log(directory, invocation):
            if summary and "epochs" not in changed:
                print_damage(directory, damaged)
                (directory / "summary.json").unlink(missing_ok=True)  # the run's end is done again
            decided = cfg is not before and cfg != before
            if decided and cfg.resume.run:  # a job of a sweep: decided once, however often it is begun
                rundir.write_config(directory, cfg, invocation.overrides)
            yield Session(cfg, build, run, directory, invocation, changed, facts)


@dataclass(frozen=True)
class Complete:
    """A complete run that has nothing to resume.

    Args:
        summary: of the run.
        monitor: metric of its best score.
    """

    directory: Path
    summary: dict
    monitor: str

    def execute(self) -> float | None:
        """Say so, and return the best score. Errors: MachineError."""
        return nothing_left(self.directory, self.summary, self.monitor)


def print_damage(directory: Path, names: Sequence[str]) -> None:
    """Print which files of a complete run are made again."""
    verb = "is" if len(names) == 1 else "are"
    Console().print(f"note: {printable(directory)}: {printable(', '.join(names))} {verb} damaged, and made again")


def nothing_left(directory: Path, summary: dict, monitor: str) -> float | None:
    """Print that a complete run has nothing to resume, and return its best score; damaged pictures are drawn anew.

    Errors: MachineError where it cannot be written.
    """
    if missing := pictures.missing_pictures(directory):
        print_damage(directory, missing)
        try:
            with rundir.lock(directory):
                pictures.draw_pictures(directory)
        except OSError as error:
            what = f"{printable(directory)}: {' and '.join(missing)} cannot be written ({error.strerror})"
            raise MachineError(f"{what}; free some space and repeat the command") from None
    end = f"{summary['status']} after {summary['steps']:,} steps"
    if damaged := [*integrity.damaged_files(directory, summary)]:
        what = f"{printable(', '.join(damaged))} cannot be made again without the last checkpoint of a finished run"
        Console().print(f"note: {printable(directory)}: damaged: {what}")
    Console().print(f"{directory}: already {end}; nothing to do. epochs=+N adds N epochs, epochs=+Nst N steps.")
    return reader.best_score(summary, monitor)
