"""An input of each family of hostile ones: nothing outside is touched, nothing hangs, nothing is left behind."""

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent.parent / "scripts" / "hostile.py"


def test_an_input_of_each_family_touches_nothing_and_ends_in_words():
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--inputs", "19", "--seed", "1"], capture_output=True, text=True, timeout=290
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("\n19 hostile inputs: 0 faults\n")
    assert not re.search(r" 0 +0$", done.stdout, re.MULTILINE)  # each family was tried
