"""Sweeps by hydra/launcher=stacked leave what those in turn leave."""

import csv
import json
import re
import time

import pytest
from safetensors.torch import load_file
from sweeping import INTERRUPTING, results, summaries, sweep_in

SHORT = ("model=mlp", "model.hidden=[8]", "data.train_samples=128", "batch_size=48", "device=cpu", "threads=1")
GRID = ("epochs=3", "optimizer=momentum,adam", "seed=0,1", "norm=batch", "reg=[dropout]", "save_every=4st")
STACKED = "hydra/launcher=stacked"
MEASURED = ("seconds", "time", "throughput", "crc32")  # of a row, whose check sum is of them, too


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The same sweep in turn and stacked, and what the second one printed."""
    in_turn, _, _ = sweep_in(tmp_path_factory.mktemp("turn"), *SHORT, *GRID)
    stacked, printed, _ = sweep_in(tmp_path_factory.mktemp("stacked"), *SHORT, *GRID, STACKED)
    return in_turn, stacked, printed


def kinds(folder):
    """The files below a folder, without the numbers in the names of events and of steps that are kept by time."""
    names = (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return sorted(re.sub(r"tfevents\.[\w.]*?(\.results)?$", r"tfevents\1", name) for name in names)


def rows(directory):
    found = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in MEASURED} for row in found]


def near(one, other):
    """The numbers of two sweeps, within the rounding of sums in another order."""
    return one == other or one == pytest.approx(other, rel=1e-4, abs=1e-6)


def test_all_jobs_train_at_once(both):
    assert "4 jobs train at once" in both[2] and "in turn" not in both[2]


def test_each_directory_holds_the_same_files(both):
    in_turn, stacked, _ = both
    assert kinds(stacked) == kinds(in_turn)
    assert {"config.yaml", "metrics.jsonl", "summary.json", "weights.safetensors"} < {
        path.name for path in (stacked / "momentum+seed-0").iterdir()
    }


def test_each_job_has_the_weights_curves_and_summary_that_it_has_in_turn(both):
    in_turn, stacked, _ = both
    for job in (path.parent for path in in_turn.glob("*/summary.json")):
        other = stacked / job.name
        one, two = load_file(job / "weights.safetensors"), load_file(other / "weights.safetensors")
        for name, weight in one.items():
            assert (two[name].double() - weight.double()).norm() <= 1e-4 * weight.double().norm() + 1e-7
        for row, same in zip(rows(job), rows(other), strict=True):
            assert row.keys() == same.keys() and all(near(row[key], same[key]) for key in row)
        figures, same = (json.loads((place / "summary.json").read_text()) for place in (job, other))
        for key in ("status", "steps", "epochs", "seed", "parameters", "notes", "stopped"):
            assert figures[key] == same[key]
        assert near(figures["best"], same["best"]) and near(figures["test"], same["test"])
        assert (job / "overrides.txt").read_text() == (other / "overrides.txt").read_text()


def test_the_ranking_is_that_of_the_jobs_in_turn(both):
    one, other = ([*csv.DictReader((folder / "ranking.csv").open())] for folder in both[:2])
    for row in (*one, *other):
        del row["seconds_mean"], row["directories"]
    assert one == other


def test_a_sweep_that_has_ended_is_left_alone(both):
    _, stacked, _ = both
    before = {path: path.stat().st_mtime_ns for path in stacked.glob("*/summary.json")}
    sweep_in(stacked.parent, *SHORT, *GRID, STACKED)
    assert before == {path: path.stat().st_mtime_ns for path in stacked.glob("*/summary.json")}


def test_an_interrupted_sweep_goes_on_as_if_it_had_not_been(package, command_in, tmp_path, tmp_path_factory):
    name = package(INTERRUPTING)
    words = [
        *SHORT,
        "epochs=8",
        "seed=0,1,2",
        f"allow=[{name}]",
        "sched=constant",
        f"sched._target_={name}.Interrupting",
    ]
    words = [*words, "optimizer=adam", "hydra.sweep.dir=s", STACKED]
    code, _, _ = command_in(tmp_path, "-m", *words)
    assert code == 130 and {status for status, _ in results(tmp_path / "s").values()} == {"interrupted"}
    assert len(results(tmp_path / "s")) == 3
    code, printed, errors = command_in(tmp_path, "-m", *words)
    assert code == 0 and "3 jobs train at once" in printed, errors
    folder = tmp_path_factory.mktemp("undisturbed")
    code, _, errors = command_in(folder, "-m", *words)
    assert code == 0, errors
    assert results(folder / "s") == results(tmp_path / "s")


@pytest.fixture
def command_in():
    from conftest import command

    return command


def test_a_job_that_stops_early_or_diverges_leaves_the_stack(tmp_path, tmp_path_factory):
    """Rates from one that learns nothing, so that it is stopped, to one that diverges: as in turn."""
    words = [*SHORT, "epochs=9", "reg=early_stopping", "reg.stop.early_stopping.patience=2", "monitor=loss"]
    words = [*words, "optimizer=sgd", "optimizer.lr=1e-9,0.05,1e30"]
    in_turn, _, _ = sweep_in_any(tmp_path_factory.mktemp("turn"), *words)
    stacked, printed, errors = sweep_in_any(tmp_path, *words, STACKED)
    assert "3 jobs train at once" in printed and "diverged" in errors
    one, other = summaries(in_turn), summaries(stacked)
    assert sorted(summary["status"] for summary in one.values()) == ["diverged", "finished", "stopped"]
    for name, summary in one.items():
        assert [other[name][key] for key in ("status", "steps", "stopped")] == [
            summary[key] for key in ("status", "steps", "stopped")
        ]
        assert other[name].get("error") == summary.get("error")


def test_a_job_that_is_rolled_back_goes_on_as_alone(tmp_path, tmp_path_factory):
    words = [*SHORT, "epochs=4", "on_nan=rollback", "save_every=2st", "optimizer=sgd", "optimizer.lr=0.05,1e30"]
    in_turn, _, _ = sweep_in_any(tmp_path_factory.mktemp("turn"), *words)
    stacked, printed, _ = sweep_in_any(tmp_path, *words, STACKED)
    one, other = summaries(in_turn), summaries(stacked)
    assert "2 jobs train at once" in printed and one["lr-1e30"]["notes"] == other["lr-1e30"]["notes"]
    assert "rolled back" in " ".join(other["lr-1e30"]["notes"])
    assert {name: summary["status"] for name, summary in one.items()} == {
        name: summary["status"] for name, summary in other.items()
    }


def sweep_in_any(folder, *words):
    """Run a sweep of which a job may fail."""
    from conftest import command

    _, printed, errors = command(folder, "-m", *words, "hydra.sweep.dir=s")
    return folder / "s", printed, errors


def test_jobs_that_cannot_be_stacked_run_in_turn_and_say_why(tmp_path):
    words = [*SHORT, "epochs=1", "seed=0,1", "optimizer=adam,lamb", "norm=none"]
    folder, printed, _ = sweep_in(tmp_path, *words, STACKED)
    assert {status for status, _ in results(folder).values()} == {"finished"} and len(results(folder)) == 4
    assert "2 jobs train at once" in printed
    assert printed.count("in turn") == 1 and "2 jobs in turn: optimizer=lamb: only torch's own optimizers" in printed


def test_jobs_in_turn_are_told_before_they_run_and_do_not_count_the_seconds_that_they_wait(tmp_path):
    begun = time.time()
    words = [*SHORT, "epochs=40", "optimizer=adam,lamb", "seed=0,1,2,3", "norm=none"]
    folder, printed, _ = sweep_in(tmp_path, *words, STACKED)
    found = summaries(folder)
    alone = [name for name in found if "lamb" in name]
    ends = [json.loads((folder / name / "metrics.jsonl").read_text().splitlines()[-1])["time"] for name in alone]
    assert len(alone) == 4 and sum(found[name]["seconds"] for name in alone) < max(ends) - begun
    assert printed.index("4 jobs in turn: ") < printed.index("4 jobs train at once") < printed.index("[1/8]")


def test_a_launcher_takes_a_number_of_jobs_and_splits_a_group_evenly(tmp_path):
    words = [*SHORT, "epochs=1", "seed=0,1,2,3"]
    _, printed, _ = sweep_in(tmp_path, *words, STACKED, "hydra.launcher.jobs=3")
    assert printed.count("2 jobs train at once") == 2
