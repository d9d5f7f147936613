"""Random seeds from (seed, purpose, epoch, step) alone, never from how many draws came before."""

from hashlib import blake2b

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
