"""Runs with damaged files recover, report the damage, or are refused; no wrong number goes unreported."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent.parent / "scripts" / "damage.py"


def test_six_damages_are_recovered_said_or_refused():
    words = ["--damages", "6", "--seed", "1", "--only", "run"]  # sweeps: tests/rundir/test_integrity.py
    done = subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, timeout=290)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("\n6 damages, 18 commands: 0 faults\n")
