"""Garbage collection: seldom while importing, and never again over what was imported."""

import gc
import subprocess
import sys

import pytest

from trainer.base.interpreter import ALLOCATIONS, fewer_collections


def test_collections_are_as_before_afterwards():
    before = gc.get_threshold()
    with pytest.raises(ZeroDivisionError), fewer_collections():
        assert gc.get_threshold()[0] == ALLOCATIONS
        raise ZeroDivisionError
    assert gc.get_threshold() == before


def test_only_what_was_imported_is_frozen():
    program = """
import gc
from trainer.base.interpreter import freeze_imports
freeze_imports()
before = gc.get_freeze_count()
made = [[] for _ in range(1000)]
freeze_imports()  # a sweep's second job
assert 0 < gc.get_freeze_count() <= before
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
