"""Files of an ensemble: ensemble.md, ensemble.json, ensemble.png, and predictions.csv and .npz."""

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from trainer.base.atomic import atomic_write
from trainer.base.json_text import as_json
from trainer.base.text import as_csv_cell, counted, markdown_table
from trainer.ensemble import figure
from trainer.ensemble.members import SPLITS, stacked
from trainer.ensemble.result import Result, averaged
from trainer.report.collector import in_own_unit

NAMES = ("ensemble.md", "ensemble.json", "ensemble.png", "predictions.csv", "predictions.npz")


def write(result: Result, directory: Path, title: str) -> None:
    """Write all files into a directory. Errors: OSError."""
    writers: dict[str, Callable[[Path], None]] = {
        "ensemble.md": lambda path: atomic_write(path, markdown(result, title).encode()),
        "ensemble.json": lambda path: atomic_write(path, as_json(content_of(result))),
        "ensemble.png": lambda path: figure.draw(result, title, path),
        "predictions.csv": lambda path: atomic_write(path, as_csv(result).encode()),
        "predictions.npz": lambda path: atomic_write(path, as_arrays(result)),
    }
    for name in NAMES:
        writers[name](directory / name)


def markdown(result: Result, title: str) -> str:
    """Return ensemble.md."""
    head, *rows = result.rows()
    samples = counted("sample", len(result.scorer.true))
    lines = [f"# Ensemble: {title}", "", f"On the {result.split} split, {samples}: {result.title}.", ""]
    lines += [*markdown_table(head, rows), "", f"{result.diversity()[1].capitalize()}."]
    if result.selection:
        lines += ["", f"Members are selected by their {result.by} on the validation split, with replacement."]
    lines += ["", "![Score and loss against the number of members](ensemble.png)", ""]
    return "\n".join(lines)


def content_of(result: Result) -> dict:
    """Return what ensemble.json holds."""
    name = result.scorer.name
    loss, score = result.mean_scores(result.ensemble)
    rows = [
        {"member": member.source, "loss": own[0], name: own[1], "counts": result.chosen.get(place, 0)}
        for place, (member, own) in enumerate(zip(result.members, zip(result.losses.mean(1), result.scores.mean(1))))
    ]
    return {
        "split": result.split,
        "samples": len(result.scorer.true),
        "members": rows,
        "ensemble": {"loss": loss, name: score},
        "gain": {
            over: {key: {"mean": value.mean, "standard_error": value.error} for key, value in gain.items()}
            for over, gain in result.gains.items()
        },
        "diversity": result.diversity()[0],
        "by_members": {
            key: {"mean": mean.tolist(), "std": deviation.tolist()} for key, (mean, deviation) in result.curves.items()
        },
        "selection": result.selection
        and {"by": result.by, "picks": [pick + 1 for pick in result.selection.picks], **result.path},
    }


def as_csv(result: Result) -> str:
    """Return predictions.csv: the ensemble's answer to each sample of the split, in the order of the split."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([as_csv_cell(cell) for cell in row] for row in csv_rows(result))
    return text.getvalue()


def csv_rows(result: Result) -> Iterator[list[object]]:
    """Yield headings, then a row for each sample."""
    names = result.members[0].names
    if result.scorer.task == "regression":
        yield ["sample", *(f"true {name}" for name in names), *names]
        parts = (result.scorer.true, result.ensemble)
        true, values = (in_own_unit(part, result.members[0].predicted).tolist() for part in parts)
        yield from ([place, *row, *own] for place, (row, own) in enumerate(zip(true, values)))
        return
    what = "probability" if result.scorer.has_probabilities else "output"
    yield ["sample", "true", "class", *(f"{what} of {name}" for name in names)]
    for place, (true, values) in enumerate(zip(result.scorer.true, result.ensemble)):
        yield [place, names[true], names[values.argmax()], *map(float, values)]


def as_arrays(result: Result) -> bytes:
    """Return predictions.npz: for each split SPLIT_members (M, N, K), SPLIT_ensemble (N, K) and SPLIT_true."""
    arrays = {}
    for split in SPLITS:
        if split in result.members[0].answers:
            answers, true = stacked(result.members, split), result.members[0].answers[split].true
            found = {"members": answers, "ensemble": averaged(answers, result.chosen), "true": true}
            for name, values in found.items():
                if result.scorer.task == "regression":
                    values = in_own_unit(values, result.members[0].predicted)
                arrays[f"{split}_{name}"] = values.astype(np.float32) if values.dtype == np.float64 else values
    data = io.BytesIO()
    np.savez_compressed(data, **arrays)
    return data.getvalue()
