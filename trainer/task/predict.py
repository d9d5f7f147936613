"""task=predict: predict new files, rows or arrays with finished runs."""

import csv
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from trainer.base.checks import require
from trainer.base.errors import ConfigError, DataError
from trainer.base.plain_files import open_plain
from trainer.base.text import as_csv_cell, counted, from_here, printable
from trainer.config.hydra_context import Invocation
from trainer.data.image_scan import with_progress_bar
from trainer.data.inputs import ImageInput, Inputs
from trainer.explanation.attribution import require_captum
from trainer.inference.explain import require_explainable
from trainer.inference.load import load
from trainer.inference.model import Ensemble
from trainer.inference.predictions import Answers, Prediction, answered
from trainer.inference.sources import count_of, items_of
from trainer.inference.tally import Tally
from trainer.rundir import directory as rundir
from trainer.rundir.console import Console
from trainer.task.evaluate import require_evaluation_keys
from trainer.task.explanations import write_explanations
from trainer.task.finished_runs import has_model, run_directories

Answered = tuple[Prediction, Tensor | None]
UNUSED = ("data.root", "data.path", "norm.fuse", "compile", "channels_last")  # keys of an evaluation


@dataclass(frozen=True, kw_only=True)
class Predict:
    """Predict `input` with the best weights of `runs=[DIR,...]`, the average of their answers where these are several.

    predictions.csv in a directory of its own has a line for each input: its path, and the row in a table or an array;
    the likeliest classes with their probabilities, or the values of a regression in the target's own unit; and why an
    input could not be read. Training data are not needed.

    With `explain`, explanations.png shows where in each of the first images the model finds its answer; of a table, it
    and explanations.csv show what each column adds to the answer.

    Args:
        input: a file, a folder with all that is in it, a pattern, a table, a .npy; - for paths on standard input.
        top: classes to list, >= 1.
        explain: explain the first predictions.
        explained: how many, >= 1.
    """

    input: str | None = None
    top: int = 5
    explain: bool = False
    explained: int = 16

    def __post_init__(self) -> None:
        require(">= 1", top=self.top, explained=self.explained)

    def execute(self, cfg: DictConfig, invocation: Invocation) -> None:
        """Predict, print and write. Errors: ConfigError, DataError, MachineError."""
        require_evaluation_keys(invocation, without=UNUSED)
        if not cfg.runs:
            raise ConfigError("runs=[]: task=predict needs a run; write runs=[outputs/DATE/TIME-NAME]")
        if self.input is None:
            raise ConfigError("task.input: task=predict needs what to predict; write input=FILE, or input=FOLDER")
        if self.explain:
            require_captum("task.explain=true")
        console = Console()
        with console.status("loading the model"):
            model = load_models(cfg, invocation, console)
        if self.explain:
            require_explainable(model)
        kind = model.description.inputs
        items, total = items_of(paths_on(self.input), kind), count_of(self.input, kind)
        started = time.perf_counter()
        found = answered(model, items, batch_size=cfg.eval_batch_size, top=self.top)
        first = next(found, None)  # before anything is written: a path that is not there, an array of other values
        if first is None:
            raise DataError(f"input={printable(self.input)}: holds nothing to predict")
        directory = rundir.create_with_config(cfg, invocation)
        tally, kept, wanted = Tally(model), [], self.explained if self.explain else 0
        with predictions_file(directory / "predictions.csv") as write:
            write(heading(model, kind, self.top))
            for prediction, sample in with_progress_bar(chained(first, found), "predicting", total):
                write(line(prediction, model, kind, self.top))
                tally.add(prediction)
                if len(kept) < wanted and sample is not None:
                    kept.append((prediction, sample))
        tally.print(console, time.perf_counter() - started, kind)
        console.print(f"saved {from_here(directory / 'predictions.csv')}")
        if tally.unreadable == tally.total:
            raise DataError(f"input={printable(self.input)}: none of {tally.total:,} inputs could be predicted")
        if kept:
            explain(directory, model, kept, console)


def explain(directory: Path, model: Answers, kept: Sequence[tuple[Prediction, Tensor]], console: Console) -> None:
    """Explain predictions, given with their samples, and say where. Errors: DataError, MachineError."""
    with console.status(f"explaining {counted('prediction', len(kept))}"):
        how, files = write_explanations(directory, model, kept)
    console.print(how)
    for name in files:
        console.print(f"saved {from_here(directory / name)}")


def load_models(cfg: DictConfig, invocation: Invocation, console: Console) -> Answers:
    """Return the model of the runs that are meant, or the average of several. Errors: ConfigError, DataError."""
    views = OmegaConf.to_container(cfg.tta, resolve=True) if is_typed("tta", invocation) else None
    precision = cfg.precision if is_typed("precision", invocation) else None
    settings = {"device": cfg.device, "allow": invocation.allow, "tta": views, "precision": precision}
    models = [load(place, **settings) for place in run_directories(cfg.runs, console, has_model)]
    for model in models:
        if model.note:
            console.print(f"note: {model.source}: {model.note}")
    return models[0] if len(models) == 1 else Ensemble(members=models)


def is_typed(group: str, invocation: Invocation) -> bool:
    """Return whether a group or a key of it was typed."""
    return any(key == group or key.startswith(f"{group}.") for key in invocation.typed_keys)


def paths_on(typed: str) -> object:
    """Return what was typed, for - the paths on standard input, a line each."""
    return (path for text in sys.stdin if (path := text.rstrip("\r\n"))) if typed == "-" else typed


def chained(first: Answered, others: Iterator[Answered]) -> Iterator[Answered]:
    """Yield a prediction, then the others."""
    yield first
    yield from others


@contextmanager
def predictions_file(path: Path) -> Iterator[object]:
    """Yield what writes a row of predictions.csv. Errors: MachineError where the disk does not take it."""
    try:
        with open(open_plain(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            yield lambda cells: writer.writerow([as_csv_cell(cell) for cell in cells])
    except OSError as error:
        raise rundir.cannot_be_written(path.parent, error, "predictions.csv") from None


def heading(model: Answers, kind: Inputs, top: int) -> list[str]:
    """Return the names of the columns of predictions.csv."""
    place = ["path"] if isinstance(kind, ImageInput) else ["path", "row"]
    if not model.classes:
        return [*place, *model.names, "problem"]
    value = "probability" if model.has_probabilities else "output"
    ranks = ["", *(f"_{rank}" for rank in range(2, ranks_of(model, top) + 1))]
    return [*place, *(f"{name}{rank}" for rank in ranks for name in ("class", value)), "problem"]


def ranks_of(model: Answers, top: int) -> int:
    """Return how many classes a line has."""
    return min(top, len(model.classes))


def line(prediction: Prediction, model: Answers, kind: Inputs, top: int) -> list[object]:
    """Return the cells of a prediction."""
    row = "" if prediction.row is None else prediction.row
    place = [prediction.path or row] if isinstance(kind, ImageInput) else [prediction.path, row]
    width = 2 * ranks_of(model, top) if model.classes else len(model.names)
    if prediction.problem:
        return [*place, *[""] * width, prediction.problem]
    cells = [cell for pair in prediction.ranked for cell in pair] if model.classes else prediction.values
    return [*place, *cells, prediction.note]
