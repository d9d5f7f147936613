"""Evaluation of a finished run on other data than its own: one split, which the model has never seen."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from trainer.base.accumulator import MetricAccumulator
from trainer.base.errors import DataError
from trainer.base.paths import expanded
from trainer.base.rng import derive, seed_default
from trainer.base.text import counted, printable
from trainer.config import keys
from trainer.config.hydra_context import Invocation
from trainer.config.instantiate import factory
from trainer.data.csv import Csv
from trainer.data.image_folder import ImageFolder
from trainer.data.splits import SplitByFraction, Splits
from trainer.engine.build import load_data
from trainer.engine.fuse import fuse
from trainer.inference.labelled import (
    SPLITS,
    Given,
    Labelled,
    labelled_in,
    labelled_in_folder,
    labelled_in_table,
)
from trainer.inference.load import load
from trainer.inference.model import TrainedModel
from trainer.inference.sources import Item
from trainer.report.collector import Collector
from trainer.report.report import Report, Subject, make_report
from trainer.report.samples import Samples
from trainer.rundir.console import Console
from trainer.rundir.description import Description

NAME = "other data"
READERS = {ImageFolder: labelled_in_folder, Csv: labelled_in_table}  # without what they fit to training samples
SHOWN = 3  # inputs that could not be read


def typed_location(cfg: DictConfig, invocation: Invocation) -> tuple[str, Path] | None:
    """Return the key of the data's place with its value as it was typed, and the place; None where none was typed."""
    key = next((key for key in sorted(invocation.typed_keys) if keys.is_location(key)), None)
    if key is None:
        return None
    value = str(OmegaConf.select(cfg, key))
    return f"{key}={printable(value)}", expanded(value)


def model_of(directory: Path, cfg: DictConfig, invocation: Invocation) -> TrainedModel:
    """Return the model of a run, without its data. Errors: ConfigError, DataError."""
    typed = {key.partition(".")[0] for key in invocation.typed_keys}
    views = OmegaConf.to_container(cfg.tta, resolve=True) if "tta" in typed else None
    precision = cfg.precision if "precision" in typed else None
    return load(directory, device=cfg.device, allow=invocation.allow, tta=views, precision=precision)


def samples_at(
    place: tuple[str, Path], saved: DictConfig, described: Description, invocation: Invocation
) -> Labelled | Given:
    """Return the labelled samples at the place that was typed. Errors: DataError, ConfigError.

    Args:
        place: as of `typed_location`.
        saved: the run's configuration, with that place.
    """
    where, path = place
    data = factory(saved, "data", invocation)()
    for kind, reader in READERS.items():
        if isinstance(data, kind):
            return reader(path, where, described)
    if "task" in saved.data:
        saved.data.task = described.task  # two of its classes would be binary data
    splits: Splits = load_data(saved, invocation)
    if isinstance(data, SplitByFraction):  # which samples it holds out is of no meaning here
        return labelled_in(splits, ("train", "val", "test"), where, described)
    name = next(name for name in SPLITS if len(getattr(splits, name)))
    return replace(labelled_in(splits, (name,), where, described), note=f"{where}: its {name} split alone")


def evaluate_other_data(
    directory: Path, saved: DictConfig, cfg: DictConfig, invocation: Invocation, console: Console
) -> tuple[dict[str, float], Report]:
    """Print what the other data is, and return the scores of a run on it with the report. Errors: UserError."""
    place = typed_location(cfg, invocation)
    model = model_of(directory, cfg, invocation)
    if cfg.norm.fuse:
        example = torch.rand((2, *model.description.input_shape), device=model.device)
        model = replace(model, module=fuse(model.module, example)[0])
    samples = samples_at(place, saved, model.description, invocation)
    scores, collector = scores_on(samples, model, cfg.eval_batch_size, place[0])
    split, described = samples.split, model.description
    where = place[0]
    console.print(f"{printable(directory)} on other data than its own, {where}: {counted('sample', len(split))}")
    for line in filter(None, [model.note, *notes_on(samples, split.targets, described)]):
        console.print(f"note: {line}")
    subject = Subject(
        classes=described.classes,
        target=described.predicted,
        samples=Samples(split, described.inputs),
        title=printable(f"{directory} on other data: {where}"),
        split=NAME,
    )
    return scores, make_report(collector.predictions(described.predicted), subject)


def scores_on(
    samples: Labelled | Given, model: TrainedModel, batch_size: int, where: str
) -> tuple[dict[str, float], Collector]:
    """Return mean loss and score of a model on samples, and its predictions. Errors: DataError where there are none."""
    described = model.description
    accumulator, collector = MetricAccumulator(described.task), Collector(described.task, model.criterion)
    seed_default(model.device, derive(int(described.config.get("seed", 0)), "views"))
    for images, targets in samples.batches(batch_size):
        outputs, known = model.outputs(images), targets.to(model.device)
        losses = model.criterion(outputs, known)
        accumulator.add(losses, outputs, known)
        collector.add(losses, outputs, known)
    if accumulator.empty:
        first = next(iter(samples.problems), None)
        why = f"; the first: {printable(first.path)}: {first.sample}" if first else ""
        raise DataError(f"{where}: holds no sample that can be read{why}")
    return accumulator.compute_and_reset(), collector


def notes_on(samples: Labelled | Given, targets: torch.Tensor, described: Description) -> Sequence[str]:
    """Return what a user should know of other data: what was not read, which classes it lacks."""
    lines = [samples.note] if samples.note else []
    if count := len(samples.problems):
        shown = "; ".join(f"{place_of(item)}: {item.sample}" for item in samples.problems[:SHOWN])
        left_out = f"{'was' if count == 1 else 'were'} left out, as {shown}"
        lines.append(f"{counted('input', count)} could not be read and {left_out}")
    if described.task == "classification":
        absent = [name for name, some in zip(described.classes, targets.sum(0).tolist()) if not some]
        more = ", ..." * (len(absent) > SHOWN)
        lines += [f"it has no samples of {printable(', '.join(absent[:SHOWN]))}{more}"] if absent else []
    return lines


def place_of(item: Item) -> str:
    """Return where an input lies, in words."""
    return f"{printable(item.path)}{'' if item.row is None else f', row {item.row}'}"
