"""Batches read ahead of their use, by a thread and by the worker processes of torch's DataLoader.

A worker reads whole batches: 1.02 times as many images per second as a DataLoader of single images, 1.01 times where
they are standardised on the CPU (scripts/bench/stream.py: JPEGs resized to 224 pixels, 2 cores). Buffers of our own in
shared memory, in place of the DataLoader's transfer, gained another 3 to 6 % and were not worth their code.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.util import Finalize

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from trainer.base.errors import DataError
from trainer.data.image_files import LazyImages, read

END = object()
DEPTH = 3  # items read ahead by the thread
GRACE = 0.1  # seconds in which a stopped worker may end by itself


def prefetch(items: Iterable) -> Iterator:
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

    A worker ends when this process ends, in whatever way.

    Args:
        images: those of the split, of any kind.
        workers: number of processes, >= 1.
    """

    def __init__(self, images: Tensor | LazyImages, workers: int) -> None:
        self.images = images
        self.workers = workers
        self._idle: list[DataLoader] = []  # one for the epoch, one for an evaluation within it

    def read(self, parts: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the images of each part, in order. Errors: DataError where a worker died, or that a worker raised."""
        loader = self._idle.pop() if self._idle else self._new_loader()
        loader.sampler[:] = [part.tolist() for part in parts]
        # In the caller's thread: workers forked by another would end with that thread.
        return self._received(loader, start_epoch(loader))

    def _received(self, loader: DataLoader, arriving: Iterator) -> Iterator[Tensor]:
        try:
            for images in arriving:
                if isinstance(images, DataError):
                    raise images
                yield images
        except GeneratorExit:  # an epoch that is left early
            pass
        except (RuntimeError, EOFError, OSError) as error:  # a missing worker, or one that died while it sent
            why = str(error).partition("\n")[0] or type(error).__name__
            raise DataError(
                f"workers={self.workers}: a worker that reads images died ({why}), most likely because memory ran out "
                "(or /dev/shm, in a container); try fewer workers, a smaller batch_size or a smaller data.size"
            ) from None
        self._idle.append(loader)

    def _new_loader(self) -> DataLoader:
        stopped, stop = multiprocessing.Pipe(duplex=False)
        loader = DataLoader(
            Batches(self.images),
            sampler=[],  # the indices of each batch of an epoch
            batch_size=None,  # an item is a whole batch
            num_workers=self.workers,
            persistent_workers=True,
            worker_init_fn=partial(init_worker, stopped),
            multiprocessing_context="fork" if sys.platform == "linux" else None,  # a fork shares the list of files
        )
        # Workers ignore the SIGTERM of multiprocessing's exit, and torch waits 10 s for those of a loader that is
        # collected as part of a cycle.
        Finalize(loader, stop.send_bytes, args=(b"stop",), exitpriority=1)
        return loader


class Batches(Dataset):
    """Data set of the workers, whose items are batches of images (B, C, H, W)."""

    def __init__(self, images: Tensor | LazyImages) -> None:
        self.images = images

    def __getitem__(self, indices: list[int]) -> Tensor | DataError:
        try:
            return read(self.images, torch.tensor(indices))
        except DataError as error:
            return error  # raised in the worker, its line would arrive with a traceback


def init_worker(stopped: Connection, worker: int) -> None:
    """Make a worker ignore signals, which the main process handles, and end when the main process ends or stops it.

    A DataLoader's own worker looks for its parent every 5 s, and misses one that died before the first look.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process().sentinel
    threading.Thread(target=end_with, args=(parent, stopped), daemon=True).start()


def end_with(parent: int, stopped: Connection) -> None:
    """End this process as soon as its parent has ended, or shortly after a message in `stopped`."""
    if parent not in wait([parent, stopped]):
        time.sleep(GRACE)  # torch shuts down meanwhile, and would hang if a worker died with its lock in hand
    os._exit(1)


def start_epoch(loader: DataLoader) -> Iterator:
    """Return the loader's iterator without its SIGCHLD handler, which would raise at any point of the program."""
    before = signal.getsignal(signal.SIGCHLD)
    arriving = iter(loader)
    if signal.getsignal(signal.SIGCHLD) is not before:
        signal.signal(signal.SIGCHLD, before)
    return arriving
