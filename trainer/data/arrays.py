"""Arrays as the inputs of a run: images (N, C, H, W), rows of a table (N, D), or what a model of one's own takes."""

import numpy as np
import torch
from torch import Tensor

from trainer.base.errors import DataError

CHANNELS = (1, 3, 4)  # of images: grey, colour, colour with transparency
KINDS = "biuf"  # NumPy's kinds of numbers: bool, integers with and without a sign, floats


def as_inputs(array: np.ndarray, where: str) -> Tensor:
    """Return (N, ...) numbers as inputs: uint8 or float32.

    (N,) is one number for each sample, (N, D) rows of a table, (N, H, W) grey images, (N, H, W, C) and (N, C, H, W)
    images. Images of whole numbers from 0 to 255 are uint8, all others floats as they are. Errors: DataError.
    """
    require_numbers(array, where)
    if array.ndim == 1:
        array = array[:, None]
    elif array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and has_channels_last(array.shape[1:]):
        array = np.moveaxis(array, -1, 1)
    if array.ndim == 4 and array.dtype.kind in "iu" and array.dtype != np.uint8 and array.size:
        if 0 <= array.min() and array.max() <= 255:
            array = array.astype(np.uint8)
    if array.dtype != np.uint8 or array.ndim != 4:
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
    if not array.dtype.isnative or any(stride < 0 for stride in array.strides):
        array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    return torch.from_numpy(array)


def has_channels_last(shape: tuple[int, ...]) -> bool:
    """Return whether (a, b, c) is (H, W, C): its last number is one of CHANNELS and its first is not, else smaller."""
    first, last = shape[0], shape[-1]
    if (first in CHANNELS) != (last in CHANNELS):
        return last in CHANNELS
    return last < first


def require_numbers(array: np.ndarray, where: str) -> None:
    """Require an array of numbers with a sample in each row. Errors: DataError."""
    if array.dtype.kind not in KINDS:
        raise DataError(f"{where} holds {array.dtype}, where numbers are needed")
    if array.ndim == 0 or 0 in array.shape[1:]:
        raise DataError(f"{where} has shape {array.shape}, where (N, ...) with a sample in each row is needed")


def require_finite(inputs: Tensor, where: str) -> None:
    """Require inputs (N, ...) to be finite. Errors: DataError, with the first sample that is not."""
    if not inputs.is_floating_point():
        return
    for start in range(0, len(inputs), 4096):
        part = inputs[start : start + 4096]
        wrong = (~part.isfinite()).flatten(1).any(1).nonzero().flatten()
        if len(wrong):
            raise DataError(f"{where}: sample {start + int(wrong[0])} has an input that is not finite (NaN or Inf)")


def describe(inputs: Tensor) -> str:
    """Return `60,000 images of 1x28x28, uint8`, or `150 rows of 4 numbers`."""
    count, shape = len(inputs), tuple(inputs.shape[1:])
    if len(shape) == 1:
        return f"{count:,} rows of {shape[0]:,} number{'s' * (shape[0] > 1)}"
    kind = "images" if len(shape) == 3 else "arrays"
    return f"{count:,} {kind} of {'x'.join(map(str, shape))}, {str(inputs.dtype).removeprefix('torch.')}"


def outside_unit(inputs: Tensor) -> str:
    """Return a note on images whose floats are not in [0, 1]; empty for all other inputs."""
    if inputs.dim() != 4 or not inputs.is_floating_point() or not len(inputs):
        return ""
    return note_on_range(*(value.item() for value in inputs.aminmax()))


def note_on_range(low: float, high: float) -> str:
    """Return a note on images of floats in a range, empty where that is [0, 1]."""
    if low >= 0 and high <= 1:
        return ""
    what = f"images hold floats from {low:.4g} to {high:.4g}: they are taken as they are"
    return f"{what}, and do not fit augmentations of colours, which expect [0, 1]"
