"""Inputs to predict, one sample after another: files, folders, patterns, tables, arrays."""

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainer.base.cores import cores
from trainer.base.errors import DataError
from trainer.base.paths import expanded
from trainer.base.plain_files import require_regular
from trainer.base.similar_paths import TABLES, similar_files
from trainer.base.text import printable
from trainer.data.folder_walk import Layout, images_below
from trainer.data.image_decoding import Decoder, Picture, picture_of
from trainer.data.image_scan import why
from trainer.data.inputs import ArrayInput, ImageInput, Inputs, TableInput
from trainer.data.worker_pool import prefetch
from trainer.inference.rows import encoded_rows, read_rows, text_of, unknown_categories

GLOB = frozenset("*?[")
ROWS = 1000  # of a table or an array that are read at once


class Item(NamedTuple):
    """Input of a prediction.

    Args:
        path: of its file; empty where it has none.
        row: of a table, counted from 1 with the header; or the place in an array, from 0; None for a whole file.
        sample: a tensor, why it cannot be one, or what makes it.
        note: what the model cannot see in it; empty for nothing.
    """

    path: str
    row: int | None
    sample: Tensor | str | Callable[[], Tensor]
    note: str = ""


def items_of(inputs: object, kind: Inputs) -> Iterator[Item]:
    """Yield what is to be predicted. Errors: DataError for a path that is not there, or of another kind.

    Args:
        inputs: a path or several, Pillow images, samples as an array or a tensor, rows as dicts or as a DataFrame.
        kind: what the model takes.
    """
    if isinstance(inputs, str | Path):
        return items_at(str(inputs), kind)
    if isinstance(inputs, Tensor | np.ndarray):
        return items_in_array("", inputs, kind)
    if hasattr(inputs, "to_dict") and hasattr(inputs, "columns"):  # a DataFrame
        return items_in_rows("", inputs.to_dict("records"), kind)
    if isinstance(inputs, Mapping) or is_picture(inputs):
        inputs = [inputs]
    if not isinstance(inputs, Iterable):
        raise DataError(f"cannot predict a {type(inputs).__name__}; give paths, images, arrays or rows")
    return chain.from_iterable(items_of_one(place, one, kind) for place, one in enumerate(inputs))


def items_of_one(place: int, one: object, kind: Inputs) -> Iterator[Item]:
    """Yield what one of several inputs is."""
    if isinstance(one, str | Path):
        yield from items_at(str(one), kind)
    elif is_picture(one):
        image = require_images(kind, "an image")
        yield Item("", place, lambda: sample_of_picture(picture_of(one), image))
    elif isinstance(one, Mapping):
        yield from (item._replace(row=place) for item in items_in_rows("", [one], kind))
    elif isinstance(one, Tensor | np.ndarray):
        yield from (item._replace(row=place) for item in items_in_array("", one[None], kind))
    else:
        raise DataError(f"cannot predict a {type(one).__name__}; give paths, images, arrays or rows")


def is_picture(value: object) -> bool:
    """Return whether a value is an image of Pillow."""
    return hasattr(value, "convert") and hasattr(value, "getbands")


def items_at(path: str, kind: Inputs) -> Iterator[Item]:
    """Yield what a file, a folder or a pattern holds. Errors: DataError."""
    for file in files_at(path, kind):
        yield from items_in(file, kind)


def files_at(path: str, kind: Inputs) -> Iterator[str]:
    """Yield the files that a path means: itself, those of a folder and the folders in it, or of a pattern, in order.

    Errors: DataError where there is none.
    """
    place = expanded(path)
    if os.path.isdir(place):
        yield from require_some(files_below(place, kind), f"{printable(path)}: holds no {what_it_takes(kind)}")
    elif not os.path.lexists(place) and GLOB & {*path}:
        found = (name for name in sorted(glob.iglob(str(place), recursive=True)) if not os.path.isdir(name))
        yield from require_some(found, f"{printable(path)}: matches no file")
    elif not os.path.exists(place):
        raise DataError(f"{printable(path)}: no such file or folder{similar_files(place)}")
    else:
        yield str(place)


