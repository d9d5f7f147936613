"""The laboratory from Python: the same runs, the same words, and nothing left behind."""

import doctest
import gc
import os
import random
import signal
import subprocess
import sys

import numpy as np
import pandas
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

import trainer
from trainer import api, compare, train
from trainer.base.errors import ConfigError, DataError, Diverged, UserError
from trainer.config import catalog

SMALL = ("data=iris", "model=linear", "epochs=1", "device=cpu")


def state_of_the_process():
    """All that a run might leave behind."""
    return {
        "threads": torch.get_num_threads(),
        "torch": torch.get_rng_state().tolist(),
        "numpy": str(np.random.get_state()),
        "random": random.getstate(),
        "gradients": torch.is_grad_enabled(),
        "type": torch.get_default_dtype(),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
        "collections": gc.get_threshold(),
        "hydra": GlobalHydra.instance().is_initialized(),
        "options": [*catalog.extra_folders],
        "folder": os.getcwd(),
        "arguments": sys.argv,
        "path": [*sys.path],
        "environment": {name: value for name, value in os.environ.items() if not name.startswith("KMP_")},  # sklearn
        "streams": (sys.stdout, sys.stderr, sys.unraisablehook, sys.excepthook),
    }


def test_two_runs_in_one_process_are_equal_and_leave_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(*SMALL, quiet=True)  # imports
    before = state_of_the_process()
    one = train(*SMALL, "reg=[l2,dropout]", threads=2, quiet=True)
    two = train(*SMALL, reg=["l2", "dropout"], threads=2, quiet=True)
    assert state_of_the_process() == before
    assert one.summary["weights_sha256"] == two.summary["weights_sha256"]
    assert one.directory != two.directory and one.directory.is_relative_to("outputs")
    assert one.best == one.summary["best"] and one.test == one.summary["test"]
    assert "TrainedRun('outputs/" in repr(one)


def test_a_run_is_the_one_that_the_command_trains(tmp_path, monkeypatch, run_in_process):
    code, _, errors = run_in_process(*SMALL, "optimizer.lr=0.1")
    assert code == 0, errors
    (typed,) = tmp_path.glob("outputs/*/*/summary.json")
    found = train(*SMALL, quiet=True, **{"optimizer.lr": 0.1})
    assert f'"{found.summary["weights_sha256"]}"' in typed.read_text()


def test_the_record_makes_a_table(tmp_path):
    run = train(*SMALL, output=tmp_path, quiet=True)
    frame = pandas.DataFrame(run.record)
    assert {"step", "split", "loss", "accuracy", "lr"} <= {*frame.columns}
    last = frame[frame.split == "val"].iloc[-1]
    assert last.loss == pytest.approx(run.summary["best"]["loss"])


def test_a_comparison_ranks_runs_and_makes_a_table(tmp_path):
    for rate in (0.5, 1e-6):
        train(*SMALL, output=tmp_path, quiet=True, **{"optimizer.lr": rate})
    frame = pandas.DataFrame(compare(tmp_path))
    assert [*frame["optimizer.lr"]] == ["0.5", "1e-06"] and [*frame["rank"]] == [1, 2]
    with pytest.raises(DataError):
        compare(tmp_path / "nothing")


MISTAKES = {
    "option": (("optimizer=adm",), ConfigError, "did you mean optimizer=adam?"),
    "key": (("optimizer.lrr=1",), ConfigError, "optimizer.lr"),
    "value": (("epochs=-1",), ConfigError, "epochs=-1"),
    "sweep": (("-m", "seed=0,1"), ConfigError, "makes one run"),
    "several": (("seed=0,1",), ConfigError, "several values make a sweep"),
    "task": (("task=check",), ConfigError, "train() trains"),
    "help": (("--cfg", "job"), ConfigError, "makes one run"),
    "file": (("data=csv", "data.path=nowhere.csv", "data.target=a"), UserError, "nowhere.csv"),
    "diverges": (("data=diabetes", "model=linear", "optimizer.lr=1e9", "epochs=30"), Diverged, "not finite"),
}


@pytest.mark.parametrize("words, kind, message", MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_exceptions_with_the_words_of_the_command(words, kind, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = state_of_the_process()
    with pytest.raises(kind) as caught:
        train(*words, quiet=True)
    assert message in str(caught.value)
    assert state_of_the_process() == before


def test_it_prints_as_the_command_does_unless_it_is_quiet(tmp_path, capsys):
    train(*SMALL, output=tmp_path, quiet=True)
    assert capsys.readouterr() == ("", "")
    train(*SMALL, output=tmp_path)
    assert "Run directory:" in capsys.readouterr().out


def test_a_run_can_be_resumed(tmp_path):
    run = train(*SMALL, output=tmp_path, quiet=True)
    more = train(f"resume={run.directory}", epochs="+1", quiet=True)
    assert more.directory == run.directory and more.summary["epochs"] == 2


def test_examples_in_the_docstring(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(api)
    assert found.attempted >= 4 and not found.failed


def test_the_package_itself_imports_no_torch_and_offers_its_names():
    told = subprocess.run(
        [sys.executable, "-c", "import sys, trainer; print('torch' in sys.modules, *trainer.__all__)"],
        capture_output=True,
        text=True,
    )
    assert told.stdout.split() == ["False", *trainer.__all__], told.stderr
    assert all(getattr(trainer, name) is getattr(api, name) for name in trainer.__all__)
    with pytest.raises(AttributeError, match="fit"):
        _ = trainer.fit
