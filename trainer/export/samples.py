"""Samples on which an exported file is compared with its model."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice

import torch
from torch import Tensor

from trainer.base.classes import labels_of
from trainer.base.errors import DataError
from trainer.base.protocols import Invertible
from trainer.base.text import counted, printable
from trainer.data.image_files import read
from trainer.data.inputs import ImageInput
from trainer.data.splits import Split, Splits
from trainer.inference.model import TrainedModel
from trainer.inference.sources import batches_of, items_of

COUNT = 256


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Samples (N, ...), N <= COUNT, as the data set has them.

    Args:
        source: in words.
        by_class: samples of each class by split, of the whole data set; empty where that was not read.
    """

    tensor: Tensor
    source: str
    by_class: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def from_data(data: Splits, model: TrainedModel) -> Samples:
    """Return samples of a data set: of the test split, where that has too few of the others as well.

    Errors: DataError for another data set than the model's.
    """
    if tuple(data.input_shape) != model.input_shape or tuple(data.classes) != model.classes:
        raise DataError("has other samples or classes now than the model")
    splits, parts, names = {"test": data.test, "val": data.val, "train": data.train}, [], []
    for name, split in splits.items():
        room = COUNT - sum(map(len, parts))
        if room and len(split):
            parts.append(read(split.images, torch.linspace(0, len(split) - 1, min(room, len(split))).long()))
            names.append(f"{len(parts[-1])} {name}")
    by_class = {name: classes_of(splits[name], data) for name in ("train", "val", "test") if data.classes}
    return Samples(tensor=torch.cat(parts), source=f"samples of the data set ({', '.join(names)})", by_class=by_class)


def classes_of(split: Split, data: Splits) -> dict[str, int]:
    """Return the number of samples of each class in a split."""
    found = Counter(labels_of(split.targets).tolist())
    return {name: found[place] for place, name in enumerate(data.classes)}


def from_path(path: str, model: TrainedModel) -> Samples:
    """Return the first samples that a file, a folder or a pattern holds. Errors: DataError where there is none."""
    kind, found = model.description.inputs, []
    for batch in batches_of(islice(items_of(path, kind), COUNT), COUNT):
        found += [item.sample for item in batch if isinstance(item.sample, Tensor)]
    if not found:
        raise DataError(f"task.samples={printable(path)}: holds nothing that the model can take")
    return Samples(tensor=torch.stack(found), source=f"{counted('sample', len(found))} of {printable(path)}")


@torch.no_grad()
def made_up(model: TrainedModel, why: str) -> Samples:
    """Return random samples: pixels of all values, or numbers distributed as the preprocessing was fitted.

    Args:
        why: there are no others.
    """
    rng, shape = torch.Generator().manual_seed(0), (COUNT, *model.input_shape)
    source = f"{COUNT} made-up samples ({why})"
    if isinstance(model.description.inputs, ImageInput):
        return Samples(tensor=torch.randint(256, shape, generator=rng, dtype=torch.uint8), source=source)
    tensor = torch.randn((COUNT, *model.description.input_shape), generator=rng)
    if isinstance(model.preprocess, Invertible):
        tensor = model.preprocess.invert(tensor)
    if tuple(tensor.shape) != shape or not tensor.isfinite().all():
        tensor = torch.randn(shape, generator=rng)
    return Samples(tensor=tensor.float(), source=source)
