"""task=ensemble from the command line: averages from the written predictions, snapshots bit for bit, refusals."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from conftest import command, only_run
from safetensors.torch import load_file
from sklearn.datasets import load_diabetes

from trainer import load
from trainer.engine.build import build_run
from trainer.engine.loop import fit
from trainer.rundir.console import Console
from trainer.rundir.reader import read_summary
from trainer.rundir.recorder import Recorder

TINY = ("model=mlp", "model.hidden=[8]", "device=cpu", "threads=1")
IRIS = (*TINY, "data=iris")
CYCLES = ("sched=cosine_restarts", "sched.length=25%", "sched.growth=1", "averaging=snapshot", "epochs=8")


def train(folder, place, *words):
    code, _, errors = command(folder, "-m", *TINY, *words, f"hydra.sweep.dir={place}")
    assert (code, errors) == (0, "")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with sweeps: classes, a regression, and a run with four snapshots."""
    folder = tmp_path_factory.mktemp("ensemble")
    train(folder, "classes", "data=iris", "epochs=6", "seed=0,1,2")
    train(folder, "values", "data=diabetes", "epochs=4", "seed=0,1")
    train(folder, "others", "data=iris", "data.split_seed=5", "epochs=1", "seed=0")
    code, _, errors = command(folder, *IRIS, *CYCLES)
    assert (code, errors) == (0, "")
    return folder


def ensemble(folder, *words):
    """Call the task: printed, and its directory."""
    before = {*folder.glob("outputs/*/*-ensemble*")}
    code, printed, errors = command(folder, "task=ensemble", "device=cpu", *words)
    assert (code, errors) == (0, "")
    (place,) = {*folder.glob("outputs/*/*-ensemble*")} - before
    return printed, place


def test_the_ensemble_is_the_mean_of_the_members_written_predictions(folder):
    printed, place = ensemble(folder, "runs=[classes]")
    written, content = np.load(place / "predictions.npz"), json.loads((place / "ensemble.json").read_text())
    for split in ("val", "test"):
        np.testing.assert_allclose(written[f"{split}_members"].mean(0), written[f"{split}_ensemble"], rtol=1e-5)
    mean, true = written["test_members"].mean(0), written["test_true"]
    assert content["ensemble"]["accuracy"] == pytest.approx((mean.argmax(1) == true).mean())
    assert content["ensemble"]["loss"] == pytest.approx(-np.log(mean[range(len(true)), true]).mean(), rel=1e-5)
    rows = list(csv.DictReader((place / "predictions.csv").open()))
    names = ["setosa", "versicolor", "virginica"]
    assert [row["class"] for row in rows] == [names[each] for each in mean.argmax(1)]
    assert [float(row["probability of setosa"]) for row in rows] == pytest.approx(mean[:, 0], rel=1e-5)
    assert "ensemble" in printed and "average of 3 members" in printed
    assert (place / "ensemble.png").read_bytes().startswith(b"\x89PNG") and (place / "ensemble.md").is_file()


def test_each_member_answers_as_the_run_that_it_is(folder):
    _, place = ensemble(folder, "runs=[classes/*]")
    written, content = np.load(place / "predictions.npz"), json.loads((place / "ensemble.json").read_text())
    runs = sorted((folder / "classes").glob("seed-*"))
    samples = build_run_of(folder, "epochs=6").data.test.images
    for run, answers, row in zip(runs, written["test_members"], content["members"], strict=True):
        test = read_summary(run)["test"]
        assert row["accuracy"] == pytest.approx(test["accuracy"]) and row["loss"] == pytest.approx(test["loss"], 1e-4)
        np.testing.assert_allclose(load(run, device="cpu")(samples).numpy(), answers, atol=1e-6)


def build_run_of(folder, *words):
    from hydra import compose

    from trainer.config.hydra_context import initialized

    with initialized():
        return build_run(compose("config", [*IRIS, *words]))


def test_values_are_averaged_in_the_targets_own_unit(folder):
    printed, place = ensemble(folder, "runs=[values]")
    written, content = np.load(place / "predictions.npz"), json.loads((place / "ensemble.json").read_text())
    mean, true = written["test_members"].mean(0), written["test_true"]
    assert {*true[:, 0].round(3).tolist()} <= {*load_diabetes().target.tolist()}  # in the unit of the data set
    r2 = 1 - ((mean - true) ** 2).sum() / ((true - true.mean()) ** 2).sum()
    assert content["ensemble"]["r2"] == pytest.approx(r2, rel=1e-5)
    assert "ambiguity" in printed


