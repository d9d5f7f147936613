"""Means of settings over their seeds, as runs of their own for TensorBoard. No torch here."""

import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from trainer.base.metrics import METRICS
from trainer.comparison.ranking import MISSING, Ranking, Setting
from trainer.comparison.record import Record, number
from trainer.rundir import reader
from trainer.rundir.directory import shortened

PREFIX = "MEAN of "
NAME_LENGTH = 100
BAND = "within_std"  # group of the tags of the bounds, which a list of tags has last


def write(ranking: Ranking, folder: Path) -> None:
    """Write `MEAN of adam lr=0.1/train` and `.../val` for every setting with two complete runs, and drop older ones.

    Loss and score have the tags of a run's, so that they are on the same charts; the band of one standard deviation is
    drawn by the tab Custom Scalars. Errors: OSError.
    """
    from trainer.rundir.event_file import PREFIX as EVENTS

    for old in folder.glob(f"{PREFIX}*/*/{EVENTS}*"):
        old.unlink()
    for setting in ranking.settings:
        jobs = [job for job in setting.jobs if job.complete]
        if len(jobs) > 1:
            for split in ("train", "val"):
                write_run(folder / name_of(setting) / split, curves(jobs, split))
    for old in folder.glob(f"{PREFIX}*"):
        remove_empty(old)


def name_of(setting: Setting) -> str:
    """Return `MEAN of adam lr=0.1`, in characters that a file name may have."""
    words = shortened([f"{column}={cell}" for column, cell in setting.shown.items() if cell != MISSING])
    return PREFIX + (re.sub(r"[^\w.=+ -]+", "-", " ".join(words))[:NAME_LENGTH].strip("-") or "all seeds")


def curves(jobs: Sequence[Record], split: str) -> dict[str, dict[int, list[float]]]:
    """Return the values of each metric at each step that all runs have recorded."""
    runs = [list(reader.read_rows(job.path, split)) for job in jobs]
    found = {}
    for metric in METRICS:
        lines = [dict(points(rows, metric)) for rows in runs]
        shared = sorted(set.intersection(*map(set, lines)))
        found[metric] = {step: [line[step] for line in lines] for step in shared}
    return {metric: values for metric, values in found.items() if values}


def points(rows: Sequence[Mapping], metric: str) -> Iterator[tuple[int, float]]:
    """Yield step and value of each row with a finite value."""
    for row in rows:
        if isinstance(step := row.get("step"), int) and (value := number(row.get(metric))) is not None:
            yield step, value


def write_run(folder: Path, found: Mapping[str, Mapping[int, Sequence[float]]]) -> None:
    """Write the mean, and mean minus and plus one standard deviation of the sample. Errors: OSError."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    from trainer.rundir.event_file import EventFile

    if not found:
        return
    folder.mkdir(parents=True, exist_ok=True)
    events = EventFile(folder)
    events.add(layout(found), 0)
    for metric, by_step in found.items():
        for step, values in by_step.items():
            mean, deviation = statistics.fmean(values), statistics.stdev(values)
            band = {metric: mean, f"{BAND}/{metric}_low": mean - deviation, f"{BAND}/{metric}_high": mean + deviation}
            events.add(Summary(value=[Summary.Value(tag=tag, simple_value=y) for tag, y in band.items()]), step)
    events.close()


def layout(metrics: Mapping[str, object]):
    """Return the summary that makes the tab Custom Scalars draw a mean with its band, one chart a metric."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING
    from tensorboard.plugins.custom_scalar import layout_pb2, metadata

    margin = layout_pb2.MarginChartContent
    charts = [
        layout_pb2.Chart(
            title=metric,
            margin=margin(
                series=[margin.Series(value=metric, lower=f"{BAND}/{metric}_low", upper=f"{BAND}/{metric}_high")]
            ),
        )
        for metric in metrics
    ]
    made = layout_pb2.Layout(
        category=[layout_pb2.Category(title="mean over seeds, one standard deviation", chart=charts)]
    )
    value = Summary.Value(
        tag=metadata.CONFIG_SUMMARY_TAG,
        metadata=metadata.create_summary_metadata(),
        tensor=TensorProto(dtype=DT_STRING, string_val=[made.SerializeToString()]),
    )
    return Summary(value=[value])


def remove_empty(folder: Path) -> None:
    """Remove the folders of a mean that were left without a file; any other stays."""
    for place in (folder / "train", folder / "val", folder):
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()
