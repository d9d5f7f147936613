"""Batches read ahead of their use, by a thread and by worker processes."""

import atexit
import math
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from trainer.base.errors import DataError
from trainer.data.image_files import LazyImages, read

END = object()
DEPTH = 3  # items read ahead
PREFETCH = 2  # batches that a worker reads ahead


def ahead(items: Iterable) -> Iterator:
    """Yield the same items in the same order, computed up to DEPTH ahead by a thread whose errors are raised here."""
    source = iter(items)
    with ThreadPoolExecutor(1) as thread:
        coming = deque(thread.submit(next, source, END) for _ in range(DEPTH))
        try:
            while (item := coming.popleft().result()) is not END:
                coming.append(thread.submit(next, source, END))
                yield item
        finally:
            thread.shutdown(cancel_futures=True)


class WorkerPool:
    """Worker processes that read batches of a split. They start at first use and stay for the next epoch.

    They write into buffers in shared memory, used in turn: a batch is valid until DEPTH + 1 more were taken. A worker
    ends when this process ends, in whatever way.

    Args:
        images: those of the split, of any kind.
        workers: number of processes, >= 1.
    """

    def __init__(self, images: Tensor | LazyImages, workers: int) -> None:
        self.images = images
        self.workers = workers
        self._idle: list[tuple[Reader, list, DataLoader]] = []  # one for the epoch, one for an evaluation within it

    def read(self, parts: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the images of each part, in order. Errors: DataError where a worker died, or that a worker raised."""
        largest = max(map(len, parts), default=0)
        fitting = [idle for idle in self._idle if idle[0].buffers.shape[1] >= largest]
        if fitting:
            self._idle.remove(fitting[0])
        reader, requests, loader = fitting[0] if fitting else self._start(largest)
        requests[:] = [(number % len(reader.buffers), part.tolist()) for number, part in enumerate(parts)]
        arriving = iterate(loader)  # in the caller's thread: workers forked by another would end with that thread
        return self._received(reader, requests, loader, arriving)

    def _received(self, reader: "Reader", requests: list, loader: DataLoader, arriving: Iterator) -> Iterator[Tensor]:
        try:
            for result in arriving:
                if isinstance(result, DataError):
                    raise result
                buffer, count = result
                yield reader.buffers[buffer, :count]
        except (RuntimeError, EOFError, OSError) as error:  # a missing worker, or one that died while it sent
            why = str(error).partition("\n")[0] or type(error).__name__
            raise DataError(
                f"workers={self.workers}: a worker that reads images died ({why}); most likely memory ran out "
                "(in a container also /dev/shm): fewer workers, a smaller batch_size or data.size needs less"
            ) from None
        finally:
            if sys.exc_info()[0] in (None, GeneratorExit):
                self._idle.append((reader, requests, loader))

    def _start(self, largest: int) -> tuple["Reader", list, DataLoader]:
        shape = (PREFETCH * self.workers + DEPTH + 2, largest, *self.images.shape[1:])
        reader = Reader(self.images, shared_buffer(shape, self.images.dtype))
        requests: list[tuple[int, list[int]]] = []
        start_method = "fork" if sys.platform == "linux" else None  # a fork shares the list of files
        loader = DataLoader(
            reader,
            sampler=requests,
            batch_size=None,  # a request is a whole batch
            num_workers=self.workers,
            prefetch_factor=PREFETCH,
            persistent_workers=True,
            worker_init_fn=init_worker,
            multiprocessing_context=multiprocessing.get_context(start_method),
        )
        return reader, requests, loader


class Reader:
    """Data set of the workers: reads a batch of images into one of the shared buffers (BUFFERS, LARGEST, C, H, W)."""

    def __init__(self, images: Tensor | LazyImages, buffers: Tensor) -> None:
        self.images = images
        self.buffers = buffers

    def __getitem__(self, request: tuple[int, list[int]]) -> tuple[int, int] | DataError:
        buffer, indices = request
        try:
            self.buffers[buffer, : len(indices)].copy_(read(self.images, torch.tensor(indices)))
        except DataError as error:
            return error  # raised in the worker, its line would arrive with a traceback
        return buffer, len(indices)


def shared_buffer(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return shared memory, uninitialised; the system provides its pages as they are written."""
    storage = torch.UntypedStorage._new_shared(max(math.prod(shape), 1) * dtype.itemsize)
    return torch.empty(0, dtype=dtype).set_(storage)[: math.prod(shape)].view(shape)


def init_worker(worker: int) -> None:
    """Make a worker ignore signals, which the main process handles, and end when the main process ends.

    A DataLoader's own worker looks for its parent every 5 s, and misses one that died before the first look.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=end_with, args=(multiprocessing.parent_process().sentinel,), daemon=True).start()


def end_with(sentinel: int) -> None:
    """End this process as soon as the one behind the sentinel has ended."""
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def iterate(loader: DataLoader) -> Iterator:
    """Return the loader's iterator without its SIGCHLD handler, which would raise at any point of the program."""
    others = set(multiprocessing.active_children())
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGCHLD)
    arriving = iter(loader)
    if main:
        signal.signal(signal.SIGCHLD, before)
    for worker in set(multiprocessing.active_children()) - others:
        atexit.register(worker.kill)  # an exit within an epoch sends SIGTERM, which workers ignore
    return arriving
