"""task=export: write finished runs as files that run without this program, and compare them with their models."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from trainer.base import device
from trainer.base.atomic import atomic_write
from trainer.base.checks import require, require_one_of
from trainer.base.errors import CheckFailed, ConfigError, DataError, UserError
from trainer.base.paths import expanded
from trainer.base.text import as_command, from_here, printable
from trainer.config import keys
from trainer.config.hydra_context import Invocation
from trainer.engine.build import load_data
from trainer.export import samples as sources
from trainer.export import speed
from trainer.export.equality import LIMIT, compare
from trainer.export.formats import FORMATS, Subject, require_installed
from trainer.export.graph import Graph, as_type, make_graph, plain, signature_of
from trainer.export.model_card import Card
from trainer.export.record import Record
from trainer.export.samples import Samples
from trainer.inference.load import load
from trainer.inference.model import TrainedModel
from trainer.rundir import curves_plot, reader
from trainer.rundir import directory as rundir
from trainer.rundir.console import Console
from trainer.rundir.saved_options import flat
from trainer.rundir.title import title_of_files
from trainer.task.evaluate import merged, require_evaluation_keys
from trainer.task.finished_runs import has_model, run_directories

UNUSED = (  # keys of an evaluation
    "tta",
    "norm.fuse",
    "precision",
    "compile",
    "channels_last",
    "eval_batch_size",
    "residency",
    "workers",
)
CARD, RECORD, CURVES = "MODEL.md", "export.json", "curves.png"


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write the best weights of `runs=[DIR,...]` as a file, and compare its answers with those of the loaded model.

    The graph of a pt2 or an ONNX file takes raw samples, in batches of any size, and gives probabilities, or values in
    the target's own unit. Beside the file: export.json with the comparison, MODEL.md with the model card, curves.png.

    Args:
        format: pt2 (torch.export), onnx, or safetensors (the weights with their description, no graph).
        input_type: of images: uint8 (0 to 255), float32 (0 to 1), or auto for what the training images were.
        opset: of ONNX; auto for the newest that torch writes by itself.
        samples: file or folder with samples for the comparison; null for those of the data set.
        folder: new folder for the files; null for a directory of the task's own.
    Errors: ConfigError.
    """

    format: str = "pt2"
    input_type: str = "auto"
    opset: int | str = "auto"
    samples: str | None = None
    folder: str | None = None

    def __post_init__(self) -> None:
        require_one_of(*FORMATS, format=self.format)
        require_one_of("auto", "uint8", "float32", input_type=self.input_type)
        if self.opset != "auto":
            require(">= 7", opset=self.opset)

    def execute(self, cfg: DictConfig, invocation: Invocation) -> None:
        """Export each run. Errors: UserError; CheckFailed where a file's answers are not its model's."""
        require_evaluation_keys(invocation, without=UNUSED)
        self.require_settings(cfg)
        console = Console()
        places = [*run_directories(cfg.runs, console, has_model)]
        device.use_threads(cfg.threads)
        failures: list[UserError] = []
        for place in places:
            try:
                self.export(place, cfg, invocation, console, several=len(places) > 1)
            except (ConfigError, DataError, CheckFailed) as error:
                if len(places) == 1:
                    raise
                failures.append(error)
                console.print(f"warning: {error}")
        if failures:
            raise type(failures[0])(f"{len(failures)} of {len(places)} exports failed, with the warnings above")

    def require_settings(self, cfg: DictConfig) -> None:
        """Check what was typed, before anything is read. Errors: ConfigError."""
        if not cfg.runs:
            raise ConfigError("runs=[]: task=export needs a run; write runs=[outputs/DATE/TIME-NAME]")
        if cfg.device not in ("auto", "cpu"):
            what = "task=export writes and compares files on the CPU, and they run anywhere"
            raise ConfigError(f"device={cfg.device}: {what}; leave it out")
        if self.opset != "auto" and self.format != "onnx":
            raise ConfigError(f"task.opset={self.opset}: format={self.format} has none; it is for format=onnx")
        if self.input_type != "auto" and not FORMATS[self.format].has_graph:
            what = f"format={self.format} has no graph, and its model takes both types"
            raise ConfigError(f"task.input_type={self.input_type}: {what}; leave it out")
        if self.folder is not None:
            require_new(expanded(self.folder))
        require_installed(self.format)

    def export(
        self, place: Path, cfg: DictConfig, invocation: Invocation, console: Console, several: bool = False
    ) -> None:
        """Export a run, and compare the file with its model. Errors: UserError.

        Args:
            several: whether this is one of several runs, each with a folder of its own.
        """
        kind, named = FORMATS[self.format], f"format={self.format}"
        with console.status("loading the model"):
            loaded = load(place, device="cpu", allow=invocation.allow)
            model = plain(loaded)
            signature = signature_of(model, self.input_type)
            found = self.find_samples(place, model, cfg, invocation)
            samples = as_type(found.tensor, signature.dtype)
        with console.status(f"making {kind.file}"):
            graph, notes = make_graph(model, samples) if kind.has_graph else (Graph(model, model.module), [])
            opset = None if self.opset == "auto" else self.opset
            subject = Subject(model=model, graph=graph, signature=signature, named=named, opset=opset)
            write = kind.make(subject)
        notes += [*(left_out(loaded) if kind.has_graph else []), *filter(None, [loaded.note])]
        directory = self.create(place, cfg, invocation, several)
        path = directory / kind.file
        written(directory, kind.file, lambda: write(path))
        with console.status(f"comparing {kind.file} with the model"):
            exported = kind.open(path, invocation.allow)
            equality = compare(exported, model, samples, found.source)
            times = speed.measure(model, exported, samples)
        record = Record(
            run=printable(place),
            format=self.format,
            file=kind.file,
            size=sum(file.stat().st_size for file in directory.glob(f"{kind.file}*")),
            has_graph=kind.has_graph,
            input=signature.input,
            dtype=signature.dtype_name,
            output=signature.output,
            shape=signature.shape,
            columns=signature.columns,
            facts=kind.facts(path),
            notes=notes,
            equality=equality,
            speed=times,
            machine=speed.machine(),
            command=as_command("train", *invocation.overrides),
            versions=rundir.versions(),
        )
        write_about(directory, place, model, record, found)
        for line in record.lines():
            console.print(line)
        console.print(f"saved {from_here(path)}, with {CARD} and {RECORD}")
        if not equality.holds:
            what = f"the file's answers differ from the model's by {equality.in_words}, rounding is {LIMIT:.0e}"
            raise CheckFailed(f"{named}: {what} at most; {from_here(directory / RECORD)} has the numbers")

    def find_samples(self, place: Path, model: TrainedModel, cfg: DictConfig, invocation: Invocation) -> Samples:
        """Return samples for the comparison: those that are typed, else of the run's data set, else made-up ones.

        Errors: DataError for typed ones that cannot be read.
        """
        if self.samples is not None:
            return sources.from_path(self.samples, model)
        if not place.is_dir():
            return sources.made_up(model, "a file of weights does not say where its data set is")
        try:
            data = load_data(merged(place, cfg, invocation), invocation)
            return sources.from_data(data, model)
        except UserError as error:
            return sources.made_up(model, f"the data set of the run cannot be read: {error}")

    def create(self, place: Path, cfg: DictConfig, invocation: Invocation, several: bool) -> Path:
        """Create the folder of an export. Errors: ConfigError where it is there, MachineError."""
        if self.folder is None:
            return rundir.create_with_config(cfg, invocation)
        folder = expanded(self.folder)
        asked = ("task.folder", folder)
        if several:
            return rundir.make_unique(folder, place.resolve().name, asked)
        require_new(folder)
        return folder if os.path.isdir(folder) else rundir.make_unique(folder.parent, folder.name, asked)


