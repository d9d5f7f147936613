"""Predictions of a model, reduced on the device, batch by batch, to what the report needs."""

import numpy as np
import torch
from torch import Tensor

from trainer.base.classes import class_outputs, class_scores, labels_of, predicted_classes
from trainer.base.protocols import Criterion, HasProbabilities
from trainer.data.inputs import Predicted
from trainer.report.predictions import Predictions


class Collector:
    """Predictions that arrive batch by batch. Each is reduced on the device, and kept there until all are known.

    N samples of K classes take 28 N bytes, whatever K.

    Args:
        task: kind of the data.
        criterion: the loss, which says whether the outputs stand for probabilities.
    """

    def __init__(self, task: str, criterion: Criterion) -> None:
        self.task, self.criterion = task, criterion
        self._parts: list[tuple[Tensor, Tensor]] = []
        self._outputs = 1

    def add(self, losses: Tensor, outputs: Tensor, targets: Tensor) -> None:
        """Take a batch's losses (B,), outputs and targets (B, K), without gradient; nothing is copied to the host."""
        if self.task == "regression":
            self._parts.append((torch.cat([targets, outputs], 1), losses))
        else:
            self._parts.append(reduced(losses, outputs, targets, self.criterion))
        self._outputs = max(outputs.shape[1], 1 if self.task == "regression" else 2)

    def predictions(self, target: Predicted) -> Predictions:
        """Return all predictions. Not for an empty collector.

        Args:
            target: what is predicted, with the scale that the data set has given it.
        """
        first_part, second = (torch.cat(part).cpu().numpy() for part in zip(*self._parts))  # host sync: once a split
        if self.task == "regression":
            true, predicted = (in_own_unit(values, target) for values in np.split(first_part, 2, axis=1))
            known = {"true": true, "predicted": predicted, "losses": second}
        else:
            known = dict(zip(("true", "predicted", "rank"), first_part.T))
            known |= dict(zip(("losses", "score", "true_score", "margin"), second.T))
            known["has_probabilities"] = isinstance(self.criterion, HasProbabilities)
        return Predictions(task=self.task, outputs=self._outputs, **known)


def reduced(losses: Tensor, outputs: Tensor, targets: Tensor, criterion: Criterion) -> tuple[Tensor, Tensor]:
    """Return true class, predicted class and rank (B, 3), and loss, both scores and margin (B, 4) of a batch."""
    true, predicted = labels_of(targets), predicted_classes(outputs)
    scores, ordered = class_scores(outputs, criterion), class_outputs(outputs)
    score, true_score = (scores.gather(1, place[:, None])[:, 0] for place in (predicted, true))
    margin = scores.topk(2).values.diff().neg()[:, 0]
    own = ordered.gather(1, true[:, None])
    places = torch.arange(ordered.shape[1], device=outputs.device)
    before = (ordered > own) | ((ordered == own) & (places < true[:, None]))  # of equal outputs the first is predicted
    rank = torch.where(losses.isnan(), ordered.shape[1] - 1, before.sum(1))
    return torch.stack([true, predicted, rank], 1).int(), torch.stack([losses, score, true_score, margin], 1)


def in_own_unit(values: np.ndarray, target: Predicted) -> np.ndarray:
    """Return targets or outputs (..., K) of a regression in float64, in the unit that the file has them in."""
    values = values.astype(np.float64)
    return values * np.array(target.deviation) + np.array(target.mean) if target.mean else values
