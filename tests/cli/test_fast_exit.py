"""The end of the program is quick, and leaves nothing out that a program does at its end."""

import gc
import os
import subprocess
import sys

import pytest

from trainer.base.interpreter import ALLOCATIONS, fewer_collections

PROGRAM = """
import atexit, sys, threading
from trainer.cli.fast_exit import fast_exit

class Late:
    def __del__(self):
        print("taken apart", flush=True)

late = Late()
late.itself = late
with fast_exit():
    atexit.register(print, "registered")
    threading.Thread(target=lambda: (threading.main_thread().join(), print("thread"))).start()
    END
"""


@pytest.mark.parametrize(
    "end, code, apart",
    [
        ("pass", 0, False),
        ("sys.exit()", 0, False),
        ("sys.exit(0)", 0, False),
        ("sys.exit(5)", 5, False),
        ("sys.exit('why')", 1, True),
        ("raise RuntimeError('why')", 1, True),
    ],
)
def test_what_was_registered_is_done_and_threads_are_waited_for_whatever_the_code(end, code, apart):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("END", end)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code and ("why" in done.stderr) == apart
    assert done.stdout.splitlines() == ["thread", "registered", *(["taken apart"] if apart else [])]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a file that takes nothing")
def test_output_that_cannot_be_written_is_no_success():
    program = PROGRAM.replace("END", "print('x')")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert done.returncode != 0 and "No space left" in done.stderr


def test_garbage_is_looked_for_as_before_afterwards():
    before = gc.get_threshold()
    with pytest.raises(ZeroDivisionError), fewer_collections():
        assert gc.get_threshold()[0] == ALLOCATIONS
        1 / 0
    assert gc.get_threshold() == before


def test_only_what_was_imported_is_kept_for_good():
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
