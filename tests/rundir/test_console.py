"""Output of a run: on terminals of several widths, into a pipe, and during long operations."""

import os
import re
import subprocess
import sys

import pytest
from conftest import command, only_run
from terminals import Terminal, train_on_terminal

from trainer.base.text import columns
from trainer.rundir.console import Console

WORDS = ("model=mlp", "model.hidden=[64,32]", "epochs=12", "sched=cosine", "reg=[l2,dropout]", "threads=1")
KINDS = {
    "classes": (),
    "regression": ("data=diabetes", "output=a folder"),
    "full batch": ("batch_size=full", "optimizer=gd"),
    "no validation": ("data.val_fraction=0",),
}


def is_command(line):
    """True for a line that holds a command, which is left whole, to be copied."""
    return "--logdir" in line or line.startswith("    train ")


@pytest.mark.parametrize(
    "width, kind", [(80, kind) for kind in KINDS] + [(width, "classes") for width in (40, 60, 100)]
)
def test_nothing_is_broken_within_a_word_or_a_number(width, kind, tmp_path):
    done = train_on_terminal(tmp_path, width, *WORDS, *KINDS[kind])
    assert done.code == 0, done.text
    (log,) = tmp_path.glob("*/*/*/run.log")
    whole = set(log.read_text().split())
    for line in done.lines:
        words = line.replace("acc ", "accuracy ").split()
        assert set(words) <= whole, line
        assert columns(line) <= width or max(map(columns, words)) > width - 4 or is_command(line), line
    evaluations = [line for line in done.lines if line.startswith("epoch")]
    assert len(evaluations) == 12
    if width >= 80:  # one line each
        assert all(re.search(r"epoch +\d+/12 .*(loss \d.\d{4}.*)+ lr \S+$", line) for line in evaluations)


def test_each_evaluation_has_one_short_line_at_80_columns(tmp_path):
    done = train_on_terminal(tmp_path, 80, *WORDS)
    number = r"\d\.\d{4}"
    shown = rf"epoch  1/12 train loss {number} acc {number} val loss {number} acc {number} lr \S+"
    assert re.fullmatch(shown, next(line for line in done.lines if line.startswith("epoch")))


def test_errors_and_notes_are_broken_between_words(tmp_path):
    done = train_on_terminal(tmp_path, 60, *WORDS, "optimizer=momentum", "optimizer.lr=1e12")
    assert done.code == 5
    assert all(columns(line) <= 60 or "outputs/" in line or is_command(line) for line in done.lines)
    said = " ".join(done.text.split())
    assert "train: diverged: the loss is not finite (NaN or Inf) at step" in said


def test_what_takes_long_after_the_last_epoch_is_named(tmp_path):
    done = train_on_terminal(tmp_path, 80, *WORDS)
    after = done.text.rpartition("epoch 12/12")[2]
    assert after.index("evaluating the test split") < after.index("drawing curves.png") < after.index("finished after")
    assert "evaluating the test" not in "\n".join(done.lines) and "drawing" not in "\n".join(done.lines)


def test_a_pipe_gets_the_lines_alone(tmp_path):
    code, out, errors = command(tmp_path, *WORDS)
    assert code == 0 and not errors
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", out)
    assert len([line for line in out.splitlines() if line.startswith("epoch")]) == 12
    log = (only_run(tmp_path) / "run.log").read_text()
    assert [line for line in log.splitlines() if not line.startswith(("parameters that", "and the others"))] == (
        out.splitlines()
    )


def on_terminal(*arguments):
    """The command in a process of its own, with its imports: what a terminal of 80 columns gets."""
    terminal = Terminal(80)
    with open(terminal.path, "wb") as stream:
        code = subprocess.run([sys.executable, "-m", "trainer", *arguments], stdout=stream, stderr=stream).returncode
    recording = terminal.close()
    recording.code = code
    return recording


def test_the_import_of_torch_is_named_on_a_terminal(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    done = on_terminal("task=compare", "runs=[nowhere]")  # needs torch's import, and little else
    assert done.text.count("loading PyTorch") and not any("loading" in line for line in done.lines)
    for arguments in (["--help"], ["optimizer=adamm"], ["optimizer.lr=-1"], ["--cfg", "job"]):
        assert "loading" not in on_terminal(*arguments).text


def test_a_terminal_that_cannot_erase_gets_the_lines_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    done = train_on_terminal(tmp_path, 80, *WORDS)
    assert done.code == 0 and "\x1b" not in done.text and "evaluating" not in done.text


@pytest.mark.parametrize("text", ["a :smile: in [bold]brackets[/bold]", "é 日本"])
def test_a_line_is_printed_and_logged_as_it_is(text, tmp_path, capsys):
    console = Console(tmp_path / "run.log")
    console.print(text)
    console.log_only(text)
    console.flush()
    assert capsys.readouterr().out == f"{text}\n"
    assert (tmp_path / "run.log").read_text() == f"{text}\n{text}\n"
