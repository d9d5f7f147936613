"""Ranks: the processes that share the batches of a run, as torchrun or devices=N starts them. No torch at the top.

Rank 0 is the program; the others follow it (engine/followers.py). Inside `joined` the ranks take a run's steps
together, and the sums below are over all of them. Elsewhere, and with one process, a sum is that of this process.
"""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from trainer.base.errors import ConfigError, MachineError

if TYPE_CHECKING:
    from torch import Tensor

PLACE = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # what torchrun tells a process
PATIENCE = timedelta(days=365)  # for another rank that lives; the connection to a dead one breaks at once
SIGNALS = [number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None))]


class RanksDiffer(MachineError):
    """Ranks that should compute the same have not. All of them raise it at the same step."""


@dataclass
class Place:
    """Place of this process among those of a run.

    Args:
        rank: from 0.
        count: of processes.
        local: rank among those on this machine.
        connected: the processes know one another.
        joined: they take steps together.
        broken: they are at different places, as an error has ended the steps of one.
        start: when that began, in seconds of the monotonic clock.
        seconds, signal: time since then, and the signal that has come, on which all ranks agree.
    """

    rank: int = 0
    count: int = 1
    local: int = 0
    connected: bool = False
    joined: bool = False
    broken: bool = False
    start: float = 0.0
    seconds: float = 0.0
    signal: int = 0


AGREED = (ConfigError, RanksDiffer)  # errors that all ranks come to
place = Place()


def is_launched() -> bool:
    """Return whether torchrun, or devices=N, has started this process."""
    return all(name in os.environ for name in PLACE)


def begin() -> None:
    """Take the place that torchrun has given to this process. Errors: ConfigError where it is none."""
    if not is_launched():
        return
    try:
        place.rank, place.count, place.local = (int(os.environ[name]) for name in PLACE[:3])
    except ValueError:
        given = " ".join(f"{name}={os.environ[name]}" for name in PLACE[:3])
        raise ConfigError(f"{given}: must be whole numbers, as torchrun sets them") from None


def count() -> int:
    """Return the number of processes that share a run."""
    return place.count


def joined_count() -> int:
    """Return the number of processes that take the steps of the present run together; 1 outside `joined`."""
    return place.count if place.joined else 1


def is_joined() -> bool:
    """Return whether the ranks take steps together."""
    return place.joined


def connect() -> None:
    """Let the processes know one another, once. Errors: MachineError."""
    if place.connected or place.count == 1:
        return
    import torch
    from torch import distributed

    if torch.cuda.is_available() and place.local < torch.cuda.device_count():
        torch.cuda.set_device(place.local)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    with connection():
        distributed.init_process_group(backend, timeout=PATIENCE)
    place.connected = True


@contextmanager
def connection() -> Iterator[None]:
    """Say it in a line where the connection to another rank breaks: its process has ended."""
    from torch.distributed import DistError

    try:
        yield
    except (DistError, RuntimeError) as error:
        if not is_lost(error):
            raise
        raise lost() from None


def is_lost(error: BaseException) -> bool:
    """Return whether an error is that of a broken connection, as gloo and NCCL give it."""
    from torch.distributed import DistError

    text = str(error)
    return isinstance(error, DistError) or "onnection closed" in text or "gloo/transport" in text


def lost() -> MachineError:
    """Return the error of a rank that has lost the connection to another one."""
    return MachineError(f"rank {place.rank} has lost the connection to another rank, whose process has ended")


@contextmanager
def joined() -> Iterator[None]:
    """Take the steps in the block together with the other ranks, which enter such a block. Errors: MachineError."""
    place.joined, place.start, place.seconds, place.signal = True, time.monotonic(), 0.0, 0
    try:
        with connection():
            yield
    except BaseException as error:
        place.broken = not isinstance(error, AGREED)
        raise
    finally:
        place.joined = False


def seconds() -> float:
    """Return a time in seconds, to be compared with others: joined ranks have the same one."""
    return place.seconds if place.joined else time.monotonic()


def flags(received: int) -> list[float]:
    """Return what a rank says to the others at a step: rank 0's time, and a signal that has come to this rank."""
    now = time.monotonic() - place.start if place.rank == 0 else 0.0
    return [now, *(float(number == received) for number in SIGNALS)]


def agree(sums: Sequence[float]) -> None:
    """Take the sums of all ranks' flags."""
    place.seconds = sums[0]
    place.signal = next((number for number, rank_count in zip(SIGNALS, sums[1:]) if rank_count), 0)


def share(total: int) -> slice:
    """Return the part of `total` samples that is this rank's: nearly equal ones, in order."""
    return slice(total * place.rank // place.count, total * (place.rank + 1) // place.count)


def sum_in_place(tensor: "Tensor") -> "Tensor":
    """Replace a tensor by its sum over joined ranks, and return it."""
    if place.joined:
        from torch import distributed

        distributed.all_reduce(tensor)
    return tensor


def total(numbers: Sequence[float]) -> list[float]:
    """Return the sums of numbers over joined ranks, in float64."""
    if not place.joined:
        return [*numbers]
    import torch

    return sum_in_place(torch.tensor(numbers, dtype=torch.float64)).tolist()


def rows_of_all(rows: "Tensor", total: int) -> "Tensor":
    """Return the rows (total, ...) of all joined ranks from those of each, its share."""
    if not place.joined:
        return rows
    whole = rows.new_zeros(total, *rows.shape[1:])
    whole[share(total)] = rows
    return sum_in_place(whole)


def of_all(tensor: "Tensor") -> list["Tensor"]:
    """Return a tensor of every joined rank, of one shape."""
    import torch
    from torch import distributed

    found = [torch.empty_like(tensor) for _ in range(place.count)]
    distributed.all_gather(found, tensor)
    return found


def of_first(answer: bool) -> bool:
    """Return rank 0's answer to a question that it alone can decide."""
    return total([float(answer and place.rank == 0)])[0] > 0 if place.joined else answer


def send(order: object) -> None:
    """Send an order of rank 0 to all others. Errors: MachineError."""
    _broadcast([order])


def receive() -> object:
    """Return the next order of rank 0. Errors: MachineError."""
    return _broadcast([None])


@contextmanager
def dismissed() -> Iterator[None]:
    """Let the other ranks end with the block. They see it by themselves where it ends in the midst of a training."""
    try:
        yield
    except BaseException:
        if place.connected and not place.broken:
            dismiss()
        raise
    dismiss()


def dismiss() -> None:
    """Tell the other ranks, if there are any, that nothing is left to do."""
    if place.count > 1:
        with suppress(MachineError):
            send(None)


def _broadcast(orders: list) -> object:
    from torch import distributed

    connect()
    with connection():
        distributed.broadcast_object_list(orders)
    return orders[0]
