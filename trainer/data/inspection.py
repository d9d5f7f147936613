"""Remarks on any data set from which nothing can be learnt: samples that are all alike, or all of one class."""

import torch
from torch import Tensor

from trainer.data.image_files import LazyImages, read
from trainer.data.splits import Split, Splits

COMPARED = 256  # samples at a time


def notes_on(data: Splits) -> list[str]:
    """Return lines for the user where all training samples have the same input, or the same target."""
    notes, train = [], data.train
    kind = "images" if len(data.input_shape) == 3 else "inputs"
    if len(train) > 1 and all_alike(train.images):
        notes.append(
            f"all {len(train):,} training {kind} are the same: nothing can be learnt from them; look at the files"
        )
    if len(train) > 1 and bool((train.targets == train.targets[0]).all()):
        notes.append(f"all {len(train):,} training samples {same_target(data, train)}: nothing can be learnt from them")
    return notes


def all_alike(images: Tensor | LazyImages) -> bool:
    """Return whether all images are equal; most data sets differ in the first ones, and no more are read."""
    first = read(images, torch.zeros(1, dtype=torch.long))
    places = torch.arange(len(images))
    return all(bool((read(images, some) == first).all()) for some in (places[:2], *places[2:].split(COMPARED)))


def same_target(data: Splits, train: Split) -> str:
    """Return what all training samples have in common: their class, or their target."""
    target = train.targets[0]
    if data.task == "regression":
        return f"have the target {', '.join(f'{value:g}' for value in target.tolist())}"
    number = int(target.argmax()) if data.task == "classification" else int(target[0])
    name = data.classes[number] if number < len(data.classes) else str(number)
    return f"are of one class, {name}"
