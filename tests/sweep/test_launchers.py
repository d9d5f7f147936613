"""Sweeps in several processes: every launcher gives the same weights, and a sweep that was killed is resumed."""

import csv
import os
import signal
import time
from importlib.util import find_spec

import processes
import pytest
from filelock import FileLock
from sweeping import SHORT, results, sweep_in

from trainer.sweep import launch

SLOW = ("save_every=3st", "epochs=6", "optimizer=sgd,adam", "seed=0,1")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Two jobs, in this process."""
    return sweep_in(tmp_path_factory.mktemp("swept"), *SHORT, "optimizer=adam", "seed=0,1")[0]


@pytest.mark.parametrize(
    "launcher, package",
    [
        ("joblib", "hydra_plugins.hydra_joblib_launcher"),
        ("submitit_local", "hydra_plugins.hydra_submitit_launcher"),
        ("ray", "hydra_plugins.hydra_ray_launcher"),
    ],
)
def test_every_launcher_gives_the_same_weights(launcher, package, swept, run_in_process, tmp_path):
    pytest.importorskip(package)
    own = ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []
    typed = ["-m", *SHORT, "optimizer=adam", "seed=0,1", "hydra.sweep.dir=s", f"hydra/launcher={launcher}", *own]
    code, printed, errors = run_in_process(*typed)
    assert code == 0, printed + errors
    assert results(tmp_path / "s") == results(swept) and "1 setting, 2 runs, ranked by best val accuracy" in printed


def test_a_launcher_that_is_not_installed_says_how_to_install_it(run_in_process):
    if find_spec("hydra_plugins.hydra_ray_launcher"):
        pytest.skip("Ray's launcher is installed")
    code, _, errors = run_in_process("-m", *SHORT, "seed=0,1", "hydra/launcher=ray")
    assert code == 2 and "pip install 'trainer[ray]'" in errors


def validations(folder):
    return sum('"val"' in path.read_text() for path in folder.glob("*/metrics.jsonl"))


def begin(folder, *overrides, until):
    """Begin a sweep in a process of its own, and wait until so many of its jobs have validated."""
    process = processes.begin(folder, "-m", *overrides, "hydra.sweep.dir=s")
    while validations(folder / "s") < until:
        assert process.is_alive()
        time.sleep(0.01)
    return process


def test_a_sweep_killed_and_then_interrupted_ends_as_an_undisturbed_one(tmp_path, tmp_path_factory, run_in_process):
    """Killed after the first job's validation, interrupted after the third's: ranking.csv has the same scores."""
    typed = [*(text for text in SHORT if not text.startswith("epochs=")), *SLOW]
    undisturbed, _, _ = sweep_in(tmp_path_factory.mktemp("undisturbed"), *typed)
    killed = begin(tmp_path, *typed, until=1)
    killed.kill()
    killed.join()
    interrupted = begin(tmp_path, *typed, until=3)
    os.kill(interrupted.pid, signal.SIGINT)
    interrupted.join(60)
    code = interrupted.exitcode
    stopped = (tmp_path / "s" / launch.STOP).exists()
    assert (code, stopped) == (130, True) or code == 0  # too late to interrupt anything
    code, _, errors = run_in_process("-m", *typed, "hydra.sweep.dir=s")
    assert code == 0, errors
    one, other = (list(csv.DictReader((folder / "ranking.csv").open())) for folder in (undisturbed, tmp_path / "s"))
    for row in (*one, *other):
        del row["seconds_mean"], row["directories"]  # a job that was resumed takes another time
    assert one == other and results(undisturbed) == results(tmp_path / "s")


@pytest.mark.skipif(os.name == "nt", reason="a process cannot see there that its parent has died")
def test_processes_of_joblib_end_with_a_sweep_that_is_killed(tmp_path):
    typed = [*(text for text in SHORT if not text.startswith("epochs=")), "epochs=100000", "seed=0,1"]
    process = begin(tmp_path, *typed, "hydra/launcher=joblib", until=2)  # both train
    process.kill()
    process.join()
    for seed in (0, 1):
        lock = FileLock(tmp_path / "s" / f"seed-{seed}" / ".lock")
        with lock.acquire(timeout=60):  # the process releases it when it ends
            assert results(tmp_path / "s")[f"seed-{seed}"][0] == "interrupted"
    assert not (tmp_path / "s" / launch.STOP).exists()
