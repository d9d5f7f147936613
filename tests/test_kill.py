"""A run that is killed twelve times, four of them while it writes a checkpoint, ends as if nothing had happened."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent.parent / "scripts" / "kill.py"


def test_twelve_kills_leave_every_run_readable_resumable_and_the_same():
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--kills", "12", "--seed", "1"], capture_output=True, text=True, timeout=290
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("12 kills (4 while a checkpoint was written), ")
    assert (
        done.stdout.endswith(" runs to their end: 0 unreadable, 0 not resumed, 0 different\n")
        and " 0 runs to" not in done.stdout
    )
