"""task=train: train a model and score its best weights."""

from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from trainer.cli.fast_exit import fewer_collections
from trainer.config import hydra_context
from trainer.engine.build import build_run
from trainer.engine.session import Training
from trainer.rundir import directory as rundir
from trainer.rundir import resume
from trainer.rundir.console import Console


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train for `epochs`, score the validation split every `eval_every`, and the best weights on the test split at the end."""

    def run(self, cfg: DictConfig) -> float | None:
        """Returns the best validation score, which is what a search goes by. Errors: UserError."""
        directory = Path(cfg.resume.run) if cfg.resume.run else None
        changed = resume.changes(directory, cfg) if directory else {}
        resume.require_allowed(changed, cfg.resume.allow)
        if directory and "epochs" not in changed and (ended := resume.ended(directory)):
            return nothing_left(directory, ended, cfg.monitor)
        with fewer_collections():
            run = build_run(cfg)
        typed = hydra_context.overrides()
        directory = directory or rundir.create(
            Path(cfg.output), typed, hydra_context.sweep(), hydra_context.requested_directory()
        )
        with rundir.lock(directory):
            return Training(cfg, run, directory, typed, changed).do()


def nothing_left(directory: Path, summary: dict, monitor: str) -> float | None:
    """A finished run has nothing to resume."""
    Console().say(
        f"{directory}: {summary['status']} already after {summary['steps']:,} updates; nothing to do. epochs=+N adds N epochs."
    )
    return resume.best_score(summary, monitor)
