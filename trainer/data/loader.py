"""Batches of a split whose samples are on the device, in host memory, or in files that worker processes decode."""

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import cached_property
from hashlib import sha256

import torch
from torch import Tensor, device

from trainer.base.checks import require, require_one_of
from trainer.base.cores import cores
from trainer.base.protocols import Apply
from trainer.data.capacity import free_bytes
from trainer.data.image_files import LazyImages, Redrawn, read, read_all
from trainer.data.splits import Split
from trainer.data.worker_pool import WorkerPool, prefetch

CONVERTED_LIMIT = 256 * 2**20  # bytes up to which a split is preprocessed once and kept as floats
FINGERPRINT_SAMPLES = 256  # samples whose pixels the fingerprint covers
MEMORY_FRACTION = 0.5  # of the free memory that a split may take


class Loader:
    """Preprocessed batches of a split: it is preprocessed once where small and on the device, else batch by batch.

    All ways give the same values.

    Args:
        split: the samples, on any device.
        apply: the fitted preprocessing.
        target_device: device of the batches.
        residency: where the samples are: device; host (a thread gathers batches ahead); stream (workers read them); or
            auto, the first of these with enough memory.
        workers: worker processes of stream, >= 1, or auto for one per core.
    Errors: ValueError.
    """

    def __init__(
        self, split: Split, apply: Apply, target_device: device, residency: str = "auto", workers: int | str = "auto"
    ) -> None:
        require_one_of("auto", "device", "host", "stream", residency=residency)
        if workers != "auto":
            require(">= 1", workers=workers)
        self.residency = choose_residency(split.images, target_device) if residency == "auto" else residency
        self.images, self.targets, self.apply = split.images, split.targets.to(target_device), apply
        self.preprocess = apply  # also where the samples are preprocessed already, and `apply` is None
        self.device = target_device
        if self.residency == "device":
            self.images = read_all(self.images, target_device)
            if self.images.is_floating_point() or self.images.numel() * 4 <= CONVERTED_LIMIT:
                self.images, self.apply = apply(self.images), None
        elif self.residency == "host" and not is_array(self.images):
            self.images = read_all(self.images, torch.device("cpu"))
        self._pool = WorkerPool(self.images, cores() if workers == "auto" else workers)
        self._stream = torch.cuda.Stream(target_device) if target_device.type == "cuda" else None  # of the copies

    def __len__(self) -> int:
        return len(self.targets)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of all targets and of some preprocessed samples."""
        total = sha256(f"{len(self)} {tuple(self.images.shape[1:])}".encode())
        if len(self):
            some = torch.linspace(0, len(self) - 1, min(FINGERPRINT_SAMPLES, len(self)), device=self.device).long()
            for tensor in (self.targets, self.batch(some)[0]):
                total.update(tensor.cpu().contiguous().numpy().tobytes())
        return total.hexdigest()

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the samples of `indices` (B,), which are on the device, without reading ahead."""
        if self.residency == "device":
            images = self.images.index_select(0, indices)
        else:
            images = read(self.images, indices.cpu()).to(self.device)
        return self.apply(images) if self.apply else images, self.targets.index_select(0, indices)

    def batches(self, parts: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the samples of each of `parts`, index tensors on the device; the next parts are read ahead."""
        if self.residency == "device":
            yield from map(self.batch, parts)
        if self.residency == "device" or not len(parts):
            return
        numbers = (
            [part.cpu() for part in parts]
            if self.device.type == "cpu"
            else torch.cat(list(parts)).cpu().split([len(part) for part in parts])
        )
        source = self._pool.read(numbers) if self.residency == "stream" else map(self._gather, numbers)
        with closing(prefetch(map(self._send, source))) as arriving:
            for indices, (images, copied) in zip(parts, arriving):
                if copied is not None:
                    copied.wait()  # the kernels wait for the copy, the program does not
                    images.record_stream(torch.cuda.current_stream(self.device))
                yield self.apply(images), self.targets.index_select(0, indices)

    def in_order(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all samples in the order of the split, `size` at a time."""
        if self.residency != "device":
            yield from self.batches(torch.arange(len(self), device=self.device).split(size))
            return
        for images, targets in zip(self.images.split(size), self.targets.split(size)):
            yield self.apply(images) if self.apply else images, targets

    def _gather(self, numbers: Tensor) -> Tensor:
        """Return images in host memory, pinned where a GPU copies them."""
        if self._stream is None or not isinstance(self.images, Tensor):
            return read(self.images, numbers)
        shape = (len(numbers), *self.images.shape[1:])
        return torch.index_select(
            self.images, 0, numbers, out=torch.empty(shape, dtype=self.images.dtype, pin_memory=True)
        )

    def _send(self, images: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
        """Return images on the device, and the event that ends an asynchronous copy."""
        if self._stream is None:
            return images.to(self.device), None
        with torch.cuda.stream(self._stream):
            pinned = images if images.is_pinned() else images.pin_memory()
            return pinned.to(self.device, non_blocking=True), self._stream.record_event()


def choose_residency(images: Tensor | LazyImages, target_device: device) -> str:
    """Return the first of device, host and stream with enough free memory; arrays on the disk count as host.

    Images that change from reading to reading are read anew in every epoch: stream.
    """
    if isinstance(images, LazyImages) and isinstance(images.source, Redrawn) and images.source.draws:
        return "stream"
    size = math.prod(images.shape) * images.dtype.itemsize * (2 if images.dtype.is_floating_point else 1)
    if size <= MEMORY_FRACTION * free_bytes(target_device):
        return "device"
    return "host" if is_array(images) or size <= MEMORY_FRACTION * free_bytes(torch.device("cpu")) else "stream"


def is_array(images: Tensor | LazyImages) -> bool:
    """Return True if images are an array, in memory or on the disk, and not files."""
    return isinstance(images, Tensor) or isinstance(images.source, Tensor)
