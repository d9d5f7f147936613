"""Classes that targets and outputs mean, and the scores of all classes: a single output stands for two classes."""

import torch
from torch import Tensor

from trainer.base.protocols import Criterion, HasProbabilities


def labels_of(targets: Tensor) -> Tensor:
    """Return the classes (N,) of targets (N, K): of a single one, 1 where it is above a half."""
    return targets.argmax(1) if targets.shape[1] > 1 else (targets[:, 0] > 0.5).long()


def one_hot_labels(targets: Tensor) -> Tensor | None:
    """Return the classes (N,) of one-hot targets (N, K); None where any of them is something else. A host sync."""
    one_each = (targets.amax(1) == 1) & (targets.sum(1) == 1) & (targets.amin(1) == 0)
    return targets.argmax(1) if bool(one_each.all()) else None


def predicted_classes(outputs: Tensor) -> Tensor:
    """Return the classes (N,) that outputs (N, K) mean: of a single output, 1 where it is above 0."""
    return outputs.argmax(1) if outputs.shape[1] > 1 else (outputs[:, 0] > 0).long()


def class_outputs(outputs: Tensor) -> Tensor:
    """Return an output for each class (N, C): -o and o of a single one."""
    return outputs if outputs.shape[1] > 1 else torch.cat([-outputs, outputs], 1)


def class_scores(outputs: Tensor, criterion: Criterion) -> Tensor:
    """Return the probabilities (N, C) of all classes; where the loss has none, their outputs."""
    if not isinstance(criterion, HasProbabilities):
        return class_outputs(outputs)
    found = criterion.probabilities(outputs)
    return found if found.shape[1] > 1 else torch.cat([1 - found, found], 1)
