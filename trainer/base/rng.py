"""Random seeds from (seed, purpose, epoch, step) alone, never from how many draws came before."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b

import numpy as np
import torch


def derive(seed: int, purpose: str, epoch: int = 0) -> int:
    """Return a 62-bit seed for one purpose of a run, or of one of its epochs.

    For a step, add its number: the seeds of two purposes are never close.
    """
    digest = blake2b(f"{seed}/{purpose}/{epoch}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 2


def seed_default(device: torch.device, value: int) -> None:
    """Seed the generators that layers draw from: the CPU's and, on another device, that device's.

    `torch.manual_seed` visits every device of the machine and takes 80 us a call; this takes 1 us.
    """
    torch.default_generator.manual_seed(value)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(value)
    elif device.type == "mps":
        torch.mps.manual_seed(value)


@contextmanager
def preserved_generators(device: torch.device) -> Iterator[None]:
    """Give the global random number generators back as they were: Python's, NumPy's, torch's and the device's."""
    restore = remembered_generators(device)
    try:
        yield
    finally:
        restore()


def remembered_generators(device: torch.device) -> Callable[[], None]:
    """Return what gives the global random number generators back as they are now."""
    own = {"cuda": torch.cuda, "mps": torch.mps}.get(device.type)
    where = (device,) if device.type == "cuda" else ()
    states = random.getstate(), np.random.get_state(), torch.get_rng_state(), own and own.get_rng_state(*where)

    def restore() -> None:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if own:
            own.set_rng_state(states[3], *where)

    return restore
