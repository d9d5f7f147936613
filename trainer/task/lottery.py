"""task=lottery: look for lottery tickets in a network."""

from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from trainer.base.checks import require
from trainer.base.clock import parse_length
from trainer.base.errors import CheckFailed, ConfigError
from trainer.base.metrics import score_of
from trainer.base.text import counted, from_here
from trainer.comparison.table import as_rich
from trainer.config import schema
from trainer.config.hydra_context import Invocation
from trainer.engine.build import build_run
from trainer.engine.run import Run
from trainer.engine.split_report import held_out_split
from trainer.lottery.masks import SCOPES
from trainer.lottery.procedure import Lottery as Procedure
from trainer.lottery.result import NAMES, Result
from trainer.rundir import directory as rundir
from trainer.rundir import reader, resume
from trainer.rundir.console import Console
from trainer.rundir.title import title_of
from trainer.sweep.devices import shut_down_workers
from trainer.task.execution import job

FIXED = ("fraction", "head", "scope", "rewind")  # keys that a resumed experiment keeps


@dataclass(frozen=True, kw_only=True)
class Lottery:
    """Train, prune the smallest weights, rewind the others to where they began, train again: round after round.

    Beside each ticket trains a random ticket: the same mask with fresh weights. Biases and norms are not pruned.
    Everything is in a directory of its own: lottery.md, .csv, .json and .png, and all runs. resume=DIR resumes an
    interrupted experiment, or adds rounds, and keeps the runs that have finished.

    Args:
        rounds: of pruning, >= 1.
        fraction: of the weights left, that a round prunes, in (0, 1). Paper: 0.2.
        head: factor on it for the output layer, in [0, 1]. Paper: 0.5.
        scope: `layer`, the smallest weights of each layer; `global`, those of all layers of one rate together.
        rewind: step whose weights the tickets begin with, a number of steps or a length. Paper: 0; of 2020: early.
        seeds: runs of each network, >= 1; the first has the seed of the command.
    Errors: ValueError. Source: arXiv:1803.03635, section 2; rewinding: arXiv:1912.05671. Differs from the papers: a
    rewound ticket trains for the whole length of the run, with its whole schedule, from its early weights.
    """

    rounds: int = 8
    fraction: float = 0.4
    head: float = 0.5
    scope: str = "layer"
    rewind: int | str = 0
    seeds: int = 1

    def __post_init__(self) -> None:
        require(">= 1", rounds=self.rounds, seeds=self.seeds)
        require("in (0, 1)", fraction=self.fraction)
        require("in [0, 1]", head=self.head)
        if self.scope not in SCOPES:
            raise ValueError(f"scope must be one of {', '.join(SCOPES)}, got {self.scope}")
        if isinstance(self.rewind, str):
            parse_length(self.rewind)
        else:
            require(">= 0", rewind=self.rewind)

    def execute(self, cfg: DictConfig, invocation: Invocation) -> None:
        """Train all networks, print the table and write the files. Errors: UserError, before anything is written."""
        console = Console()
        directory = Path(cfg.resume.run) if cfg.resume.run else None
        if directory:
            self.require_same(directory, cfg, invocation)
        with console.status("preparing the run"):
            run = build_run(cfg, invocation)
        step = self.step(run)
        split = held_out_split(run)
        if split is None:
            raise ConfigError("task=lottery: scores need a test or a validation split, and the data have neither")
        if run.stages:
            raise ConfigError(
                f"{invocation.describe('pretrain')}: task=lottery trains from fresh weights; leave it out"
            )
        for note in run.data.notes:
            console.print(f"note: {note}")
        directory = directory or rundir.create_with_config(cfg, invocation)
        metric, samples = score_of(run.data.task), len(getattr(run, split))
        result = Result(metric=metric, split=split, samples=samples, title=title_of(invocation))
        runs = (1 + 2 * self.rounds) * self.seeds
        with rundir.lock(directory):
            console.print(f"lottery of {counted('round', self.rounds)}: {counted('run', runs)} of epochs={cfg.epochs}")
            procedure = Procedure(
                run=run,
                cfg=cfg,
                invocation=invocation,
                directory=directory,
                rounds=self.rounds,
                fraction=self.fraction,
                head=self.head,
                scope=self.scope,
                rewind=step,
                seeds=range(cfg.seed, cfg.seed + self.seeds),
                job=job,
                result=result,
                console=console,
            )
            try:
                procedure.execute()
                result.write(directory)
            except CheckFailed:
                raise
            except OSError as error:
                raise rundir.cannot_be_written(directory, error, "the experiment") from None
            except BaseException:
                again = resume.command_to_resume(directory, invocation)
                console.print(f"the experiment did not finish; to go on: {again}")
                raise
            finally:
                shut_down_workers()
        report(result, directory, console)

    def step(self, run: Run) -> int:
        """Return the step to rewind to. Errors: ConfigError where the run is not that long."""
        if not run.clock.total_steps:
            raise ConfigError("epochs=0: a lottery trains; write epochs=N, the length of each run")
        step = run.clock.steps(self.rewind) if isinstance(self.rewind, str) else self.rewind
        if step >= run.clock.total_steps:
            what = f"is step {step:,}, and a run has {run.clock.total_steps:,}"
            raise ConfigError(f"task.rewind={self.rewind}: {what}; rewind to one of its first steps")
        return step

    def require_same(self, directory: Path, cfg: DictConfig, invocation: Invocation) -> None:
        """Check that a resumed experiment prunes as it was begun. Errors: ConfigError, DataError."""
        known = schema.rules(cfg, invocation.choices)
        resume.require_allowed(resume.changes(directory, cfg, known), cfg.resume.allow)
        before = reader.read_config(directory).get("task")
        for key in FIXED:
            if isinstance(before, dict) and before.get(key) != getattr(self, key):
                what = f"this experiment was begun with {before.get(key)}"
                raise ConfigError(f"task.{key}={getattr(self, key)}: {what}; leave it out, or start a new one")


def report(result: Result, directory: Path, console: Console) -> None:
    """Print the table and where the files are."""
    console.print(f"\n{result.heading}:")
    console.print(as_rich(result.table(), left=0, bold=(), folding=()))
    console.print(result.verdict)
    console.print(f"\nThe experiment is in {from_here(directory)}: {', '.join(NAMES)}")