def require_new(folder: Path) -> None:
    """Check that a folder is not there, or empty. Errors: ConfigError."""
    if os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        what = "is not empty" if folder.is_dir() else "is a file"
        raise ConfigError(f"task.folder={printable(folder)}: {what}; an export overwrites nothing, name a new folder")


def left_out(model: TrainedModel) -> list[str]:
    """Return what a run's evaluation has and a graph has not, in words."""
    choice, notes = model.description.choices.get("tta"), []
    if choice not in (None, "none"):
        notes.append(f"tta={choice} is left out: the file has the plain model")
    if model.description.config.get("precision", "fp32") != "fp32":
        notes.append(f"precision={model.description.config['precision']} is left out: the file computes in fp32")
    return notes


def write_about(directory: Path, place: Path, model: TrainedModel, record: Record, found: Samples) -> None:
    """Write export.json, the curves and the model card. Errors: MachineError."""
    written(directory, RECORD, lambda: atomic_write(directory / RECORD, record.as_json()))
    rows = [*reader.read_rows(place)] if place.is_dir() else []
    summary = reader.read_summary(place) if place.is_dir() else {}
    if rows:
        written(directory, CURVES, lambda: curves_plot.draw_run(directory, rows, summary, title_of_files(place)))
    card = Card(
        model=model,
        record=record,
        summary=summary,
        source=source_of(place),
        by_class=found.by_class,
        has_curves=bool(rows),
    )
    written(directory, CARD, lambda: atomic_write(directory / CARD, card.text().encode()))


def source_of(place: Path) -> str:
    """Return the name of the file or the folder that a run's data are from; empty where it has none."""
    config = reader.read_mapping(place / "config.yaml") if place.is_dir() else {}
    paths = [value for key, value in flat(config) if keys.is_location(key) and isinstance(value, str)]
    return Path(paths[0]).name if paths else ""


def written(directory: Path, name: str, write: Callable[[], None]) -> None:
    """Write a file. Errors: MachineError where the disk does not take it."""
    try:
        write()
    except OSError as error:
        raise rundir.cannot_be_written(directory, error, name) from None
