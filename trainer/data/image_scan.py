"""Facts about image files, found by decoding each of them once."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np

from trainer.base.cores import cores
from trainer.base.live_line import drawn
from trainer.base.streams import draws_on
from trainer.data.image_decoding import Decoder, Picture

CHUNK = 64  # files that a thread decodes before it takes the next ones
CHECKED = 10_000  # files that are decoded once it is known that the data set cannot be used as it is
USUAL_SIZES = (224, 192, 160, 128, 96, 64, 48, 32)  # proposed where images differ in size
FACTS = ("deep", "transparent", "several", "oblong")  # counted over the readable files

Allocate = Callable[[tuple[int, ...]], np.ndarray | None]


@dataclass(frozen=True)
class Mismatch:
    """Images of different sizes.

    Args:
        smallest, largest: width, height and index of a file.
        proposed: a size to resize all of them to.
    """

    smallest: tuple[int, int, int]
    largest: tuple[int, int, int]
    proposed: int


@dataclass(frozen=True)
class Scan:
    """Facts about image files.

    Args:
        shape: (C, H, W) of the images, one channel where all are grey; None where they cannot be used together.
        unreadable: files that cannot be decoded, by index, and why.
        levels: smallest (0, if none is negative) and largest value of the files of more than 8 bits, by data type.
        counts: of the files of more than 8 bits (deep), those with transparent pixels, with several frames or pages,
            and those that are not square (oblong).
        mismatch: where sizes differ and none is given.
        files: number of files that were decoded.
    """

    shape: tuple[int, ...] | None
    unreadable: Mapping[int, str]
    levels: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    mismatch: Mismatch | None = None
    files: int = 0


def scan_images(paths: Sequence[str], decoder: Decoder, allocate: Allocate) -> tuple[Scan, np.ndarray | None]:
    """Decode every file, in as many threads as there are cores (Pillow releases the GIL).

    Files of more than 8 bits are decoded a second time, once the largest value of all of them is known. Where sizes
    differ and none is given, files beyond the first CHECKED are left.

    Args:
        allocate: takes (N, 3, H, W), and gives the array to decode into, or None where the pixels are not kept. Rows of
            unreadable files stay as they are.
    """
    scanner = Scanner(paths, decoder)
    shape = scanner.first_shape()
    if shape is None:
        return Scan(None, scanner.unreadable, files=len(paths)), None
    pixels = allocate((len(paths), 3, *shape))
    scanner.first_pass(shape, pixels)
    if scanner.mixed:
        return scanner.unusable(), None
    scanner.second_pass(pixels)
    return scanner.facts(shape), pixels


class Scanner:
    """Two passes over image files, and what they found."""

    def __init__(self, paths: Sequence[str], decoder: Decoder) -> None:
        self.paths, self.decoder = paths, decoder
        self.unreadable: dict[int, str] = {}
        self.sizes = np.zeros((len(paths), 2), np.int32)  # width and height of the decoded files
        self.flags = {name: np.zeros(len(paths), bool) for name in FACTS}
        self.ranges: dict[str, list[tuple[float, float]]] = {}
        self.coloured = self.mixed = False

    def first_shape(self) -> tuple[int, int] | None:
        """Return height and width of all images: those asked for, or of the first readable file; None if none is."""
        if self.decoder.size is not None:
            return self.decoder.size, self.decoder.size
        for index in range(len(self.paths)):
            if picture := self._picture(index):
                return picture.size[::-1]
        return None

    def first_pass(self, shape: tuple[int, int], pixels: np.ndarray | None) -> None:
        """Decode every file, and keep the pixels of those of 8 bits."""

        def look(index: int) -> None:
            if (self.mixed and index >= CHECKED) or index in self.unreadable:
                return
            picture = self._picture(index)
            if picture is None:
                return
            self.sizes[index] = picture.size
            found = (picture.values is not None, picture.transparent, picture.several, not picture.square)
            for name, value in zip(FACTS, found):
                self.flags[name][index] = value
            if self.decoder.size is None and picture.size != shape[::-1]:
                self.mixed = True
            elif picture.values is None:
                self._keep(index, self.decoder.pixels(picture), pixels)
            else:
                values = picture.values
                self.ranges.setdefault(values.dtype.name, []).append((float(values.min()), float(values.max())))

        in_threads(look, range(len(self.paths)), "decoding")

    def second_pass(self, pixels: np.ndarray | None) -> None:
        """Decode the files of more than 8 bits, now that their levels are known."""
        decoder = replace(self.decoder, levels=self.levels())

        def decode(index: int) -> None:
            self._keep(index, decoder(self.paths[index]), pixels)

        in_threads(decode, np.flatnonzero(self.flags["deep"]).tolist(), "scaling")

    def levels(self) -> dict[str, tuple[float, float]]:
        """Return the values that become black and white, by data type."""
        found = {}
        for kind, ranges in self.ranges.items():
            low, high = min(0.0, *(low for low, _ in ranges)), max(high for _, high in ranges)
            found[kind] = (low, high if high > low else low + 1)
        return found

    def facts(self, shape: tuple[int, int]) -> Scan:
        """Return what was found about images of one shape."""
        unreadable = dict(sorted(self.unreadable.items()))
        if len(unreadable) == len(self.paths):
            return Scan(None, unreadable, files=len(unreadable))
        counts = {name: int(flags.sum()) for name, flags in self.flags.items()}
        return Scan((3 if self.coloured else 1, *shape), unreadable, self.levels(), counts, files=len(self.paths))

    def unusable(self) -> Scan:
        """Return what was found about images that differ in size."""
        unreadable = dict(sorted(self.unreadable.items()))
        files = int(self.sizes.any(1).sum()) + len(unreadable)
        return Scan(None, unreadable, mismatch=self.mismatch(), files=files)

    def mismatch(self) -> Mismatch:
        """Return the smallest and the largest of images that differ in size."""
        known = np.flatnonzero(self.sizes[:, 0])
        sizes = self.sizes[known].astype(np.int64)
        small, large = (int(place) for place in (sizes.prod(1).argmin(), sizes.prod(1).argmax()))
        if small == large:  # as many pixels in all: one lies, one stands
            large = int(np.flatnonzero((sizes != sizes[small]).any(1))[0])
        typical = int(np.median(sizes.min(1)))
        proposed = next((size for size in USUAL_SIZES if size <= typical), typical)
        first, last = ((*sizes[place].tolist(), int(known[place])) for place in (small, large))
        return Mismatch(first, last, proposed)

    def _picture(self, index: int) -> Picture | None:
        try:
            return self.decoder.picture(self.paths[index])
        except MemoryError:
            raise
        except Exception as error:  # Pillow raises many kinds, by format
            self.unreadable[index] = why(error)
            return None

    def _keep(self, index: int, image: np.ndarray, pixels: np.ndarray | None) -> None:
        if not self.coloured and not (image[:, :, :1] == image).all():
            self.coloured = True
        if pixels is not None:
            pixels[index] = image.transpose(2, 0, 1)


def in_threads(work: Callable[[int], None], indices: Sequence[int], label: str) -> None:
    """Call `work` for every index, in as many threads as there are cores."""
    chunks = [indices[start : start + CHUNK] for start in range(0, len(indices), CHUNK)]

    def work_on(chunk: Sequence[int]) -> None:
        for index in chunk:
            work(index)

    with ThreadPoolExecutor(cores()) as threads:
        try:
            for _ in with_progress_bar(threads.map(work_on, chunks), label, len(chunks)):
                pass
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise


def why(error: Exception) -> str:
    """Return why a file cannot be read, in one line and without its path."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(str(text).split()) or type(error).__name__


def with_progress_bar(items: Iterable, label: str, total: int | None = None) -> Iterator:
    """Yield the items, behind a progress bar on a terminal; one without an end where nobody knows their number."""
    if not draws_on(sys.stderr):
        yield from items
        return
    from rich.console import Console
    from rich.progress import Progress

    progress = Progress(console=Console(stderr=True), transient=True)
    with drawn(progress):
        known = len(items) if total is None and isinstance(items, Sized) else total
        yield from progress.track(items, known, description=label)
