"""task=recipe from the command line: its steps, its budget, its files, and its end wherever it is cut off."""

import json
import re
import shlex
import shutil

import pytest
import sklearn.datasets
import yaml
from conftest import command

from trainer.rundir.reader import read_summary

SMALL = ("data=iris", "model=mlp", "model.hidden=[8]", "init=he_normal", "epochs=20")
RECIPE = ("task=recipe", "task.seeds=2", "task.budget=4.5", *SMALL, "threads=1", "device=cpu")


def directory(folder):
    (found,) = folder.glob("outputs/*/*-recipe*")
    return found


def summaries(place):
    return {path.parent.relative_to(place): read_summary(path.parent) for path in place.glob("*/*/summary.json")}


def content_of(place):
    return json.loads((place / "recipe.json").read_text())


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A recipe that has been made, with what it has printed."""
    folder = tmp_path_factory.mktemp("recipe")
    code, printed, errors = command(folder, *RECIPE)
    assert (code, errors) == (0, "")
    return directory(folder), printed


def test_the_steps_are_printed_in_their_order_with_numbers(recipe):
    _, printed = recipe
    heads = re.findall(r"^([1-7]) ([a-z ]+): (.+)", printed, re.MULTILINE)
    steps = [int(number) for number, _, _ in heads]
    assert steps[:5] == [1, 2, 3, 4, 4] and steps[5:] == [5, 6, 7] * (len(steps[5:]) // 3)
    assert all(re.search(r"\d", text) for number, _, text in heads if number in "12345")
    assert re.search(r"^3 find the learning rate: optimizer\.lr=[\d.e-]+, ", printed, re.MULTILINE)
    assert re.search(r"^chosen: optimizer\.lr=\S+ reg\.weights\.weight_decay\.strength=\S+$", printed, re.MULTILINE)
    assert re.search(r"^validation accuracy \d\.\d{4}.* \(2 whole runs\)$", printed, re.MULTILINE)
    assert re.search(r"^plateau: ", printed, re.MULTILINE)


def test_it_keeps_within_its_budget(recipe):
    place, printed = recipe
    runs = summaries(place)
    trained = sum(summary["epochs"] for summary in runs.values())
    cost = content_of(place)["cost"]
    assert cost == {"jobs": len(runs), "epochs": trained, "whole_run": 20} and trained <= 4.5 * 20
    (most,) = re.findall(r"^recipe of seven steps: at most (\d+) runs, (\d+) epochs", printed, re.MULTILINE)
    assert len(runs) <= int(most[0]) and trained <= int(most[1]) <= 90


def test_a_third_of_the_settings_is_trained_three_times_as_long(recipe):
    place, _ = recipe
    runs = summaries(place)
    short, longer = (
        {path.name: summary for path, summary in runs.items() if path.parts[0] == name}
        for name in ("4-coarse", "4-coarse-longer")
    )
    assert {summary["epochs"] for summary in short.values()} == {1}
    assert {summary["epochs"] for summary in longer.values()} == {3} and len(longer) == -(-len(short) // 3)
    typed = {name for name in short if name.startswith("lr-0.05+strength-0.0")}
    assert len(typed) == 1 and typed <= {*longer}  # the run's own setting always goes on
    worst = max(map(cost, (short[name] for name in {*longer} - typed)))
    assert all(cost(summary) >= worst for name, summary in short.items() if name not in longer)


def cost(summary):
    """The key by which runs are ranked while none has learnt: their loss; else their score, then the loss."""
    best, samples = summary["best"], summary["samples"]["val"]
    chance = summary["constant"]["val"]["accuracy"]
    error = ((chance * samples + 1) / (samples + 2) * (1 - (chance * samples + 1) / (samples + 2)) / samples) ** 0.5
    return (-best["accuracy"] if best["accuracy"] > chance + 2 * error else 0.0, best["loss"])


def test_the_whole_runs_have_the_best_refined_setting_and_their_own_seeds(recipe):
    place, _ = recipe
    point = content_of(place)["result"]["point"]
    refined = [path for path in place.glob("5-refine-*/*/summary.json")]
    best = min(refined, key=lambda path: [(-b["accuracy"], b["loss"]) for b in [read_summary(path.parent)["best"]]])
    assert yaml.safe_load((best.parent / "config.yaml").read_text())["optimizer"]["lr"] == point["optimizer.lr"]
    configs = [yaml.safe_load(path.read_text()) for path in sorted(place.glob("whole-runs/*/config.yaml"))]
    assert [config["seed"] for config in configs] == [0, 1]
    assert all(config["optimizer"]["lr"] == point["optimizer.lr"] and config["epochs"] == 20 for config in configs)


def test_the_experiment_runs_at_once_and_is_the_first_whole_run(recipe, run_in_process, tmp_path):
    place, printed = recipe
    assert (
        f"\nTrain it: train experiment=recipe --config-dir {place.relative_to(place.parents[2])}/options\n" in printed
    )
    words = "experiment=recipe", "--config-dir", str(place / "options")
    code, _, errors = run_in_process(*words, "threads=1", "device=cpu", "output=again")
    assert (code, errors) == (0, "")
    (found,) = tmp_path.glob("again/*/*/summary.json")
    same = read_summary(found.parent)
    first = next(summary for path, summary in summaries(place).items() if path.name.endswith("seed-0"))
    assert same["weights_sha256"] == first["weights_sha256"]


def test_the_story_shows_every_run(recipe):
    place, _ = recipe
    story = (place / "recipe.md").read_text()
    assert all(f"\n## {number} " in story for number in range(1, 8))
    rows = [line for line in story.splitlines() if re.match(r"\| \d", line)]
    assert len(rows) == content_of(place)["cost"]["jobs"] - 2  # the whole runs have their mean
    for picture in re.findall(r"!\[.+\]\((.+)\)", story):
        assert (place / picture).read_bytes()[:4] == b"\x89PNG"


def test_a_network_that_cannot_learn_ends_at_step_2(run_in_process, tmp_path):
    code, printed, errors = run_in_process("task=recipe", "data=spirals", "model=linear", "epochs=20", "threads=1")
    place = directory(tmp_path)
    assert (
        code == 6 and errors.startswith("train: step 2, overfit a small sample, has failed; ") and "recipe.md" in errors
    )
    assert not summaries(place) and content_of(place)["result"] is None
    assert "The recipe ends here" in (place / "recipe.md").read_text() and "\n3 " not in printed


def test_a_wrong_start_ends_at_step_1(run_in_process, tmp_path):
    code, _, errors = run_in_process(*(word for word in RECIPE if "init=" not in word), "init=normal", "init.std=30")
    assert code == 6 and errors.startswith("train: step 1, initial loss, has failed; try init=auto")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["data.val_fraction=0"], 2, "compares runs by their validation split, which has no samples"),
        (["epochs=0"], 2, "epochs=0: a recipe trains"),
        (
            ["task.budget=2"],
            2,
            "task.budget=2: too small for a search and 2 whole runs of 20 epochs; write ",
        ),
        (["task.budget=0.0001min"], 2, "task.budget=0.0001min: too short"),
        (["task.budget=soon"], 2, "task.budget=soon"),
        (["task.decay=lr"], 2, "task.decay=lr: this run has no such key"),
        (["task.sched=cosine"], 2, "task.sched=cosine"),
        (["task.seeds=0"], 2, "task.seeds=0"),
        (["hydra/launcher=jobs"], 2, "hydra/launcher=jobs: no such launcher"),
        (["hydra.launcher.n_jobs=2"], 2, "hydra.launcher.n_jobs=2: needs a launcher"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_written(words, code, said, run_in_process, tmp_path):
    typed = {word.partition("=")[0]: word for word in (*RECIPE, *words)}
    found, _, errors = run_in_process(*typed.values())
    assert found == code and said in errors and len(errors.strip().splitlines()) <= 2, errors
    assert not (tmp_path / "outputs").exists()


KILLER = '''
import os, signal
from torch import nn

class Killer(nn.Module):
    """ReLU that ends the process with SIGTERM as soon as the `at`-th one trains, once in a process."""
    made, done = 0, False
    def __init__(self, at):
        super().__init__()
        Killer.made += 1
        self.kills = Killer.made >= at
    def forward(self, x):
        if self.kills and self.training and not Killer.done:
            Killer.done = True
            os.kill(os.getpid(), signal.SIGTERM)
        return x.relu()
'''


def test_a_recipe_that_is_interrupted_goes_on(recipe, package, run_in_process, tmp_path):
    mine = package(KILLER)
    words = (*RECIPE, f"act._target_={mine}.Killer", f"allow=[{mine}]")
    code, printed, errors = run_in_process(*words, "+act.at=12")
    assert code == 143 and "interrupted" in errors, (printed, errors)
    place = directory(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in place.glob("*/*/weights.safetensors")}
    assert before and not (place / "recipe.json").exists()
    (line,) = (line for line in printed.splitlines() if line.startswith("the recipe did not finish; to go on: train "))
    code, again, errors = run_in_process(*shlex.split(line.partition(": train ")[2]))
    assert (code, errors) == (0, "") and "ended before" in again
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())  # not trained again
    found, undisturbed = content_of(place), content_of(recipe[0])
    assert found["result"]["point"] == undisturbed["result"]["point"] and found["cost"] == undisturbed["cost"]
    assert found["result"]["scores"] == undisturbed["result"]["scores"]


def test_a_larger_budget_goes_on_from_what_is_trained(recipe, run_in_process, tmp_path):
    place = shutil.copytree(recipe[0], tmp_path / "outputs" / "today" / recipe[0].name)
    before = {*summaries(place)}
    code, _, errors = run_in_process(f"resume={place}", "task.budget=6")
    assert (code, errors) == (0, "")
    assert before < {*summaries(place)} and content_of(place)["cost"]["epochs"] <= 120
    code, _, errors = run_in_process(f"resume={place}", "batch_size=8")
    assert code == 2 and errors == (
        f"train: resume={place}: a recipe keeps its settings: batch_size was 64, is 8\n"
        "leave batch_size= out, or repeat the recipe's command with it and without resume= for a new recipe\n"
    )


def test_a_recipe_is_not_resumed_with_other_data(recipe, run_in_process, tmp_path, monkeypatch):
    place = shutil.copytree(recipe[0], tmp_path / "outputs" / "today" / recipe[0].name)
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    code, _, errors = run_in_process(f"resume={place}", "data=wine")
    assert code == 2 and "a recipe keeps its settings: data._target_ was " in errors, errors
    assert errors.splitlines()[1].startswith("leave data= out, or ") and "resume.allow" not in errors
    flowers = sklearn.datasets.load_iris()
    flowers.target[0] = 2  # of another species
    monkeypatch.setattr(sklearn.datasets, "load_iris", lambda: flowers)
    code, _, errors = run_in_process(f"resume={place}")
    assert code == 3 and errors == (
        f"train: resume={place}: the data has changed since the recipe began: other samples or labels; "
        "repeat its command without resume= for a new recipe\n"
    )
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


def test_only_what_trains_can_be_resumed(recipe, run_in_process, tmp_path):
    place, _ = recipe
    code, _, errors = run_in_process(f"resume={place}", "task=train")
    assert code == 2 and errors == f"train: task=train resume={place}: is of task=recipe; leave task= out\n"
    assert run_in_process("task=preview", *SMALL, "output=preview")[0] == 0
    (shown,) = (tmp_path / "preview").glob("*/*")
    code, _, errors = run_in_process(f"resume={shown}")
    assert code == 3 and "holds what task=preview has written, and no training to resume" in errors


def test_workers_train_the_same_runs(recipe, run_in_process, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    code, _, errors = run_in_process(*RECIPE, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert code == 0, errors
    both = content_of(recipe[0]), content_of(directory(tmp_path))
    assert both[0]["result"]["point"] == both[1]["result"]["point"]
    assert both[0]["result"]["scores"] == both[1]["result"]["scores"]


def test_a_sweep_of_recipes(run_in_process, tmp_path):
    code, printed, errors = run_in_process("-m", *RECIPE, "task.decay=none,auto")
    assert (code, errors) == (0, "") and printed.count("chosen: ") == 2
    assert len([*tmp_path.glob("outputs/sweeps/*/*/*/recipe.json")]) == 2
