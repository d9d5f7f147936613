"""Images that are read when they are needed, from files or from an array on the disk."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from trainer.base.cores import cores
from trainer.base.errors import DataError
from trainer.data.image_decoding import Decoder
from trainer.data.image_scan import CHUNK, why, with_progress_bar

COPY_LIMIT = 2 * 2**30  # bytes of chosen images that are copied into memory


class Reader(Protocol):
    """Images (N, C, H, W) that are read by index."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    def read(self, indices: Tensor) -> Tensor:
        """Return the images of `indices` (B,), which are on the CPU. Errors: DataError."""


@runtime_checkable
class Redrawn(Protocol):
    """A reader whose images differ from reading to reading where `draws` is true, as those of random transforms."""

    draws: bool


@dataclass(frozen=True)
class ImageFiles:
    """Image files, decoded whenever they are read.

    Args:
        paths: of the files.
        decoder: turns each of them into pixels.
        shape: (N, C, H, W) of the decoded images; one channel where all are grey.
    """

    paths: Sequence[str]
    decoder: Decoder
    shape: tuple[int, ...]
    dtype = torch.uint8

    def read(self, indices: Tensor) -> Tensor:
        """Return the images of `indices` (B,), uint8: decoded by threads, but one by one in a worker process.

        Errors: DataError, with the path.
        """
        images = torch.empty((len(indices), *self.shape[1:]), dtype=torch.uint8)
        pixels = images.numpy()

        def decode_into(position: int, index: int) -> None:
            path = self.paths[index]
            try:
                image = self.decoder(path)
            except Exception as error:  # Pillow raises many kinds, by format
                reason = f"can no longer be read ({why(error)}); the run began with a readable file"
                raise DataError(f"{path}: {reason}") from None
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
    """Images (N, C, H, W) of a split, read when needed: they exceed the memory or shall not fill it.

    Args:
        source: files, an array that may be on the disk, or another reader of images by index.
        indices: (N,) of the split's images in it.
    """

    source: Reader | Tensor
    indices: Tensor

    @property
    def dtype(self) -> torch.dtype:
        return self.source.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.indices), *self.source.shape[1:])

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, indices: Tensor) -> Tensor:
        """Return images `indices` (B,) of the split."""
        return read(self.source, self.indices[indices])


def chosen(images: Tensor | LazyImages | Reader, rows: Tensor) -> Tensor | LazyImages:
    """Return images of ascending rows: a view where they are contiguous, a copy up to COPY_LIMIT, else lazy ones.

    Floats are copied whatever their size: they are in memory, and uint8 may be an array on the disk.
    """
    if isinstance(images, LazyImages):
        return LazyImages(images.source, images.indices[rows])
    if not isinstance(images, Tensor):
        return LazyImages(images, rows)
    if len(rows) == 0 or int(rows[-1] - rows[0]) + 1 == len(rows):
        first = int(rows[0]) if len(rows) else 0
        return images[first : first + len(rows)]
    few = len(rows) * images[0].numel() <= COPY_LIMIT
    return images[rows] if few or images.is_floating_point() else LazyImages(images, rows)


def read(images: Tensor | LazyImages | Reader, indices: Tensor) -> Tensor:
    """Return images `indices` (B,), which are on the CPU, in a new tensor."""
    return torch.index_select(images, 0, indices) if isinstance(images, Tensor) else images.read(indices)


def read_all(images: Tensor | LazyImages, device: torch.device) -> Tensor:
    """Return all images on a device."""
    if isinstance(images, Tensor):
        return images.to(device)
    pixels = torch.empty(images.shape, dtype=images.dtype, device=device)
    for indices in with_progress_bar(torch.arange(len(images)).split(16 * CHUNK), "reading"):
        pixels[indices[0] : indices[-1] + 1] = read(images, indices)
    return pixels
