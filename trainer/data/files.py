"""Image files: one decoded, many decoded at once, and images that stay where they are until they are asked for."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainer.base.errors import DataError
from trainer.data.capacity import cores

CHUNK = 64  # files that a thread takes at once


@dataclass(frozen=True)
class Files:
    """Image files, decoded whenever they are read.

    Args:
        paths: of the files.
        size: pixels that every image is resized to; None where all are alike.
        shape: (N, C, H, W) of what they decode to; one channel where all are grey.
    """

    paths: Sequence[str]
    size: int | None
    shape: tuple[int, ...]

    def read(self, numbers: Tensor, out: Tensor | None = None) -> Tensor:
        """The images of `numbers` (B,), uint8: in threads, but one after another in a worker process. Errors: DataError, with the path."""
        pixels = torch.empty((len(numbers), *self.shape[1:]), dtype=torch.uint8) if out is None else out
        rows = pixels.numpy()

        def one(place: int, number: int) -> None:
            path = self.paths[number]
            try:
                picture = decoded(path, self.size)
            except Exception as error:  # PIL raises many kinds, by format
                raise DataError(f"{path}: cannot be read any more ({error}); it could when the run began") from None
            if picture.shape[:2] != self.shape[2:]:
                raise DataError(
                    f"{path}: has {picture.shape[1]}x{picture.shape[0]} pixels now; the run began with {self.shape[3]}x{self.shape[2]}"
                )
            rows[place] = picture.transpose(2, 0, 1)[: self.shape[1]]

        pairs = enumerate(numbers.tolist())
        if torch.utils.data.get_worker_info() is not None or len(numbers) < 4:
            for place, number in pairs:
                one(place, number)
        else:
            with ThreadPoolExecutor(cores()) as pool:
                list(pool.map(lambda pair: one(*pair), pairs))
        return pixels


@dataclass(frozen=True)
class Rows:
    """Images of a split that are too many for the memory, or not meant to lie there: (N, C, H, W) uint8.

    Args:
        source: files, or an array that may lie on the disk.
        numbers: (N,) of the split's images in it.
    """

    source: Files | Tensor
    numbers: Tensor
    dtype = torch.uint8

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.numbers), *self.source.shape[1:])

    def __len__(self) -> int:
        return len(self.numbers)

    def read(self, which: Tensor, out: Tensor | None = None) -> Tensor:
        """Images `which` (B,) of the split."""
        return read(self.source, self.numbers[which], out)


def read(images: Tensor | Rows | Files, which: Tensor, out: Tensor | None = None) -> Tensor:
    """Images `which` (B,), wherever they are, in a new tensor or in `out`; the numbers lie on the CPU."""
    return torch.index_select(images, 0, which, out=out) if isinstance(images, Tensor) else images.read(which, out)


def whole(images: Tensor | Rows, device: torch.device) -> Tensor:
    """All images on a device."""
    if isinstance(images, Tensor):
        return images.to(device)
    pixels = torch.empty(images.shape, dtype=torch.uint8, device=device)
    for numbers in tracked(torch.arange(len(images)).split(16 * CHUNK), "reading"):
        pixels[numbers[0] : numbers[-1] + 1] = read(images, numbers)
    return pixels


def decoded(path: str, size: int | None) -> np.ndarray:
    """An image file as (H, W, 3) uint8, upright, resized to (size, size) where a size is given. Errors: whatever PIL raises.

    A JPEG of more than twice that size is shrunk by powers of two while it is decoded, which is several times faster.
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
class Survey:
    """What looking at every file once has shown.

    Args:
        shape: (C, H, W) of the images; one channel where all are grey.
        bad: files that cannot be read, by number, and why.
    """

    shape: tuple[int, ...]
    bad: dict[int, str]


def survey(
    paths: Sequence[str], size: int | None, room: Callable[[tuple[int, ...]], np.ndarray | None]
) -> tuple[Survey, np.ndarray | None]:
    """Decode every file, in as many threads as there are cores (PIL lets go of the lock).

    `room((N, 3, H, W))` gives the array to decode into, whose rows for bad files stay as they are, or None where the images are not
    kept. Errors: DataError where sizes differ and none is given, or where no file can be read.
    """
    bad: dict[int, str] = {}
    coloured: list[bool] = []
    first, shape = (0, (size, size)) if size is not None else first_readable(paths, bad)
    pixels = room((len(paths), 3, *shape))

    def look(start: int) -> None:
        for number in range(start, min(start + CHUNK, len(paths))):
            try:
                picture = decoded(paths[number], size)
            except MemoryError:
                raise
            except Exception as error:  # PIL raises many kinds, by format
                bad[number] = " ".join(str(error).split())
                continue
            if picture.shape[:2] != shape:
                sizes = f"{paths[first]} has {shape[1]}x{shape[0]} pixels, {paths[number]} has {picture.shape[1]}x{picture.shape[0]}"
                raise DataError(f"data.size=null: images must be alike in size, but {sizes}; data.size=N resizes all")
            if not coloured and not (picture[:, :, :1] == picture).all():
                coloured.append(True)
            if pixels is not None:
                pixels[number] = picture.transpose(2, 0, 1)

    starts = range(0, len(paths), CHUNK)
    with ThreadPoolExecutor(cores()) as pool:
        try:
            for _ in tracked(pool.map(look, starts), "decoding", len(starts)):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if len(bad) == len(paths):
        raise DataError(f"{paths[0]}: not an image that can be read ({bad[0]}), and so are all {len(paths):,} files")
    return Survey((3 if coloured else 1, *shape), dict(sorted(bad.items()))), pixels


def first_readable(paths: Sequence[str], bad: dict[int, str]) -> tuple[int, tuple[int, int]]:
    """The first file that can be read, by number, and its height and width."""
    for number, path in enumerate(paths):
        try:
            return number, decoded(path, None).shape[:2]
        except Exception as error:  # PIL raises many kinds, by format
            bad[number] = " ".join(str(error).split())
    raise DataError(f"{paths[0]}: not an image that can be read ({bad[0]}), and so are all {len(paths):,} files")


def tracked(items: Iterable, label: str, total: int | None = None) -> Iterator:
    """The items, with a progress bar on a terminal."""
    if not sys.stderr.isatty():
        return iter(items)
    from rich.console import Console
    from rich.progress import track

    return iter(
        track(items, label, len(items) if total is None else total, console=Console(stderr=True), transient=True)
    )
