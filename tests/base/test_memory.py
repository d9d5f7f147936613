"""Freed memory is kept for the next tensors."""

import os
import platform
import subprocess
import sys

import pytest

from trainer.base.memory import CHOSEN

FAULTS = """
import resource
from trainer.base.memory import keep_freed
keep_freed()
bytearray(8 << 20)  # by now the heap is as large
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    bytearray(8 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 10 * (8 << 20) // os.sysconf("SC_PAGE_SIZE")

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")


def faults(**environment: str) -> int:
    """Return the page faults of ten blocks of 8 MiB, each freed before the next."""
    own = {name: value for name, value in os.environ.items() if name not in CHOSEN} | environment
    done = subprocess.run([sys.executable, "-c", FAULTS], env=own, capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_blocks_of_the_size_of_tensors_come_from_memory_that_was_freed():
    assert faults() < PAGES / 100


def test_what_the_environment_sets_for_glibc_stays():
    assert faults(MALLOC_MMAP_THRESHOLD_="131072") > PAGES / 2
