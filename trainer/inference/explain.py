"""Explanations: where in an image a model finds its answer, and what each column of a row adds to it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
from torch import Tensor

from trainer.base.errors import DataError
from trainer.base.protocols import Invertible
from trainer.base.text import did_you_mean, printable
from trainer.data.inputs import ImageInput, InputColumn, TableInput
from trainer.explanation.attribution import evaluating, integrated_gradients, require_captum
from trainer.explanation.maps import scaled
from trainer.inference.explained_network import explainer_for
from trainer.inference.predictions import Answers, Member, Prediction, answered, readable
from trainer.inference.rows import EPOCH
from trainer.inference.sources import batched, items_of

BATCH = 64


@dataclass(frozen=True, kw_only=True)
class ImageExplanation:
    """Map of where in an image a model finds an answer; `numpy.asarray(explanation)` is the map.

    Args:
        prediction: the answer of the model.
        of: the class, or the value of a regression, that is explained.
        method: Grad-CAM with the places of its map, or saliency.
        note: why it is not Grad-CAM.
        map: (H, W) in [0, 1], 1 where the most comes from.
        image: (H, W, 3) in [0, 1], in its own colours.
    """

    prediction: Prediction
    of: str
    method: str
    note: str
    map: np.ndarray
    image: np.ndarray

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.map, dtype=dtype) if copy else np.asarray(self.map, dtype=dtype)


@dataclass(frozen=True, kw_only=True)
class RowExplanation:
    """Contributions of a row's columns to an answer, by integrated gradients: base + their sum is the answer.

    Args:
        prediction: the answer of the model.
        of: the class whose probability is explained (its output, where there is none), or the value of a regression.
        answer: this probability or value.
        base: that for a row whose columns all have their training means.
        contributions: of each column, the largest first; in units of the answer.
        cells: what the row has in each column.
    """

    prediction: Prediction
    of: str
    answer: float
    base: float
    contributions: Mapping[str, float]
    cells: Mapping[str, float | str]
    method: str = "integrated gradients"


Explanation = ImageExplanation | RowExplanation


def explain(model: Answers, inputs: object, *, of: str | None = None) -> list[Explanation]:
    """Return an explanation for each input; of several models, the mean of theirs.

    Args:
        inputs: as for `predict`.
        of: the class, or the value of a regression, that is explained; by default the predicted class, or the first
            value.
    Errors: DataError for an input that cannot be read, ConfigError without Captum.
    """
    require_captum("explain()")
    require_explainable(model)
    found = readable(answered(model, items_of(inputs, model.description.inputs), batch_size=BATCH, top=1))
    return [*explanations(model, found, of)]


def require_explainable(model: Answers) -> None:
    """Check that the samples of a model are images or rows. Errors: DataError."""
    shape = model.description.inputs.shape
    if not isinstance(model.description.inputs, TableInput) and len(shape) not in (2, 3):
        raise DataError(f"images, rows of tables and arrays of 2 or 3 dimensions can be explained, not of {shape}")


def explanations(
    model: Answers, found: Iterable[tuple[Prediction, Tensor]], of: str | None = None
) -> Iterator[Explanation]:
    """Yield explanations of predictions with their samples. Errors: DataError."""
    chosen = None if of is None else place_of(model, of)
    explained = rows if isinstance(model.description.inputs, TableInput) else images
    for batch in batched(found, BATCH):
        predictions, samples = zip(*batch)
        answers = torch.tensor([answer_of(model, each) if chosen is None else chosen for each in predictions])
        yield from explained(model, predictions, torch.stack(samples), answers)


def place_of(model: Answers, name: str) -> int:
    """Return the place of a class or of a value. Errors: DataError."""
    if name in model.names:
        return model.names.index(name)
    kind = "class" if model.classes else "value"
    raise DataError(f"of={printable(name)}: no such {kind}; {did_you_mean(str(name), model.names)}")


def answer_of(model: Answers, prediction: Prediction) -> int:
    """Return the place of the predicted class; 0, the first value, of a regression."""
    return model.classes.index(prediction.label) if model.classes else 0


def images(
    model: Answers, predictions: Sequence[Prediction], samples: Tensor, answers: Tensor
) -> Iterator[ImageExplanation]:
    """Yield the explanations of images."""
    made = [explainer_for(member, samples) for member in model.members]
    maps = torch.stack([explainer(inputs, answers).cpu() for explainer, inputs in made]).mean(0)
    method, note = (
        "; ".join(dict.fromkeys(filter(None, texts)))
        for texts in zip(*((explainer.method, explainer.reason) for explainer, _ in made))
    )
    shown = colors(samples, isinstance(model.description.inputs, ImageInput))
    for prediction, answer, map_, image in zip(predictions, answers, maps.numpy(), shown.numpy()):
        yield ImageExplanation(
            prediction=prediction,
            of=model.names[answer],
            method=method,
            note=note,
            map=map_,
            image=image,
        )


def colors(samples: Tensor, are_images: bool) -> Tensor:
    """Return samples (B, C, H, W) or (B, H, W) as (B, H, W, 3) in [0, 1]: arrays stretched to that, channels but three
    averaged."""
    shown = samples.float() / 255 if samples.dtype == torch.uint8 else samples.float()
    shown = shown[:, None] if shown.dim() == 3 else shown
    shown = shown if shown.shape[1] == 3 else shown.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    if not are_images:
        flat = shown.flatten(1)
        shown = scaled((flat - flat.amin(1, keepdim=True))[:, None])[:, 0].view_as(shown)
    return shown.clamp(0, 1).permute(0, 2, 3, 1)


def rows(
    model: Answers, predictions: Sequence[Prediction], samples: Tensor, answers: Tensor
) -> Iterator[RowExplanation]:
    """Yield the explanations of rows."""
    parts = [contributions(member, samples, answers) for member in model.members]
    added, answer, base = (torch.stack(each).mean(0) for each in zip(*parts))
    columns = model.description.inputs.columns
    widths = [column.width for column in columns]
    for row, prediction in enumerate(predictions):
        sums = [part.sum().item() for part in added[row].split(widths)]
        cells = [cell_of(column, part.tolist()) for column, part in zip(columns, samples[row].split(widths))]
        order = sorted(range(len(columns)), key=lambda place: -abs(sums[place]))
        yield RowExplanation(
            prediction=prediction,
            of=model.names[answers[row]],
            answer=answer[row].item(),
            base=base[row].item(),
            contributions={columns[place].name: sums[place] for place in order},
            cells={columns[place].name: cells[place] for place in order},
        )


def contributions(member: Member, samples: Tensor, answers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return what each input (B, D) adds to an answer, these answers (B,), and those of the row that they start from.

    That row has the training means, as far as the preprocessing knows them, else zeros.
    """
    samples, answers = samples.to(member.device), answers.to(member.device)
    apply = member.preprocess
    if isinstance(apply, Invertible):
        baseline = apply.invert(torch.zeros(1, *member.description.input_shape, device=member.device)).float()
    else:
        baseline = torch.zeros_like(samples[:1])

    def network(rows: Tensor) -> Tensor:
        return member.answers(member.module(apply(rows.clone())))  # a preprocessing may change rows in place

    with evaluating(member.module):
        added = integrated_gradients(network, samples, baseline, answers)
    with torch.no_grad():
        answer, base = network(samples).gather(1, answers[:, None])[:, 0], network(baseline)[0, answers]
    return added.cpu(), answer.cpu(), base.cpu()


def cell_of(column: InputColumn, values: Sequence[float]) -> float | str:
    """Return what a row has in a column, from its inputs."""
    if column.kind == "category":
        names = [*column.categories, *["missing"] * column.missing]
        return next((name for name, value in zip(names, values) if value > 0.5), "another")
    if column.kind == "date":
        moment = EPOCH + timedelta(days=values[0])
        return f"{moment:%Y-%m-%d}" if values[0] == int(values[0]) else f"{moment:%Y-%m-%d %H:%M}"
    return float(f"{values[0]:.7g}")  # all digits that float32 has
