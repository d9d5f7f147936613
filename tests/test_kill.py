"""Runs that are killed, or get signals, at random times and while they write, end as if nothing had happened."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent.parent / "scripts"


@pytest.mark.parametrize(
    ("words", "last"),
    [
        (("kill.py", "--kills", "8", "--configurations", "short,rollback"), "all 8 ENDS" + " 0" * 7),
        (("signals.py", "--signals", "6", "--configurations", "short", "--forked"), "all 6 ENDS" + " 0" * 8),
    ],
)
def test_a_short_run_of_the_script_finds_nothing(words, last):
    script, *options = words
    command = [sys.executable, str(SCRIPTS / script), *options, "--seed", "1"]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS.parent)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=290, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    begin, end = last.split("ENDS")
    cells = " ".join(done.stdout.splitlines()[-1].split())
    assert cells.startswith(begin) and cells.endswith(end), done.stdout
