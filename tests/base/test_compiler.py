"""Imports that most runs do without."""

import subprocess
import sys

import pytest

RUN = """
import sys
from trainer.cli.main import main
code = main()
print(*[name for name in ("torch._dynamo", "sklearn.datasets") if name in sys.modules], code, file=sys.stderr)
"""


@pytest.mark.parametrize("optimizer, found", [("momentum", []), ("adamw", []), ("rmsprop", ["torch._dynamo"])])
def test_a_run_imports_no_compiler_unless_its_optimizer_steps_by_torchs_own_step(optimizer, found, tmp_path):
    words = ["model=mlp", "epochs=1st", "threads=1", "device=cpu", f"optimizer={optimizer}"]
    command = [sys.executable, "-c", RUN, *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert [*done.stderr.split()[:-1]] == found, done.stderr
