"""A trained model: samples in, probabilities or values out."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from trainer.base.classes import class_scores
from trainer.base.errors import DataError
from trainer.base.protocols import Criterion, HasProbabilities
from trainer.base.text import printable
from trainer.data.inputs import ImageInput
from trainer.inference.explain import Explanation, explain
from trainer.inference.predictions import Prediction, predict
from trainer.rundir.description import Description
from trainer.tta import average

SAME = {"task": "kind", "inputs": "inputs", "classes": "classes", "names": "outputs"}
LISTED = 5  # names in a message
SLACK = 1e-3  # beyond [0, 1], from a resampling


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """Model of a run with its best weights, in evaluation mode.

    Args:
        module: the network; it takes preprocessed samples and returns outputs (B, K).
        preprocess: the fitted preprocessing, samples -> preprocessed samples.
        criterion: the loss, which says what the outputs stand for.
        views: test-time augmentation.
        description: what the model takes and gives.
        device: where it computes.
        autocast: context of its forward pass.
        source: the run or the file that it is from.
        note: what is wrong with it, where the weights had to be read elsewhere; empty for nothing.
    """

    module: nn.Module
    preprocess: Callable[[Tensor], Tensor]
    criterion: Criterion
    views: Callable[[nn.Module, Tensor], Tensor]
    description: Description
    device: torch.device
    autocast: Callable[[], AbstractContextManager]
    source: str
    note: str = ""

    @property
    def members(self) -> "tuple[TrainedModel]":
        """The model itself, as of one that averages several."""
        return (self,)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in the order of the outputs; none for a regression."""
        return self.description.classes

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of a sample: (C, H, W), or (D,)."""
        return self.description.inputs.shape

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns that the model gives: its classes, or the outputs of a regression."""
        return self.classes or self.description.predicted.output_names(self.description.outputs)

    @property
    def has_probabilities(self) -> bool:
        """True if the loss says which probabilities the outputs stand for: cross-entropy does, a hinge does not."""
        return bool(self.classes) and isinstance(self.criterion, HasProbabilities)

    def __call__(self, samples: Tensor | np.ndarray) -> Tensor:
        """Return what the model makes of samples (B, *input_shape), (B, len(names)) on the CPU.

        That is a probability for each class; without `has_probabilities` the outputs, of binary data -o and o; of a
        regression values in the target's own unit.

        Args:
            samples: images as uint8, or as floats in [0, 1]; rows of a table as floats.
        Errors: DataError for samples of another shape or kind.
        """
        return self.answers(self.outputs(samples)).cpu()

    @torch.no_grad()
    def outputs(self, samples: Tensor | np.ndarray) -> Tensor:
        """Return the network's outputs (B, K), averaged over views, on its device. Errors: DataError."""
        images = self.preprocess(self.as_samples(samples).to(self.device))
        with self.autocast():
            views = self.views(self.module, images)
        return average(views.float(), self.criterion)

    def answers(self, outputs: Tensor) -> Tensor:
        """Return outputs (B, K) as probabilities, or as values in the target's own unit (B, len(names))."""
        if not self.classes:
            return in_own_unit(outputs, self.description)
        return class_scores(outputs, self.criterion)

    def as_samples(self, samples: Tensor | np.ndarray) -> Tensor:
        """Return samples as a tensor of uint8 or float32. Errors: DataError."""
        if isinstance(samples, np.ndarray):  # torch warns of arrays that cannot be written, and takes no flipped ones
            samples = np.require(samples, requirements=("C", "W"))
        found = torch.as_tensor(samples)
        if tuple(found.shape[1:]) != self.input_shape:
            wanted = " x ".join(map(str, self.input_shape))
            single = tuple(found.shape) == self.input_shape
            hint = "; a single sample needs a dimension for the batch, samples[None]" if single else ""
            raise DataError(f"samples must be (B, {wanted.replace(' x ', ', ')}), got {tuple(found.shape)}{hint}")
        kind, images = str(found.dtype).removeprefix("torch."), isinstance(self.description.inputs, ImageInput)
        if images and found.dtype == torch.uint8:
            return found
        if found.dtype.is_complex or found.dtype == torch.bool:
            raise DataError(f"samples must be numbers, got {kind}")
        if images and not found.dtype.is_floating_point:
            raise DataError(f"images must be uint8, or floats in [0, 1], got {kind}; convert them to uint8")
        if images and found.numel() and not (found.min() >= -SLACK and found.max() <= 1 + SLACK):
            low, high = found.min().item(), found.max().item()
            raise DataError(f"images of floats must be in [0, 1], got {low:g} to {high:g}; divide them, or give uint8")
        return found.float()

    def predict(self, inputs: object, *, batch_size: int = 64, top: int = 5) -> list[Prediction]:
        """Return a prediction for each input, as `trainer.inference.predictions.predict`."""
        return predict(self, inputs, batch_size=batch_size, top=top)

    def explain(self, inputs: object, *, of: str | None = None) -> list[Explanation]:
        """Return why the model answers as it does for each input, as `trainer.inference.explain.explain`."""
        return explain(self, inputs, of=of)


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Several models of the same inputs and classes, whose answers are averaged.

    Args:
        members: the models.
    Errors: DataError where they do not go together.
    """

    members: Sequence[TrainedModel]

    def __post_init__(self) -> None:
        first = self.members[0]
        for other in self.members[1:]:
            for what in ("task", "inputs", "classes", "names"):
                one, two = (getattr(part if what == "names" else part.description, what) for part in (first, other))
                if one != two:
                    listed = (in_words(part, what) for part in (first, other))
                    pairs = (f"{part.source} {words}" for part, words in zip((first, other), listed))
                    raise DataError(f"{' and '.join(pairs)}; only models of the same {SAME[what]} have an average")
            if first.has_probabilities != other.has_probabilities:
                raise DataError("only some of the models give probabilities; their answers have no common average")

    @property
    def description(self) -> Description:
        """Description of the first model."""
        return self.members[0].description

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in the order of the answers; none for a regression."""
        return self.members[0].classes

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns that the models give."""
        return self.members[0].names

    @property
    def has_probabilities(self) -> bool:
        """True if the answers are probabilities."""
        return self.members[0].has_probabilities

    def __call__(self, samples: Tensor | np.ndarray) -> Tensor:
        """Return the mean of the models' answers to samples (B, *input_shape), (B, len(names)) on the CPU."""
        return torch.stack([model(samples) for model in self.members]).mean(0)

    def predict(self, inputs: object, *, batch_size: int = 64, top: int = 5) -> list[Prediction]:
        """Return a prediction for each input, as `trainer.inference.predictions.predict`."""
        return predict(self, inputs, batch_size=batch_size, top=top)

    def explain(self, inputs: object, *, of: str | None = None) -> list[Explanation]:
        """Return why the model answers as it does for each input, as `trainer.inference.explain.explain`."""
        return explain(self, inputs, of=of)


def in_words(model: TrainedModel, what: str) -> str:
    """Return what a model takes or gives in words, as `is a classification`, `takes 3x32x32`, `predicts cat, dog`."""
    if what == "task":
        return f"is a {model.description.task} model"
    if what == "inputs":
        shape, inputs = "x".join(map(str, model.input_shape)), model.description.inputs
        names = [column.name for column in getattr(inputs, "columns", ())]
        return f"takes {shortened(names)}" if names else f"takes {shape}"
    return f"predicts {shortened(model.names)}"


def shortened(names: Sequence[str]) -> str:
    """Return the first of some names."""
    return printable(", ".join(names[:LISTED]) + ", ..." * (len(names) > LISTED))


def in_own_unit(outputs: Tensor, description: Description) -> Tensor:
    """Return a regression's outputs (B, K) in the unit of the target: the data set's standardisation is undone."""
    predicted = description.predicted
    if not predicted.mean:
        return outputs
    mean, deviation = (outputs.new_tensor(numbers) for numbers in (predicted.mean, predicted.deviation))
    return outputs * deviation + mean
