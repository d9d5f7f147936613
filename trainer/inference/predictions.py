"""Predictions: what models make of files, rows and arrays, one after another."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor, nn

from trainer.base.errors import DataError
from trainer.base.text import printable
from trainer.inference.sources import Item, batches_of, items_of
from trainer.rundir.description import Description


class Member(Protocol):
    """One trained network, with its preprocessing."""

    module: nn.Module
    preprocess: Callable[[Tensor], Tensor]
    description: Description
    device: torch.device

    def answers(self, outputs: Tensor) -> Tensor:
        """Return outputs (B, K) as probabilities, or as values in the target's own unit (B, len(names))."""


class Answers(Protocol):
    """A model, or several as one: samples in, an answer for each out."""

    description: Description
    classes: tuple[str, ...]
    names: tuple[str, ...]
    has_probabilities: bool
    members: Sequence[Member]

    def __call__(self, samples: Tensor) -> Tensor:
        """Return (B, len(names)) on the CPU."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Prediction of a model for one input.

    Args:
        path: of the input's file; empty where it has none.
        row: of a table, counted from 1 with the header, or the place among arrays, from 0; None for a whole file.
        ranked: classes with their probabilities, the likeliest first; of losses without probabilities, with outputs.
        values: of a regression, in the target's own unit.
        problem: why the input could not be read; empty where it could.
        note: what the model could not see in it, as a category that its training did not have; empty for nothing.
        has_probability: whether `ranked` holds probabilities.
    """

    path: str = ""
    row: int | None = None
    ranked: tuple[tuple[str, float], ...] = ()
    values: tuple[float, ...] = ()
    problem: str = ""
    note: str = ""
    has_probability: bool = True

    @property
    def name(self) -> str:
        """The input in words: its path, its row."""
        row = "" if self.row is None else f"row {self.row}"
        return ", ".join(filter(None, (printable(self.path), row)))

    @property
    def label(self) -> str | None:
        """The likeliest class; None for a regression."""
        return self.ranked[0][0] if self.ranked else None

    @property
    def probability(self) -> float | None:
        """Probability of the likeliest class; None where the model gives none."""
        return self.ranked[0][1] if self.ranked and self.has_probability else None

    @property
    def value(self) -> float | None:
        """The only value of a regression; None for classes."""
        return self.values[0] if self.values else None


def predict(model: Answers, inputs: object, *, batch_size: int = 64, top: int = 5) -> list[Prediction]:
    """Return a prediction for each input. Errors: DataError for one that cannot be read.

    Args:
        inputs: a path or several (files, folders, patterns, tables, .npy), Pillow images, samples as an array or a
            tensor, or rows of a table as dicts or as a DataFrame.
        batch_size: samples of a forward pass.
        top: classes that a prediction lists.
    """
    items = items_of(inputs, model.description.inputs)
    return [prediction for prediction, _ in readable(answered(model, items, batch_size=batch_size, top=top))]


def readable(found: Iterable[tuple[Prediction, Tensor | None]]) -> Iterator[tuple[Prediction, Tensor]]:
    """Yield predictions with their samples. Errors: DataError for an input that could not be read."""
    for prediction, sample in found:
        if prediction.problem:
            raise DataError(": ".join(filter(None, (prediction.name, prediction.problem))))
        yield prediction, sample


def stream(model: Answers, items: Iterable[Item], *, batch_size: int = 64, top: int = 5) -> Iterator[Prediction]:
    """Yield predictions in the order of the items, which are read a few batches ahead of their use."""
    return (prediction for prediction, _ in answered(model, items, batch_size=batch_size, top=top))


def answered(
    model: Answers, items: Iterable[Item], *, batch_size: int = 64, top: int = 5
) -> Iterator[tuple[Prediction, Tensor | None]]:
    """Yield predictions as `stream`, each with its sample, None where the input could not be read."""
    for batch in batches_of(items, batch_size):
        samples = [item.sample for item in batch if isinstance(item.sample, Tensor)]
        answers = iter(predictions(model, answers_to(model, samples, batch), top) if samples else ())
        for item in batch:
            sample = item.sample if isinstance(item.sample, Tensor) else None
            found = Prediction(problem=item.sample) if sample is None else next(answers)
            yield replace(found, path=item.path, row=item.row, note=item.note), sample


def answers_to(model: Answers, samples: Sequence[Tensor], batch: Sequence[Item]) -> Tensor:
    """Return what the model makes of the samples of a batch. Errors: DataError, with the files that they are from."""
    try:
        return model(torch.stack(samples))
    except DataError as error:
        files = ", ".join({printable(item.path): None for item in batch if item.path})
        raise DataError(f"{files}: {error}" if files else str(error)) from None


def predictions(model: Answers, answers: Tensor, top: int) -> Iterator[Prediction]:
    """Yield the predictions that answers (B, len(names)) are."""
    if not model.classes:
        yield from (Prediction(values=tuple(values)) for values in answers.tolist())
        return
    scores, places = answers.topk(min(top, len(model.classes)), dim=1)
    for ranked, values in zip(places.tolist(), scores.tolist()):
        names = (model.classes[place] for place in ranked)
        yield Prediction(ranked=tuple(zip(names, values)), has_probability=model.has_probabilities)