def test_greedy_selects_on_val_and_reports_on_test(folder):
    printed, place = ensemble(folder, "runs=[classes]", "select=greedy", "task.picks=6")
    written, content = np.load(place / "predictions.npz"), json.loads((place / "ensemble.json").read_text())
    val, true, bag, best = written["val_members"].astype(np.float64), written["val_true"], [], (np.inf, [])
    for _ in range(6):
        losses = [-np.log(val[[*bag, new]].mean(0)[range(len(true)), true]).mean() for new in range(3)]
        bag = [*bag, int(np.argmin(losses))]
        best = min(best, (min(losses) + 1e-9 * len(bag), bag))  # of equal losses the smaller
    assert content["selection"]["picks"] == [pick + 1 for pick in best[1]]
    mean = written["test_members"][best[1]].mean(0)
    np.testing.assert_allclose(written["test_ensemble"], mean, rtol=1e-4)
    assert content["split"] == "test" and "selected on val" in printed and "all" in printed


def test_snapshots_are_the_weights_at_the_ends_of_the_cycles(folder, tmp_path):
    place = only_run(folder) / "snapshots"
    run = build_run_of(folder, *CYCLES)
    total = run.clock.total_steps
    assert total % 4 == 0 and {path.name for path in place.iterdir()} == {
        f"step-{total * part // 4}.safetensors" for part in (1, 2, 3, 4)
    }
    recorder = Recorder(tmp_path, "classification")
    for part in (1, 2, 3, 4):
        fit(run, recorder, Console(silent=True), until=total * part // 4)
        saved = load_file(place / f"step-{total * part // 4}.safetensors")
        for name, value in run.model.state_dict().items():
            assert torch.equal(saved[name], value), (part, name)


def test_the_members_of_a_single_run_are_its_snapshots(folder):
    run = only_run(folder)
    printed, place = ensemble(folder, f"runs=[{run}]")
    written, samples = np.load(place / "predictions.npz"), build_run_of(folder).data.test.images
    files = sorted((run / "snapshots").iterdir(), key=lambda path: int(path.stem.removeprefix("step-")))
    expected = np.mean([load(file, device="cpu")(samples).numpy() for file in files], 0)
    np.testing.assert_allclose(written["test_ensemble"], expected, atol=1e-6)
    assert "average of 4 members" in printed


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        ((), 2, "runs=[]: task=ensemble needs runs"),
        (("runs=[classes/seed-0]",), 2, "runs=[classes/seed-0]: one model is no ensemble"),
        (("runs=[classes,values]",), 3, "one is classification, the other regression"),
        (("runs=[classes,others]",), 3, "they were held out other"),
        (("runs=[nowhere]",), 3, "runs=[nowhere]: no such directory"),
        (("runs=[classes]", "optimizer.lr=1"), 2, "optimizer.lr: task=ensemble takes it from the run's config.yaml"),
        (("runs=[classes]", "task.select=best"), 2, "task.select=best: must be one of all, greedy"),
        (("runs=[classes]", "task.members=snapshots"), 3, "classes/seed-0 has none"),
    ],
)
def test_bad_inputs_are_answered_in_a_line(words, code, why, folder):
    before = {*folder.glob("outputs/*/*")}
    found, _, errors = command(folder, "task=ensemble", "device=cpu", *words)
    assert found == code and why in errors and errors.count("\n") <= 2
    assert {*folder.glob("outputs/*/*")} == before


def test_runs_without_val_and_runs_that_have_not_finished(folder, tmp_path):
    train(tmp_path, "plain", "data=iris", "data.val_fraction=0", "epochs=2", "seed=0,1")
    code, _, errors = command(tmp_path, "task=ensemble", "runs=[plain]", "select=greedy", "device=cpu")
    assert (
        code == 2 and errors.count("\n") == 1 and "task.select=greedy: members are selected on the validation" in errors
    )
    _, place = ensemble(tmp_path, "runs=[plain]")
    assert json.loads((place / "ensemble.json").read_text())["split"] == "test"

    shutil.copytree(folder / "classes", tmp_path / "classes")
    (tmp_path / "classes" / "seed-1" / "summary.json").unlink()
    printed, place = ensemble(tmp_path, "runs=[classes]")
    assert "note: classes/seed-1 has not finished, and is left out" in printed
    assert len(json.loads((place / "ensemble.json").read_text())["members"]) == 2
    code, _, errors = command(tmp_path, "task=ensemble", "runs=[classes/seed-1]", "device=cpu")
    assert code == 3 and errors.count("\n") == 1 and "has not finished; resume it first: train resume=" in errors