def count_of(path: str, kind: Inputs) -> int | None:
    """Return how many samples a path holds, for a progress bar; None where only reading it tells."""
    place = expanded(path)
    if not isinstance(kind, TableInput) and os.path.isdir(place):
        return sum(1 for _ in files_below(place, kind)) if isinstance(kind, ImageInput) else None
    return None


def files_below(folder: Path, kind: Inputs) -> Iterator[str]:
    """Yield the files of a folder that the model takes."""
    if isinstance(kind, ImageInput):
        root = os.path.join(folder, "")
        yield from (root + path for path, *_ in images_below(folder, Layout(folder), silent=True))
        return
    endings = TABLES if isinstance(kind, TableInput) else (".npy",)
    for here, folders, names in os.walk(folder):
        folders.sort()
        yield from (os.path.join(here, name) for name in sorted(names) if name.lower().endswith(endings))


def require_some(found: Iterator[str], otherwise: str) -> Iterator[str]:
    """Yield all that is found. Errors: DataError where that is nothing."""
    first = next(found, None)
    if first is None:
        raise DataError(otherwise)
    return chain([first], found)


def what_it_takes(kind: Inputs) -> str:
    """Return which files a model takes, in words."""
    names = {ImageInput: "image files", TableInput: "tables (.csv, .tsv, .txt)", ArrayInput: "arrays (.npy)"}
    return names[type(kind)]


def items_in(file: str, kind: Inputs) -> Iterator[Item]:
    """Yield what a file holds. Errors: DataError."""
    ending = os.path.splitext(file)[1].lower()
    if ending == ".npz":
        raise DataError(f"{printable(file)}: may hold several arrays; save the one to predict with numpy.save")
    if ending == ".npy":
        yield from items_in_array(file, read_array(file), kind)
    elif isinstance(kind, TableInput):
        for rows in batched(read_rows(file, kind), ROWS):
            cells = [cells for _, cells in rows]
            found = zip(rows, encoded_rows(cells, kind), unknown_categories(cells, kind))
            yield from (Item(file, number, sample, note) for (number, _), sample, note in found)
    elif isinstance(kind, ImageInput) and not ending.endswith(TABLES):
        yield Item(file, None, lambda: decoded(file, kind))
    else:
        raise DataError(f"{printable(file)}: the model takes {what_it_takes(kind)}")


def decoded(file: str, kind: ImageInput) -> Tensor:
    """Return an image file as a sample. Errors: ValueError or OSError, which say why it is none."""
    return sample_of_picture(decoder_of(kind).picture(file), kind)


def sample_of_picture(picture: Picture, kind: ImageInput) -> Tensor:
    """Return a decoded image as a sample. Errors: ValueError for values of a depth that the training images lack."""
    if picture.values is not None and picture.values.dtype.name not in kind.levels:
        held = ", ".join(kind.levels) or "8 bits"
        raise ValueError(f"has values of type {picture.values.dtype.name}, the training images have {held}")
    return sample_of(decoder_of(kind).pixels(picture), kind)


def decoder_of(kind: ImageInput) -> Decoder:
    """Return what makes files into the pixels that the training had."""
    return Decoder(kind.size, kind.fit, kind.levels)


def sample_of(pixels: np.ndarray, kind: ImageInput) -> Tensor:
    """Return pixels (H, W, 3) as a sample (C, H, W): resized where the training had one size only, grey where C is 1.

    Of an image with another aspect ratio the middle is kept.
    """
    channels, height, width = kind.shape
    if pixels.shape[:2] != (height, width):
        from PIL import Image, ImageOps

        image = Image.fromarray(pixels)
        if kind.fit == "crop":
            image = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
        elif kind.fit == "pad":
            image = ImageOps.pad(image, (width, height), Image.Resampling.BILINEAR, "black")
        else:
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        pixels = np.asarray(image)
    if channels == 1:  # Pillow's weights of the colours, which leave a grey pixel as it is
        red, green, blue = pixels.astype(np.uint32).transpose(2, 0, 1)
        pixels = ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(np.uint8)[:, :, None]
    return torch.from_numpy(np.array(pixels.transpose(2, 0, 1)))


