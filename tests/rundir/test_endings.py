"""The last lines of run.log, wherever a run is interrupted and whatever has become of its output."""

import os
import shlex
import signal
import time

import processes
import pytest
from terminals import Terminal

from trainer.rundir.reader import read_summary

SMALL = ("data=digits", "model=linear", "epochs=3", "threads=1", "device=cpu", "output=a folder")
LONG = (*SMALL, "epochs=100000", "eval_every=1000ep")
KILLERS = """
import os, signal

class Once:
    # Ends the process with a signal, once, at the `at`-th call.
    calls, done = 0, False
    def strike(self, at, number=signal.SIGTERM):
        type(self).calls += 1
        if type(self).calls == at and not type(self).done:
            type(self).done = True
            os.kill(os.getpid(), number)

class Views(Once):
    def __call__(self, model, images):
        self.strike(2)  # the first is the dry run's, the second that of the test split
        return model(images)[None]

class Sight(Once):
    def __call__(self, images, targets, rng):
        self.strike(2)  # the first is the dry run's, the second that of the first batch for TensorBoard
        return images, targets

class Time(Once):
    def __call__(self, now):
        self.strike(type(self).calls + (now.step == 30), signal.SIGINT)
        return 1.0
"""


def only(tmp_path):
    (run,) = {file.parent for file in tmp_path.glob("a folder/*/*/overrides.txt")}
    return run


def last_line(run):
    return (run / "run.log").read_text().splitlines()[-1]


def command_in(line):
    """The words of the command that a line ends with, as a shell reads them."""
    program, *words = shlex.split(line.partition("resume it with: ")[2])
    assert program == "train"
    return words


@pytest.mark.parametrize(
    ("place", "code"), [("tta=Views", 143), ("aug=Sight", 143), ("sched=Time", 130), ("curves.png", 143)]
)
def test_an_interruption_is_in_the_log_with_a_command_that_resumes_the_run(
    place, code, package, run_in_process, tmp_path, monkeypatch
):
    name, words = package(KILLERS), [*SMALL]
    if place == "curves.png":
        from matplotlib.figure import Figure

        def subplots(figure, *arguments, plain=Figure.subplots, **keywords):
            Figure.subplots = plain
            os.kill(os.getpid(), signal.SIGTERM)
            return plain(figure, *arguments, **keywords)

        monkeypatch.setattr(Figure, "subplots", subplots)
    else:
        group, kind = place.split("=")
        option = tmp_path / "options" / group / "mine.yaml"
        option.parent.mkdir(parents=True)
        target = f"_target_: {name}.{kind}\n"
        option.write_text(f"# Mine.\nmine:\n  {target}" if group == "aug" else f"# Mine.\n{target}")
        chosen = f"{group}=[mine]" if group == "aug" else f"{group}=mine"
        words += ["--config-dir", "options", chosen, f"allow=[{name}]"]
    ended, _, errors = run_in_process(*words)
    assert ended == code and "Traceback" not in errors and len(errors.strip().splitlines()) == 1, errors
    run = only(tmp_path)
    line = last_line(run)
    assert errors.strip() == f"train: {line}" and line.startswith("interrupted"), errors
    if place != "aug=Sight":  # before anything was done
        assert read_summary(run)["status"] == "interrupted"
    monkeypatch.chdir(tmp_path)
    ended, _, errors = run_in_process(*command_in(line))
    assert ended == 0, errors
    assert read_summary(run)["status"] == "finished"
    assert (run / "curves.png").is_file() and (run / "weights.safetensors").is_file()


def wait_for_steps(process, tmp_path):
    while not any('"train"' in rows.read_text() for rows in tmp_path.rglob("metrics.jsonl")):
        assert process.is_alive()
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_is_there_if_nobody_reads_any_more(number, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    process = processes.begin(tmp_path, *LONG, output=tmp_path / "pipe", errors=tmp_path / "pipe")
    with open(tmp_path / "pipe", "rb") as reader:
        assert reader.readline()  # as head -1 does
    wait_for_steps(process, tmp_path)
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == 128 + number
    log = (only(tmp_path) / "run.log").read_text()
    assert "warning: the output is incomplete from here on (Broken pipe); training continues" in log
    assert command_in(last_line(only(tmp_path))) == [f"resume={only(tmp_path).relative_to(tmp_path)}"]
    assert read_summary(only(tmp_path))["status"] == "interrupted"


def test_it_is_there_if_the_terminal_is_closed(tmp_path):
    terminal = Terminal(80)
    process = processes.begin(tmp_path, *LONG, output=terminal.path, errors=terminal.path)
    wait_for_steps(process, tmp_path)
    os.close(terminal.slave)
    os.close(terminal.master)
    os.kill(process.pid, signal.SIGHUP)  # as the system does to the programs of a terminal
    process.join(60)
    assert process.exitcode == 129
    assert command_in(last_line(only(tmp_path))) == [f"resume={only(tmp_path).relative_to(tmp_path)}"]


def test_a_run_whose_output_nobody_reads_comes_to_its_end(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    process = processes.begin(tmp_path, *SMALL, output=tmp_path / "pipe", errors=tmp_path / "errors")
    with open(tmp_path / "pipe", "rb") as reader:
        assert reader.readline()
    process.join(60)
    assert process.exitcode == 0 and (tmp_path / "errors").read_text() == ""
    assert read_summary(only(tmp_path))["status"] == "finished"
    assert "Compare runs:" in last_line(only(tmp_path))


def test_any_error_that_ends_a_run_is_its_last_line(run_in_process, tmp_path):
    code, _, errors = run_in_process(*SMALL, "optimizer.lr=1e300")
    assert code == 5 and errors.strip() == f"train: {last_line(only(tmp_path))}"
