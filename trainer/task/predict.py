"""task=predict: predict new files, rows or arrays with finished runs."""

import csv
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from trainer.base.checks import require
from trainer.base.errors import ConfigError, DataError
from trainer.base.plain_files import open_plain
from trainer.base.text import as_csv_cell, from_here, printable
from trainer.config.hydra_context import Invocation
from trainer.data.image_scan import with_progress_bar
from trainer.data.inputs import ImageInput, Inputs
from trainer.inference.load import load
from trainer.inference.model import Ensemble
from trainer.inference.predictions import Answers, Prediction, stream
from trainer.inference.sources import Item, count_of, items_of
from trainer.inference.tally import Tally
from trainer.rundir import directory as rundir
from trainer.rundir.console import Console
from trainer.task.evaluate import require_evaluation_keys, run_directories

UNUSED = ("data.root", "data.path", "norm.fuse", "compile")  # keys of an evaluation


@dataclass(frozen=True, kw_only=True)
class Predict:
    """Predict `input` with the best weights of `runs=[DIR,...]`, the average of their answers where these are several.

    predictions.csv in a directory of its own has a line for each input: its path, and the row in a table or an array;
    the likeliest classes with their probabilities, or the values of a regression in the target's own unit; and why an
    input could not be read. Training data are not needed.

    Args:
        input: a file, a folder with all that is in it, a pattern, a table, a .npy; - for paths on standard input.
        top: classes to list, >= 1.
    """

    input: str | None = None
    top: int = 5

    def __post_init__(self) -> None:
        require(">= 1", top=self.top)

    def execute(self, cfg: DictConfig, invocation: Invocation) -> None:
        """Predict, print and write. Errors: ConfigError, DataError, MachineError."""
        require_evaluation_keys(invocation, without=UNUSED)
        if not cfg.runs:
            raise ConfigError("runs=[]: task=predict needs a run; write runs=[outputs/DATE/TIME-NAME]")
        if self.input is None:
            raise ConfigError("task.input: task=predict needs what to predict; write input=FILE, or input=FOLDER")
        console = Console()
        with console.status("loading the model"):
            model = load_models(cfg, invocation, console)
        kind = model.description.inputs
        items, total = items_of(paths_on(self.input), kind), count_of(self.input, kind)
        first = next(items, None)  # before anything is written: a path that is not there, a table without the columns
        if first is None:
            raise DataError(f"input={printable(self.input)}: holds nothing to predict")
        directory = rundir.create_with_config(cfg, invocation)
        tally = Tally(model)
        started = time.perf_counter()
        with predictions_file(directory / "predictions.csv") as write:
            write(heading(model, kind, self.top))
            found = stream(model, chained(first, items), batch_size=cfg.eval_batch_size, top=self.top)
            for prediction in with_progress_bar(found, "predicting", total):
                write(line(prediction, model, kind, self.top))
                tally.add(prediction)
        tally.print(console, time.perf_counter() - started, kind)
        console.print(f"saved {from_here(directory / 'predictions.csv')}")
        if tally.unreadable == tally.total:
            raise DataError(f"input={printable(self.input)}: none of {tally.total:,} inputs could be predicted")


def load_models(cfg: DictConfig, invocation: Invocation, console: Console) -> Answers:
    """Return the model of the runs that are meant, or the average of several. Errors: ConfigError, DataError."""
    views = OmegaConf.to_container(cfg.tta, resolve=True) if is_typed("tta", invocation) else None
    precision = cfg.precision if is_typed("precision", invocation) else None
    settings = {"device": cfg.device, "allow": invocation.allow, "tta": views, "precision": precision}
    files = [path for path in map(str, cfg.runs) if path.endswith(".safetensors")]
    folders = [path for path in map(str, cfg.runs) if path not in files]
    places = [*files, *(run_directories(folders, console) if folders else ())]
    models = [load(place, **settings) for place in places]
    return models[0] if len(models) == 1 else Ensemble(members=models)


def is_typed(group: str, invocation: Invocation) -> bool:
    """Return whether a group or a key of it was typed."""
    return any(key == group or key.startswith(f"{group}.") for key in invocation.typed_keys)


def paths_on(typed: str) -> object:
    """Return what was typed, for - the paths on standard input, a line each."""
    return (path for text in sys.stdin if (path := text.rstrip("\r\n"))) if typed == "-" else typed


def chained(first: Item, others: Iterator[Item]) -> Iterator[Item]:
    """Yield an item, then the others."""
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
    return [*place, *cells, ""]
