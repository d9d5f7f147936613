"""Samples of a split as a person reads them: names, cells of a table, images in their own colours."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import torch
from torch import Tensor

from trainer.data.image_files import read
from trainer.data.inputs import InputColumn, Inputs, TableInput
from trainer.data.splits import Split

EPOCH = datetime(1970, 1, 1)


class Samples:
    """Samples of a split, before the preprocessing.

    Args:
        split: the samples.
        inputs: what each of them is.
    """

    def __init__(self, split: Split, inputs: Inputs) -> None:
        self.split, self.inputs = split, inputs

    @property
    def heading(self) -> str:
        """Kind of the samples' names: path, row, or index, the place in the split from 0."""
        return self.split.names.kind if self.split.names else "index"

    def name(self, index: int) -> str | int:
        """Return the name of a sample."""
        return self.split.names[index] if self.split.names else int(index)

    @property
    def are_images(self) -> bool:
        """True if the samples can be shown as pictures."""
        return len(self.split.images.shape) == 4

    @property
    def columns(self) -> list[str]:
        """Names of the columns of a table; none where the samples are no rows of one."""
        return [column.name for column in self.inputs.columns] if self._is_table else []

    @property
    def _is_table(self) -> bool:
        return isinstance(self.inputs, TableInput) and tuple(self.split.images.shape[1:]) == self.inputs.shape

    def rows(self, indices: Sequence[int]) -> list[list[object]]:
        """Return the cells of some samples of a table, as the data set had them."""
        if not self._is_table or not len(indices):
            return [[] for _ in indices]
        values = read(self.split.images, torch.as_tensor(np.asarray(indices, dtype=np.int64))).double().numpy()
        starts = np.cumsum([0, *(column.width for column in self.inputs.columns)])
        places = [*zip(self.inputs.columns, starts, starts[1:])]
        return [[cell(column, row[start:end]) for column, start, end in places] for row in values]

    def images(self, indices: Sequence[int]) -> np.ndarray:
        """Return some images (B, H, W, 3), uint8, in their own colours."""
        return as_pixels(read(self.split.images, torch.as_tensor(np.asarray(indices, dtype=np.int64)).cpu()))


def cell(column: InputColumn, values: np.ndarray) -> object:
    """Return the cell of a table that the inputs of a column were made of; empty where its value is unknown."""
    if column.kind == "category":
        names = [*column.categories, *[""] * column.missing]
        return names[values.argmax()] if values.any() else ""
    value = float(values[0])
    if column.kind == "date" and np.isfinite(value):
        when = EPOCH + timedelta(days=round(value * 86400) / 86400)
        return f"{when:%Y-%m-%d}" if when.time() == EPOCH.time() else f"{when:%Y-%m-%d %H:%M:%S}"
    return f"{value:.7g}"  # of float32


def as_pixels(images: Tensor) -> np.ndarray:
    """Return images (B, C, H, W), uint8 or floats, as (B, H, W, 3), uint8.

    Floats outside [0, 1] are stretched to it, image by image; of other channels than three the first is shown.
    """
    if images.dtype != torch.uint8:
        images = images.float()
        if len(images) and (images.amin() < 0 or images.amax() > 1):
            low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
            images = (images - low) / (high - low).clamp(min=1e-12)
        images = images.mul(255).round().byte()
    images = images if images.shape[1] == 3 else images[:, :1].expand(-1, 3, -1, -1)
    return images.permute(0, 2, 3, 1).cpu().numpy()
