"""Memory that tensors have freed, which the process keeps for the next ones."""

import ctypes
import os

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # parameters of mallopt in glibc's malloc.h
LARGEST = 32 * 2**20  # bytes of a tensor that glibc may take from its heap at most
KEPT = 2**31 - 1  # bytes that are free at the end of the heap before glibc gives them back
CHOSEN = {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES"}


def keep_freed() -> None:
    """Let glibc keep the memory of freed tensors, instead of giving it back to the system and asking again each step.

    Up to a tenth of a step of a convolutional network on a CPU were page faults of such memory. Nothing changes with
    another C library, or where the environment sets what glibc does.
    """
    if os.name != "posix" or not CHOSEN.isdisjoint(os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # not on macOS, nor in musl
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, LARGEST)
        mallopt(TRIM_THRESHOLD, KEPT)
