"""Numbers and texts without measure on the command line: one line at once, nothing counted out."""

import subprocess
import sys
import time

import pytest
from conftest import command

from trainer.cli.sweep_overrides import count_of
from trainer.cli.syntax import parse

BASE = ("data=iris", "model=linear", "epochs=1", "device=cpu")
ROWS = {
    "a range": (("seed=range(1,1e9)",), 2, "makes 999,999,999 jobs"),
    "a range in a sweep": (("-m", "seed=range(1,1e9)"), 2, "makes 999,999,999 jobs"),
    "a shuffled range": (("-m", "seed=shuffle(range(0,1000000000))"), 2, "makes 1,000,000,000 jobs"),
    "two ranges": (("-m", "seed=range(1000)", "batch_size=range(1,1001)"), 2, "makes 1,000,000 jobs"),
    "a range of steps of 0": (("-m", "seed=range(1,10,0)"), 2, "the range holds no value"),
    "a range backwards": (("-m", "seed=range(9,1)"), 2, "the range holds no value"),
    "a pattern": (("-m", "model=glob(*)"), 2, "patterns are not read; list the values, model=A,B"),
    "no output": (("output=",), 2, "output=: needs the name of a folder"),
    "many values without -m": (("seed=range(1,90000)",), 2, "train -m 'seed=range(1,90000)'"),
    "threads": (("threads=100000",), 4, "threads=100000: too many for this machine"),
    "threads beyond 64 bits": (("threads=99999999999999999999",), 4, "too many for this machine"),
    "processes": (("-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=99999", "seed=0,1"), 2, "too many processes"),
    "brackets": (("model=mlp", f"model.hidden={'[' * 500}{']' * 500}"), 2, "nested deeper than 50 levels"),
    "infinity": (("save_every=1e400",), 2, "save_every=inf: must be"),
    "a power": (("eval_batch_size=999999999999999999999999999**99",), 2, "eval_batch_size="),
    "a long fraction": ((f"optimizer.lr={'9' * 5000}/3",), 2, "optimizer.lr="),
    "a query without a shell": (("--shell-completion", "query=bash"), 2, "COMP_LINE"),
    "--resolve": (("--resolve",), 2, "--cfg job --resolve"),
}


@pytest.mark.parametrize("name", ROWS)
def test_it_ends_at_once_with_one_line(name, tmp_path, monkeypatch):
    monkeypatch.delenv("COMP_LINE", raising=False)
    words, expected, said = ROWS[name]
    start = time.monotonic()
    code, _, errors = command(tmp_path, *BASE, *words)
    assert time.monotonic() - start < 20 and code == expected, errors
    assert said in errors and len(errors.splitlines()) == 1 and "Traceback" not in errors
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    "text, count",
    [("seed=range(5)", 5), ("seed=range(1,10,4)", 3), ("seed=range(9,1,-3)", 3), ("seed=1,2", 2), ("seed=1", 1)],
)
def test_values_are_counted_without_being_listed(text, count):
    assert count_of(parse(text, {})) == count


@pytest.mark.parametrize("flags", [("--hydra-help",), ("--info",), ("--info", "config"), ("--cfg", "job", "--resolve")])
def test_flags_that_show_something_stand_behind_other_words(flags, tmp_path):
    """In a process of its own: Hydra shows some of it through a logger, which other tests of this process share."""
    words = [sys.executable, "-m", "trainer", *BASE, *flags]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout and not done.stderr, done.stderr
    assert not (tmp_path / "outputs").exists()


def test_a_sweep_is_not_made_beside_a_file_of_its_name(tmp_path):
    (tmp_path / "s").write_text("mine")
    code, _, errors = command(tmp_path, "-m", *BASE, "seed=0,1", "hydra.sweep.dir=s")
    assert code == 2 and "is a file, not a folder" in errors and [path.name for path in tmp_path.iterdir()] == ["s"]
