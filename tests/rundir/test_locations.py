"""The path of a run's data: its run is resumed and evaluated from any folder, and with data that were moved with it."""

import json
import shutil

import pytest
import yaml
from conftest import command, only_run

from trainer.rundir import reader
from trainer.rundir.locations import absolute, pinned

TABLE = "x,label\n" + "".join(f"{number},{'ab'[number % 2]}\n" for number in range(60))
WORDS = ("data=csv", "data.target=label", "model=linear", "epochs=1", "threads=1", "device=cpu")


@pytest.fixture
def folders(tmp_path):
    """Two folders, of which the first has a table."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    (tmp_path / "here" / "table.csv").write_text(TABLE)
    return tmp_path / "here", tmp_path / "there"


def trained(folder, *words):
    """Train in a folder and return the directory of the run."""
    code, _, errors = command(folder, *WORDS, *words)
    assert code == 0, errors
    return only_run(folder)


def require_usable(run, folder):
    """Check that a run of one epoch is evaluated and resumed from a folder."""
    scores = json.loads((run / "summary.json").read_text())["test"]
    code, out, errors = command(folder, "task=evaluate", f"runs=['{run}']", "device=cpu")
    assert code == 0 and f"test   {scores['loss']:.4f}" in out, errors
    code, _, errors = command(folder, f"resume={run}", "epochs=+1")
    assert code == 0 and reader.read_summary(run)["epochs"] == 2, errors


@pytest.mark.parametrize("typed", ["table.csv", "~/table.csv", "../here/table.csv", "'a, b#1/[t].csv'", "'~/a#/t.csv'"])
def test_a_run_is_resumed_and_evaluated_from_another_folder(typed, folders, monkeypatch):
    here, there = folders
    monkeypatch.setenv("HOME", str(here))
    place = here / typed.strip("'").removeprefix("~/")
    place.parent.mkdir(exist_ok=True)
    place.write_text(TABLE)
    require_usable(trained(here, f"data.path={typed}"), there)


def test_a_run_and_its_data_move_together(folders, tmp_path):
    here, _ = folders
    trained(here, "data.path=table.csv")
    shutil.move(here, tmp_path / "new")
    require_usable(only_run(tmp_path / "new"), tmp_path / "new")


def test_data_that_are_gone_or_others_are_refused(folders):
    here, there = folders
    run, place = trained(here, "data.path=table.csv"), here / "table.csv"
    place.unlink()
    for words in (["task=evaluate", f"runs=['{run}']"], [f"resume={run}", "epochs=+1"]):
        code, _, errors = command(there, *words)
        assert code == 3 and f"{place}: no such file" in errors
    place.write_text(TABLE.replace("59,b", "59,a"))
    code, _, errors = command(there, f"resume={run}", "epochs=+1")
    assert code == 3 and "the data has changed" in errors
    (other := there / "other.csv").write_text(TABLE)
    code, _, errors = command(there, f"resume={run}", "epochs=+1", "data.path=other.csv")
    assert code == 2 and f"data.path was {str(place)[:80]}, is {str(other)[:80]}\n" in errors


def test_the_configuration_has_the_absolute_path_and_the_overrides_the_typed_one(folders):
    here, _ = folders
    run = trained(here, "data.path=table.csv")
    assert yaml.safe_load((run / "config.yaml").read_text())["data"]["path"] == str(here / "table.csv")
    assert "data.path=table.csv" in (run / "overrides.txt").read_text().splitlines()
    assert run.name.endswith("path-table.csv")


def test_an_absolute_path_does_not_go_through_folders_that_may_vanish(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for typed in ("../data", f"{tmp_path}/here/../data", "../here/../data", f"{tmp_path}/data"):
        assert absolute({"data": {"root": typed}}) == {"data": {"root": str(tmp_path / "data")}}


def test_a_saved_path_is_typed_only_where_the_words_of_the_run_mean_another_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here, there = {"data": {"root": str(tmp_path / "data")}}, {"data": {"root": "/there/data"}}
    assert [*pinned(here, ["data=mnist"])] == [*pinned(here, ["data.root=data"])] == []
    assert [*pinned(there, ["data=mnist"])] == [*pinned(there, ["data.root=data"])] == ["data.root='/there/data'"]
    assert [*pinned({"data": {"root": "data"}}, [])] == []  # of a run before paths were absolute


def test_the_jobs_of_a_sweep_over_tables_have_their_names_and_go_on_from_another_folder(folders, tmp_path):
    here, there = folders
    (here / "other.csv").write_text(TABLE)
    words = (*WORDS, "-m", "data.path=table.csv,other.csv", f"hydra.sweep.dir={(sweep := tmp_path / 'sweep')}")
    code, _, errors = command(here, *words)
    assert code == 0, errors
    assert {path.parent.name for path in sweep.glob("*/config.yaml")} == {"path-table.csv", "path-other.csv"}
    (sweep / "path-table.csv" / "summary.json").unlink()
    code, out, errors = command(there, *words)
    assert code == 0 and "1 of them ended before" in out, errors
