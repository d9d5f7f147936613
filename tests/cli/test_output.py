"""Standard output that nobody reads, that is closed, or on a full disk: it ends no work and shows no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import processes
import pytest
from conftest import SMALL

HERE = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def shell(line, folder):
    """A command line in a shell, where `train` is ours: exit code of the shell, standard error."""
    line = line.replace("train ", f"{sys.executable} -m trainer ")
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], cwd=folder, env=HERE, capture_output=True, text=True)
    return done.returncode, done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "words", ["--help", "--help optimizer", "--version", "--cfg job", "--hydra-help", "--shell-completion install=bash"]
)
def test_what_is_shown_may_be_read_in_part_or_not_at_all(words, unbuffered, tmp_path, monkeypatch):
    monkeypatch.setitem(HERE, "PYTHONUNBUFFERED", unbuffered)
    for how in ("| head -1 > /dev/null", ">&-", "> /dev/full"):
        code, errors = shell(f"train {words} {how}", tmp_path)
        full = (4, "train: the output cannot be written (No space left on device)\n")
        assert (code, errors) == (full if "full" in how else (0, "")), how


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize(
    ("words", "made", "code"),
    [
        ((), "summary.json", 0),  # its run.log has what was printed
        (("-m", "seed=0,1", "hydra.sweep.dir=s"), "ranking.csv", 4),
        (("task=preview",), "*.png", 4),
    ],
)
def test_work_goes_on_where_the_output_does_not(words, made, code, tmp_path):
    process = processes.begin(tmp_path, *words, *SMALL, output="/dev/full", errors=tmp_path / "errors")
    process.join(120)
    told = "train: the output cannot be written (No space left on device)\n"
    assert (process.exitcode, (tmp_path / "errors").read_text()) == (code, told if code else "")
    assert [*tmp_path.rglob(made)]
