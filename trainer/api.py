"""The laboratory from Python: train a run, load its model, compare runs.

>>> from trainer import train
>>> run = train("data=iris", "model=linear", epochs=2, quiet=True)
>>> run.summary["status"], len(run.record) > 0
('finished', True)
>>> run.load().classes
('setosa', 'versicolor', 'virginica')
"""

import gc
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import torch

from trainer.base import signals
from trainer.base.device import pick
from trainer.base.errors import ConfigError
from trainer.base.interpreter import fewer_collections
from trainer.base.origin import errors_of_packages
from trainer.base.rng import preserved_generators
from trainer.cli import overrides as checking
from trainer.comparison.ranking import rank
from trainer.comparison.record import find, read
from trainer.comparison.table import csv_rows
from trainer.config import catalog, files, hydra_context, instantiate
from trainer.config.quoting import PLAIN, as_value, quote
from trainer.inference.load import load
from trainer.inference.model import TrainedModel
from trainer.rundir import reader

__all__ = ["TrainedModel", "TrainedRun", "compare", "load", "train"]


@dataclass(frozen=True, kw_only=True)
class TrainedRun:
    """A run that has ended.

    Args:
        directory: its own.
        summary: of summary.json: status, best, test, verdicts, versions, ...
        record: rows of metrics.jsonl, one for each log point and evaluation: `pandas.DataFrame(run.record)`.
        allow: packages of your own that it was trained with.
    """

    directory: Path
    summary: Mapping
    record: Sequence[Mapping]
    allow: Sequence[str] = ()

    @property
    def best(self) -> Mapping | None:
        """Step, epoch and scores of the best evaluation on the validation split; None where there was none."""
        return self.summary.get("best")

    @property
    def test(self) -> Mapping | None:
        """Scores of the best weights on the test split; None where there is none."""
        return self.summary.get("test")

    def load(self, device: str = "auto") -> TrainedModel:
        """Return the model with its best weights. Errors: DataError, MachineError."""
        return load(self.directory, device=device, allow=self.allow)

    def __repr__(self) -> str:
        scores = f", test={dict(self.test)}" if self.test else ""
        return f"TrainedRun({str(self.directory)!r}, {self.summary.get('status')}{scores})"


def train(*overrides: str, quiet: bool = False, **settings: object) -> TrainedRun:
    """Train a run, as `train KEY=VALUE ...` does in a shell, and return it. Nothing outside its directory changes.

    Args:
        overrides: KEY=VALUE as in a shell, and --config-dir=DIR.
        quiet: print nothing.
        settings: keys without a dot, as epochs=5, reg=["l2", "dropout"]; others as **{"optimizer.lr": 0.1}.
    Errors: UserError, as in a shell, of the kinds in trainer.base.errors: ConfigError (a key, a value), DataError,
        MachineError, Diverged; Interrupted.
    """
    arguments = [*map(str, overrides), *(f"{key}={as_typed(value)}" for key, value in settings.items())]
    with undisturbed(quiet):
        command = checking.check(arguments)
        if command.multirun or command.cfg is None:
            raise ConfigError("train() makes one run; call it in a loop, or sweep with train -m in a shell")
        return execute(command)


def execute(command: checking.Command) -> TrainedRun:
    """Train the run of a checked command. Errors: UserError."""
    cfg = hydra_context.without_hydra_node(command.cfg)
    invocation = hydra_context.invocation_of(command.cfg.hydra)
    if invocation.choice("task") != "train":
        raise ConfigError(
            f"{invocation.describe('task')}: train() trains; write train {invocation.describe('task')} in a shell"
        )
    files.require_existing(cfg, invocation.choices)
    with fewer_collections():
        task = instantiate.make_task(cfg, invocation)
    with preserved_generators(pick(cfg.device)), errors_of_packages(invocation.allow):
        directory, _ = task.train(cfg, invocation)
    rows, allow = [*reader.read_rows(directory)], invocation.allow
    return TrainedRun(directory=directory, summary=reader.read_summary(directory), record=rows, allow=allow)


def compare(*runs: str | Path) -> list[dict]:
    """Return the ranking of runs, best first, seeds grouped: a dict for each setting, `pandas.DataFrame(compare(...))`.

    Args:
        runs: directories of runs or of sweeps, or patterns as "outputs/*/*adam*"; none means outputs/.
    Errors: DataError where there is no run.
    """
    directories, notes = find([str(run) for run in runs or ("outputs",)])
    head, *rows = csv_rows(rank([read(directory) for directory in directories], notes))
    return [dict(zip(head, row)) for row in rows]


def as_typed(value: object) -> str:
    """Return a value of Python as an override has it; a text means what it means in a shell."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(as_typed, value))}]"
    if isinstance(value, Path):
        return as_value(value)
    text = str(value)
    return text if re.fullmatch(PLAIN, text) or text.startswith(("[", "{", "'", '"')) else quote(text)


@contextmanager
def undisturbed(quiet: bool) -> Iterator[None]:
    """Give the process back as it was: signals, own options and where they are, threads of torch, collections."""
    threads, thresholds = torch.get_num_threads(), gc.get_threshold()
    folders, places = [*catalog.extra_folders], [*sys.path]
    with ExitStack() as stack:
        if quiet:
            nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(redirect_stderr(nowhere))
        stack.enter_context(signals.raised())
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            catalog.extra_folders[:], sys.path[:] = folders, places
            gc.set_threshold(*thresholds)
