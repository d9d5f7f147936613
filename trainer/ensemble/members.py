"""Members of an ensemble: what each of them says of the same held-out samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.base.errors import DataError
from trainer.data.inputs import Predicted

SPLITS = ("val", "test")


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Answers to the N samples of a split.

    Args:
        values: (N, K) probabilities of the classes; outputs where the loss gives no probabilities, and of a regression.
        true: (N,) numbers of the classes; of a regression (N, K) targets.
        samples: digest of the samples, as in summary.json.
    """

    values: np.ndarray
    true: np.ndarray
    samples: str


@dataclass(frozen=True, kw_only=True)
class Member:
    """A model of an ensemble.

    Args:
        source: path of the run, or of the file of its weights.
        task: classification, binary or regression.
        names: of the classes, or of the outputs of a regression.
        has_probabilities: whether its answers are probabilities.
        predicted: the target, with the mean and the deviation by which a regression's was standardised.
        answers: by split, of those that have samples.
    """

    source: str
    task: str
    names: tuple[str, ...]
    has_probabilities: bool
    predicted: Predicted
    answers: Mapping[str, Answers]


def require_alike(members: Sequence[Member]) -> None:
    """Check that members answer the same question on the same samples. Errors: DataError."""
    first = members[0]
    for other in members[1:]:
        both = f"{first.source} and {other.source}"
        if first.task != other.task:
            raise DataError(f"{both} do not go together: one is {first.task}, the other {other.task}")
        if first.names != other.names:
            what = "targets" if first.task == "regression" else "classes"
            raise DataError(f"{both} do not go together: they have other {what}")
        for split in SPLITS:
            digests = [member.answers[split].samples if split in member.answers else "" for member in (first, other)]
            if digests[0] != digests[1]:
                what = f"they were held out other {split} samples"
                raise DataError(f"{both} do not go together: {what}; take runs of the same data and split")
        if first.has_probabilities != other.has_probabilities:
            raise DataError(f"{both} do not go together: only one of them gives probabilities; their losses differ")
        scales = [(member.predicted.mean, member.predicted.deviation) for member in (first, other)]
        if scales[0] != scales[1]:
            raise DataError(f"{both} do not go together: their targets are in other units")


def common_folder(members: Sequence[Member]) -> str:
    """Return the folder that holds all members; empty where there is none."""
    folders = {str(Path(member.source).parent) for member in members}
    return folders.pop() if len(folders) == 1 else ""


def short_names(members: Sequence[Member]) -> list[str]:
    """Return the names of members within their common folder; their paths where there is none."""
    names = (Path(member.source).name.removesuffix(".safetensors") for member in members)
    return [*names] if common_folder(members) else [member.source for member in members]


def stacked(members: Sequence[Member], split: str) -> np.ndarray:
    """Return the answers of all members on a split, (M, N, K) in float64."""
    return np.stack([member.answers[split].values for member in members]).astype(np.float64)
