"""Image files: decoding one or many, and images that are decoded when they are read."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainer.base.errors import DataError
from trainer.data.capacity import cores

CHUNK = 64  # files that a thread decodes before it takes the next ones


@dataclass(frozen=True)
class ImageFiles:
    """Image files, decoded whenever they are read.

    Args:
        paths: of the files.
        size: pixels that every image is resized to; None where all have one size.
        shape: (N, C, H, W) of the decoded images; one channel where all are grey.
    """

    paths: Sequence[str]
    size: int | None
    shape: tuple[int, ...]

    def read(self, indices: Tensor) -> Tensor:
        """Return the images of `indices` (B,), uint8: decoded by threads, but one by one in a worker process.

        Errors: DataError, with the path.
        """
        images = torch.empty((len(indices), *self.shape[1:]), dtype=torch.uint8)
        pixels = images.numpy()

        def decode_into(position: int, index: int) -> None:
            path = self.paths[index]
            try:
                image = decode(path, self.size)
            except Exception as error:  # PIL raises many kinds, by format
                raise DataError(
                    f"{path}: can no longer be read ({error}); the run began with a readable file"
                ) from None
            if image.shape[:2] != self.shape[2:]:
                now, then = f"{image.shape[1]}x{image.shape[0]}", f"{self.shape[3]}x{self.shape[2]}"
                raise DataError(f"{path}: is {now} pixels now; the run began with {then}")
            pixels[position] = image.transpose(2, 0, 1)[: self.shape[1]]

        pairs = enumerate(indices.tolist())
        if torch.utils.data.get_worker_info() is not None or len(indices) < 4:
            for position, index in pairs:
                decode_into(position, index)
        else:
            with ThreadPoolExecutor(cores()) as threads:
                list(threads.map(lambda pair: decode_into(*pair), pairs))
        return images


@dataclass(frozen=True)
class LazyImages:
    """Images (N, C, H, W) uint8 of a split, read when needed: they exceed the memory or shall not fill it.

    Args:
        source: files, or an array that may be on the disk.
        indices: (N,) of the split's images in it.
    """

    source: ImageFiles | Tensor
    indices: Tensor
    dtype = torch.uint8

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.indices), *self.source.shape[1:])

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, indices: Tensor) -> Tensor:
        """Return images `indices` (B,) of the split."""
        return read(self.source, self.indices[indices])


def read(images: Tensor | LazyImages | ImageFiles, indices: Tensor) -> Tensor:
    """Return images `indices` (B,), which are on the CPU, in a new tensor."""
    return torch.index_select(images, 0, indices) if isinstance(images, Tensor) else images.read(indices)


def read_all(images: Tensor | LazyImages, device: torch.device) -> Tensor:
    """Return all images on a device."""
    if isinstance(images, Tensor):
        return images.to(device)
    pixels = torch.empty(images.shape, dtype=torch.uint8, device=device)
    for indices in with_progress_bar(torch.arange(len(images)).split(16 * CHUNK), "reading"):
        pixels[indices[0] : indices[-1] + 1] = read(images, indices)
    return pixels


def decode(path: str, size: int | None) -> np.ndarray:
    """Return an image file as (H, W, 3) uint8, upright, resized to (size, size) where a size is given.

    A JPEG of more than twice that size is shrunk by powers of two while it is decoded, which is several times faster.
    Errors: whatever PIL raises.
    """
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        if size is not None:
            image.draft(None, (2 * size, 2 * size))
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16"):  # 16-bit grey, which convert() would clip at 255
            image = Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
        image = image.convert("RGB")
        if size is not None:
            image = image.resize((size, size), Image.Resampling.BILINEAR)
        return np.asarray(image)


@dataclass(frozen=True)
class Scan:
    """Facts about image files, found by decoding each of them once.

    Args:
        shape: (C, H, W) of the images; one channel where all are grey.
        unreadable: files that cannot be decoded, by index, and why.
    """

    shape: tuple[int, ...]
    unreadable: dict[int, str]


def scan_images(
    paths: Sequence[str], size: int | None, allocate: Callable[[tuple[int, ...]], np.ndarray | None]
) -> tuple[Scan, np.ndarray | None]:
    """Decode every file, in as many threads as there are cores (PIL releases the GIL).

    `allocate((N, 3, H, W))` gives the array to decode into, whose rows for unreadable files stay as they are, or None
    where the pixels are not kept. Errors: DataError where sizes differ and none is given, or where no file is readable.
    """
    unreadable: dict[int, str] = {}
    coloured: list[bool] = []
    first, shape = (0, (size, size)) if size is not None else first_readable(paths, unreadable)
    pixels = allocate((len(paths), 3, *shape))

    def decode_chunk(start: int) -> None:
        for index in range(start, min(start + CHUNK, len(paths))):
            try:
                image = decode(paths[index], size)
            except MemoryError:
                raise
            except Exception as error:  # PIL raises many kinds, by format
                unreadable[index] = one_line(error)
                continue
            if image.shape[:2] != shape:
                raise DataError(
                    f"data.size=null: images must have one size, but {paths[first]} is {shape[1]}x{shape[0]} pixels "
                    f"and {paths[index]} is {image.shape[1]}x{image.shape[0]}; try data.size=N to resize all"
                )
            if not coloured and not (image[:, :, :1] == image).all():
                coloured.append(True)
            if pixels is not None:
                pixels[index] = image.transpose(2, 0, 1)

    starts = range(0, len(paths), CHUNK)
    with ThreadPoolExecutor(cores()) as threads:
        try:
            for _ in with_progress_bar(threads.map(decode_chunk, starts), "decoding", len(starts)):
                pass
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise
    if len(unreadable) == len(paths):
        raise none_readable(paths, unreadable)
    return Scan((3 if coloured else 1, *shape), dict(sorted(unreadable.items()))), pixels


def first_readable(paths: Sequence[str], unreadable: dict[int, str]) -> tuple[int, tuple[int, int]]:
    """Return the index of the first readable file, and its height and width. Errors: DataError where there is none."""
    for index, path in enumerate(paths):
        try:
            return index, decode(path, None).shape[:2]
        except Exception as error:  # PIL raises many kinds, by format
            unreadable[index] = one_line(error)
    raise none_readable(paths, unreadable)


def none_readable(paths: Sequence[str], unreadable: dict[int, str]) -> DataError:
    """Return the error for a data set without a readable image."""
    return DataError(
        f"{paths[0]}: not a readable image ({unreadable[0]}); none of the {len(paths):,} files is readable"
    )


def one_line(error: Exception) -> str:
    """Return an error's message without line breaks."""
    return " ".join(str(error).split())


def with_progress_bar(items: Iterable, label: str, total: int | None = None) -> Iterator:
    """Return the items, behind a progress bar on a terminal."""
    if not sys.stderr.isatty():
        return iter(items)
    from rich.console import Console
    from rich.progress import track

    total = len(items) if total is None else total
    return iter(track(items, label, total, console=Console(stderr=True), transient=True))
