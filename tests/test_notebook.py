"""Every cell of the example notebook runs, in order, in a process that has seen nothing."""

import json
import subprocess
import sys
from ast import literal_eval
from pathlib import Path

NOTEBOOK = Path(__file__).parent.parent / "examples" / "notebook.ipynb"


def test_the_notebook_runs(tmp_path):
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] for cell in cells)
    sources = ["".join(cell["source"]).splitlines() for cell in cells]
    shown = [
        "\n".join([*lines[:-1], f"print('shown:', repr(({lines[-1]})))"]) for lines in sources
    ]  # as a notebook does
    program = [sys.executable, "-c", "\n".join(shown)]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    values = [line.removeprefix("shown: ") for line in done.stdout.splitlines() if line.startswith("shown: ")]
    assert len(values) == len(cells) >= 7
    test, loaded, accuracy = (literal_eval(values[place]) for place in (0, 3, 4))
    assert loaded == (tuple("0123456789"), (1, 8, 8))
    assert test["accuracy"] > 0.5 and accuracy > 0.5  # chance is 0.1
