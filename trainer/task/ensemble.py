"""task=ensemble: average the predictions of finished runs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from trainer.base.checks import require
from trainer.base.classes import class_scores, labels_of
from trainer.base.errors import ConfigError, DataError
from trainer.base.protocols import HasProbabilities
from trainer.base.text import counted, from_here, printable
from trainer.comparison.table import as_rich, relative
from trainer.config.hydra_context import Invocation
from trainer.engine.run import Run
from trainer.engine.split_report import output_names, splits_of
from trainer.engine.summary import digest
from trainer.engine.trained import read_weights
from trainer.ensemble import files
from trainer.ensemble.members import SPLITS, Answers, Member, common_folder, require_alike
from trainer.ensemble.result import Result, ensemble_of
from trainer.rundir import directory as rundir
from trainer.rundir import reader, snapshots
from trainer.rundir.console import Console
from trainer.task.evaluate import Rebuilt, rebuild, require_evaluation_keys
from trainer.task.finished_runs import run_directories

SELECTIONS, FIGURES, MEMBERS = ("all", "greedy"), ("loss", "score"), ("auto", "runs", snapshots.FOLDER)
UNUSED = ("norm.fuse", "compile")  # keys of an evaluation


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Average the probabilities of the runs of `runs=[DIR,...]`, of a regression their values, on the test split.

    Names and patterns are those of task=compare. Of a single run with snapshots/ the members are its snapshots. The
    table has every member, their mean, the ensemble, and the gain with its standard error, paired over the samples.
    ensemble.md, ensemble.json, ensemble.png and all predictions are in a directory of their own.

    Args:
        select: all members, or those that greedy forward selection with replacement picks on the validation split.
        by: the loss or the score by which they are picked.
        picks: how many at most, >= 1.
        members: runs with their best weights, or snapshots of the runs; auto for those of a single run that has some.
    Errors: ValueError. Source: Breiman, 1996; greedy: Caruana et al., 2004; snapshots: Huang et al., 2017,
    arXiv:1704.00109.
    """

    select: str = "all"
    by: str = "loss"
    picks: int = 20
    members: str = "auto"

    def __post_init__(self) -> None:
        for key, known in (("select", SELECTIONS), ("by", FIGURES), ("members", MEMBERS)):
            if getattr(self, key) not in known:
                raise ValueError(f"{key} must be one of {', '.join(known)}, got {getattr(self, key)}")
        require(">= 1", picks=self.picks)

    def execute(self, cfg: DictConfig, invocation: Invocation) -> float:
        """Print the table, write the files, and return the ensemble's score. Errors: UserError, before writing."""
        require_evaluation_keys(invocation, without=UNUSED)
        if not cfg.runs:
            raise ConfigError("runs=[]: task=ensemble needs runs; write runs=[outputs/sweeps/DATE/TIME]")
        console = Console()
        members = []
        for directory, weights in self.places(cfg, console):
            with console.status(f"evaluating {relative(directory)}"):
                members += members_of(rebuilt(directory, cfg, invocation, console), weights)
        if len(members) < 2:
            alone = f"runs=[{relative(Path(members[0].source))}]"
            raise ConfigError(f"{alone}: one model is no ensemble; name several runs, or one with snapshots of its own")
        require_alike(members)
        split = next((split for split in reversed(SPLITS) if split in members[0].answers), None)
        if split is None:
            raise DataError("the runs have neither a test nor a validation split; an ensemble is scored on one of them")
        if self.select == "greedy" and "val" not in members[0].answers:
            what = "members are selected on the validation split, which these runs do not have"
            raise ConfigError(f"task.select=greedy: {what}; write task.select=all")
        result = ensemble_of(members, split, self.select == "greedy", self.by, self.picks)
        report(result, console)
        folder = rundir.create_with_config(cfg, invocation)
        try:
            files.write(result, folder, title_of(members, split))
        except OSError as error:
            raise rundir.cannot_be_written(folder, error, "the ensemble") from None
        console.print(f"\nThe ensemble is in {from_here(folder)}: {', '.join(files.NAMES)}")
        return result.mean_scores(result.ensemble)[1]

    def places(self, cfg: DictConfig, console: Console) -> list[tuple[Path, Sequence[Path]]]:
        """Return the runs, each with the files of its snapshots that are members; none for its best weights.

        Errors: ConfigError, DataError.
        """
        complete = []
        for directory in run_directories(cfg.runs, console):
            if reader.completed_summary(directory) is not None:
                complete.append(directory)
                continue
            name = relative(directory)
            if len(cfg.runs) == 1 and directory.resolve() == Path(cfg.runs[0]).resolve():
                raise DataError(f"runs=[{name}]: this run has not finished; resume it first: train resume={name}")
            console.print(f"note: {name} has not finished, and is left out")
        if not complete:
            raise DataError("none of the runs has finished; resume them first: train resume=DIR")
        kept = {directory: [*snapshots.files_in(directory / snapshots.FOLDER).values()] for directory in complete}
        if self.members == "auto":
            return [*kept.items()] if len(kept) == 1 else [(directory, ()) for directory in kept]
        if self.members == "runs":
            return [(directory, ()) for directory in kept]
        if without := [directory for directory, found in kept.items() if not found]:
            raise DataError(f"task.members={self.members}: {relative(without[0])} has none; train it to keep some")
        return [*kept.items()]


