"""Fast exit: teardown is skipped, exit handlers and threads are not."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import atexit, sys, threading
from trainer.cli.program import fast_exit

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
def test_exit_handlers_run_and_threads_end_whatever_the_code(end, code, apart):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("END", end)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code and ("why" in done.stderr) == apart
    assert done.stdout.splitlines() == ["thread", "registered", *(["taken apart"] if apart else [])]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a file that takes nothing")
def test_output_that_cannot_be_written_is_a_failure():
    program = PROGRAM.replace("END", "print('x')")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert done.returncode != 0 and "No space left" in done.stderr
