"""The process beside the program."""

import os
import select
import signal
import subprocess
import sys
import time

import pytest

from trainer.base.helper import Helper

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs a process for each core")
IMPORTS = """
import sys
from trainer.rundir.pictures import import_libraries
import_libraries()
needed = {"matplotlib.figure", "matplotlib.backends.backend_agg", "sklearn.calibration", "sklearn.metrics"}
assert needed <= {*sys.modules}, needed - {*sys.modules}
from trainer.report import calibration, calibration_plot, classes, confusion_plot, residuals_plot, values
assert not {"torch", "torchvision"} & {*sys.modules}
"""
RUN = """
import sys
from trainer.cli.main import main
from trainer.cli.program import program

def command():
    try:
        main()
    finally:
        print(*({"matplotlib", "sklearn.metrics"} & {*sys.modules}))

if __name__ == "__main__":
    program(command)
"""
ENDING = """
import os, sys, time
from trainer.base.helper import Helper

helper = Helper()
with helper.permitted():
    helper.start(os.getpid)
    helper.call(os.open, "alive", os.O_WRONLY)  # until its process ends
    helper.call(time.sleep, 60)
    sys.stdin.read()
"""


@pytest.fixture
def helper():
    made = Helper()
    with made.permitted():
        made.start(os.getpid)
        yield made


def test_functions_are_called_in_one_other_process_and_their_errors_raised_here(helper):
    first, failing, second = helper.call(os.getpid), helper.call(int, "one"), helper.call(os.getpid)
    assert first() == second() != os.getpid()
    with pytest.raises(ValueError, match="'one'"):
        failing()


def test_without_a_process_the_function_is_called_here():
    helper = Helper()
    helper.start(os.getpid)  # not permitted
    assert helper.call(os.getpid)() == os.getpid()


def test_what_a_dead_process_has_left_undone_is_done_here(helper):
    other = helper.call(os.getpid)()
    helper.call(time.sleep, 60)
    waiting = helper.call(os.getpid)
    os.kill(other, signal.SIGKILL)
    assert waiting() == os.getpid() == helper.call(os.getpid)()


@pytest.mark.parametrize("how", ["killed", "ended"])
def test_the_process_ends_with_the_program_whatever_it_is_doing(how, tmp_path):
    os.mkfifo(tmp_path / "alive")
    process = subprocess.Popen([sys.executable, "-c", ENDING], cwd=tmp_path, stdin=subprocess.PIPE)
    with (tmp_path / "alive").open() as alive:  # when the other process has opened it
        if how == "killed":
            process.kill()
        process.communicate(timeout=30)
        ended, _, _ = select.select([alive], [], [], 30)
        assert ended and alive.read() == ""


def test_a_run_draws_and_reports_without_the_libraries_in_its_own_process(tmp_path):
    (tmp_path / "program.py").write_text(RUN)
    command = [sys.executable, "program.py", "model=linear", "data=iris", "epochs=1", "threads=1", "device=cpu"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert done.stdout.splitlines()[-1] == ""
    (run,) = tmp_path.glob("outputs/*/*")
    assert (run / "curves.png").exists() and (run / "report" / "confusion.png").exists()


def test_what_it_imports_is_all_that_a_report_needs_and_no_torch():
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