def rebuilt(directory: Path, cfg: DictConfig, invocation: Invocation, console: Console) -> Rebuilt:
    """Build a run anew, with the data that it was trained with. Errors: ConfigError, DataError."""
    loaded = rebuild(directory, cfg, invocation, console)
    if not loaded.own_data:
        raise DataError(f"runs=[{printable(directory)}]: its data are not those that it was trained with")
    return loaded


def members_of(loaded: Rebuilt, weights: Sequence[Path]) -> Iterator[Member]:
    """Yield the members that a run is: one with its best weights, or one for each file of weights. Errors: DataError.

    Args:
        weights: files of snapshots.
    """
    if not weights:
        loaded.load_weights()
        yield member(loaded.run, loaded.directory)
    for path in weights:
        try:
            found = read_weights(path, loaded.run.device)[1]
            loaded.run.model.load_state_dict(found)
        except (DataError, RuntimeError) as error:
            reason = printable(str(error).partition("\n")[0])
            raise DataError(f"{relative(path)}: cannot be used ({reason})") from None
        yield member(loaded.run, path)


def member(run: Run, source: Path) -> Member:
    """Return the member that a run with its present weights is."""
    return Member(
        source=printable(from_here(source)),
        task=run.data.task,
        names=output_names(run),
        has_probabilities=run.data.task != "regression" and isinstance(run.criterion, HasProbabilities),
        predicted=run.data.predicted,
        answers={split: answers_on(run, split) for split in SPLITS if len(splits_of(run)[split][0])},
    )


def answers_on(run: Run, split: str) -> Answers:
    """Return the answers of a run's model on a split. Errors: MachineError."""
    loader, raw = splits_of(run)[split]
    parts: list[tuple[Tensor, Tensor]] = []

    def observe(losses: Tensor, outputs: Tensor, targets: Tensor) -> None:
        if run.data.task == "regression":
            parts.append((outputs, targets))
        else:
            parts.append((class_scores(outputs, run.criterion), labels_of(targets)))

    run.evaluate(run.model, loader, run.tta, observe)
    values, true = (torch.cat(part).cpu().numpy() for part in zip(*parts))  # host sync: once a split
    true = true.astype(np.float64) if run.data.task == "regression" else true
    return Answers(values=values, true=true, samples=digest(raw))


def title_of(members: Sequence[Member], split: str) -> str:
    """Return a title: what the members have in common."""
    folder = common_folder(members)
    return f"{counted('member', len(members))}{f' in {folder}' if folder else ''}, {split} split"


def report(result: Result, console: Console) -> None:
    """Print the table and the diversity."""
    rows = result.rows()
    bold = [place - 1 for place, row in enumerate(rows) if row[0] == "ensemble"]
    console.print(f"\n{result.split.capitalize()} split, {counted('sample', len(result.scorer.true))}:")
    console.print(as_rich(rows, left=1, folding=(len(rows[0]) - 1,), bold=bold))
    console.print(result.diversity()[1])