def read_array(file: str) -> np.ndarray:
    """Return the array in a .npy file, read from the disk as it is needed. Errors: DataError."""
    try:
        require_regular(file)
        return np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{printable(file)}: cannot be read as an array ({why(error)})") from None


def items_in_array(file: str, array: "np.ndarray | Tensor", kind: Inputs) -> Iterator[Item]:
    """Yield the samples of an array: (B, *shape), (B, H, W, C) or (B, H, W) of images, or a single one.

    Errors: DataError for another shape.
    """
    shape, found = kind.shape, tuple(array.shape)
    arranged = arrangement(found, shape, isinstance(kind, ImageInput))
    if arranged is None:
        wanted = ", ".join(map(str, shape))
        raise DataError(f"{printable(file) or 'samples'}: must be (B, {wanted}), got {found}")
    single = len(found) == len(shape) and found != (*found[:1], *shape)
    for start in range(0, 1 if single else len(array), ROWS):
        part = array if single else array[start : start + ROWS]
        part = arranged(torch.from_numpy(np.array(part)) if isinstance(part, np.ndarray) else part)
        if not part.dtype.is_floating_point and part.dtype != torch.uint8:
            part = part.float()
        yield from (Item(file, start + place, sample) for place, sample in enumerate(part))


def arrangement(found: tuple, shape: tuple, images: bool) -> Callable[[Tensor], Tensor] | None:
    """Return what turns an array of shape `found` into samples (B, *shape); None where it holds no such."""
    if found[1:] == shape:
        return lambda part: part
    if found == shape:
        return lambda part: part[None]
    if images:
        channels, height, width = shape
        if found[1:] == (height, width, channels):
            return lambda part: part.permute(0, 3, 1, 2)
        if found == (height, width, channels):
            return lambda part: part.permute(2, 0, 1)[None]
        if channels == 1 and found[1:] == (height, width):
            return lambda part: part[:, None]
        if channels == 1 and found == (height, width):
            return lambda part: part[None, None]
    return None


def items_in_rows(path: str, rows: Sequence[Mapping], kind: Inputs) -> Iterator[Item]:
    """Yield rows of a table, dicts by column. Errors: DataError where the model takes none, or columns are missing."""
    if not isinstance(kind, TableInput):
        raise DataError(f"the model takes {what_it_takes(kind)}, not rows of a table")
    named = replace(kind, header=True)
    for start, part in enumerate(batched(rows, ROWS)):
        missing = [column.name for column in named.columns if column.name not in part[0]]
        if missing:
            raise DataError(f"rows lack the column{'s' * (len(missing) > 1)} {', '.join(missing)}")
        cells = [[text_of(row.get(column.name)) for column in named.columns] for row in part]
        for place, (sample, note) in enumerate(zip(encoded_rows(cells, named), unknown_categories(cells, named))):
            yield Item(path, start * ROWS + place, sample, note)


def batched(items: Iterable, size: int) -> Iterator[list]:
    """Yield lists of `size` items, the last one of what is left."""
    source = iter(items)
    return iter(lambda: list(islice(source, size)), [])


def require_images(kind: Inputs, what: str) -> ImageInput:
    """Return what images the model takes. Errors: DataError where it takes none."""
    if not isinstance(kind, ImageInput):
        raise DataError(f"the model takes {what_it_takes(kind)}, not {what}")
    return kind


def batches_of(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield items with their samples, `size` at a time: threads decode a few batches ahead of their use."""

    def made(item: Item) -> Item:
        if not callable(item.sample):
            return item
        try:
            return item._replace(sample=item.sample())
        except (MemoryError, DataError):
            raise
        except Exception as error:  # Pillow raises many kinds, by format
            return item._replace(sample=why(error))

    with ThreadPoolExecutor(cores()) as threads:
        whole = (list(threads.map(made, part)) for part in batched(items, size))
        with closing(prefetch(whole)) as coming:
            yield from coming
