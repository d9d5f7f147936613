"""Fetching batches before they are asked for: by a thread, and by processes."""

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
DEPTH = 3  # items on their way while one is used
ORDERS = 2  # batches that a worker is told of at a time


def ahead(items: Iterable) -> Iterator:
    """The same items in the same order, made by a thread up to DEPTH before they are asked for; its errors come here."""
    source = iter(items)
    with ThreadPoolExecutor(1) as thread:
        coming = deque(thread.submit(next, source, END) for _ in range(DEPTH))
        try:
            while (item := coming.popleft().result()) is not END:
                coming.append(thread.submit(next, source, END))
                yield item
        finally:
            thread.shutdown(cancel_futures=True)


class Crew:
    """Processes that read batches of a split, each a whole batch at a time; they start when first needed and stay for the next epoch.

    They write into memory that this process shares with them, in places taken in turn: a batch is good until DEPTH + 1 more were
    taken. A process ends with this one, however this one ends.

    Args:
        images: the split's, of any kind.
        workers: how many processes, >= 1.
    """

    def __init__(self, images: Tensor | LazyImages, workers: int) -> None:
        self.images = images
        self.workers = workers
        self._idle: list[tuple[Reader, list, DataLoader]] = []  # an epoch and a scoring within it need one each

    def read(self, parts: Sequence[Tensor]) -> Iterator[Tensor]:
        """The images of each part, in order. Errors: DataError where a process died, or as it met one."""
        largest = max(map(len, parts), default=0)
        fitting = [hired for hired in self._idle if hired[0].places.shape[1] >= largest]
        if fitting:
            self._idle.remove(fitting[0])
        reader, orders, loader = fitting[0] if fitting else self._hire(largest)
        orders[:] = [(number % len(reader.places), part.tolist()) for number, part in enumerate(parts)]
        arriving = started(loader)  # here, in the thread that asks: one that was itself forked off cannot end well
        return self._received(reader, orders, loader, arriving)

    def _received(self, reader: "Reader", orders: list, loader: DataLoader, arriving: Iterator) -> Iterator[Tensor]:
        try:
            for done in arriving:
                if isinstance(done, DataError):
                    raise done
                place, count = done
                yield reader.places[place, :count]
        except (
            RuntimeError,
            EOFError,
            OSError,
        ) as error:  # as found by its absence, or half way through its last message
            why = str(error).partition("\n")[0] or type(error).__name__
            raise DataError(
                f"workers={self.workers}: a process that reads images has died ({why}); most likely memory ran out "
                "(in a container also /dev/shm): fewer workers, a smaller batch_size or data.size needs less"
            ) from None
        finally:
            if sys.exc_info()[0] in (None, GeneratorExit):
                self._idle.append((reader, orders, loader))

    def _hire(self, largest: int) -> tuple["Reader", list, DataLoader]:
        reader = Reader(
            self.images, shared((ORDERS * self.workers + DEPTH + 2, largest, *self.images.shape[1:]), self.images.dtype)
        )
        orders: list[tuple[int, list[int]]] = []
        loader = DataLoader(
            reader,
            sampler=orders,
            batch_size=None,  # an order is a whole batch
            num_workers=self.workers,
            prefetch_factor=ORDERS,
            persistent_workers=True,
            worker_init_fn=undisturbed,
            multiprocessing_context=multiprocessing.get_context(
                "fork" if sys.platform == "linux" else None
            ),  # shares the list of files
        )
        return reader, orders, loader


class Reader:
    """What runs in a worker: reads a batch by its numbers into a place (of P, each with room for a largest batch)."""

    def __init__(self, images: Tensor | LazyImages, places: Tensor) -> None:
        self.images = images
        self.places = places

    def __getitem__(self, order: tuple[int, list[int]]) -> tuple[int, int] | DataError:
        place, numbers = order
        try:
            self.places[place, : len(numbers)].copy_(read(self.images, torch.tensor(numbers)))
        except DataError as error:
            return error  # raised there, its one line would come back as a page
        return place, len(numbers)


def shared(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Room that processes forked or spawned from this one see too; taken from the system as it is filled."""
    storage = torch.UntypedStorage._new_shared(max(math.prod(shape), 1) * dtype.itemsize)
    return torch.empty(0, dtype=dtype).set_(storage)[: math.prod(shape)].view(shape)


def undisturbed(worker: int) -> None:
    """What a worker does first. Signals are for the program that trains, which ends its workers when it has done what they ask.

    Torch's worker sees every 5 s whether its parent is another, and so misses one that died before the worker first looked.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=end_with, args=(multiprocessing.parent_process().sentinel,), daemon=True).start()


def end_with(sentinel: int) -> None:
    """End this process as soon as the one behind the sentinel has ended."""
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def started(loader: DataLoader) -> Iterator:
    """The loader's iterator, without the handler it sets for dead children, which would raise wherever the program happens to be."""
    others = set(multiprocessing.active_children())
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGCHLD)
    arriving = iter(loader)
    if main:
        signal.signal(signal.SIGCHLD, before)
    for worker in set(multiprocessing.active_children()) - others:
        atexit.register(
            worker.kill
        )  # a program that ends in the middle of an epoch asks with SIGTERM, which they do not hear
    return arriving
