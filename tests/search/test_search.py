"""Search: overrides as spaces, the files that it leaves, resuming, failed runs, and runs that are ended early."""

import json
import re
import shlex
import shutil
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import processes
import pytest
import yaml
from conftest import SMALL
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from sweeping import sweep_in

optuna = pytest.importorskip("optuna", minversion="4")
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution  # noqa: E402

from trainer.base.errors import ConfigError  # noqa: E402
from trainer.config.hydra_context import Invocation  # noqa: E402
from trainer.config.private_api import trial_id  # noqa: E402
from trainer.search import study as studies  # noqa: E402
from trainer.search.halving import Halving, pruning_rules  # noqa: E402
from trainer.search.space import advice, propose, space  # noqa: E402

SEARCH = ("-m", "hydra/sweeper=optuna", "hydra.sweep.dir=s", *SMALL)
RATES = "optimizer.lr=tag(log,interval(1e-3,1))"


def study(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name="search", storage=f"sqlite:///{folder / 'study.db'}")


def runs(folder: Path) -> dict[str, dict]:
    """The summaries of a sweep, by the overrides of each run."""
    return {
        (path.parent / "overrides.txt").read_text(): json.loads(path.read_text())
        for path in folder.glob("*/summary.json")
    }


@pytest.mark.parametrize(
    "typed, expected",
    [
        ("optimizer.lr=interval(1e-4,1e-1)", FloatDistribution(1e-4, 1e-1)),
        ("optimizer.lr=tag(log,interval(1e-4,1e-1))", FloatDistribution(1e-4, 1e-1, log=True)),
        ("epochs=int(interval(1,8))", IntDistribution(1, 8)),
        ("epochs=range(1,8)", IntDistribution(1, 7)),  # as in Python, the end is left out
        ("epochs=range(2,9,3)", IntDistribution(2, 8, step=3)),
        ("epochs=range(9,2,-3)", IntDistribution(3, 9, step=3)),
        ("epochs=tag(log,range(1,1001))", IntDistribution(1, 1000, log=True)),
        ("optimizer.momentum=range(0.0,1.0,0.25)", FloatDistribution(0.0, 0.75, step=0.25)),
        ("model=mlp,cnn", CategoricalDistribution(["mlp", "cnn"])),
        ("optimizer.lr=choice(0.1,1e-2)", CategoricalDistribution(["0.1", "0.01"])),
        ("aug=[crop],[crop,flip],[]", CategoricalDistribution(["[crop]", "[crop,flip]", "[]"])),
    ],
)
def test_overrides_are_spaces(typed, expected):
    assert space(OverridesParser.create().parse_override(typed)) == expected


@pytest.mark.parametrize(
    "overrides, printed",
    [
        (
            ["optimizer.lr=interval(1e-1,1e-4)"],
            "optimizer.lr=interval(1e-1,1e-4): the space from 0.1 to 0.0001 is empty; write the smaller bound first",
        ),
        (["optimizer.momentum=tag(log,interval(0,0.9))"], "a logarithmic scale needs bounds > 0, got 0.0"),
        (["optimizer.lr=tag(lag,interval(1e-4,1e-1))"], "no such tag as lag; the only one is log"),
        (["epochs=range(3,3)"], "epochs=range(3,3): the space from 3 to 3 is empty"),
        (["epochs=interval(1,8)"], "epochs=1.0: must be a whole number"),
        (["optimizer.lr=interval(-1,1)"], "optimizer.lr=-1.0: must be > 0"),
        (["optimizr.lr=interval(1e-4,1e-1)"], "no such key; did you mean 'optimizer.lr=interval(1e-4,1e-1)'?"),
        (
            ["optimizer=sgd,adam", "optimizer.momentum=interval(0,0.9)"],
            "optimizer.momentum=interval(0,0.9): no such key",
        ),
        (["optimizer.lr=0.1"], "nothing to search over; write a space, as "),
        ([RATES, "hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials=0: must be a whole number >= 1"),
        ([RATES, "hydra.sweeper.sampler=cmaes"], "hydra.sweeper.sampler=cmaes: must be one of tpe, random"),
        ([RATES, "hydra.sweeper.pruner=median"], "hydra.sweeper.pruner=median: must be one of none, halving"),
        ([RATES, "hydra.sweeper.n_trial=3"], "hydra.sweeper.n_trial: no such key; did you mean hydra.sweeper.n_trials"),
        ([RATES, "+hydra.sweeper.custom_search_space=os.system"], "hydra.sweeper.custom_search_space: no such key"),
    ],
)
def test_a_mistake_in_a_search_is_explained_before_anything_is_made(overrides, printed, run_in_process, tmp_path):
    code, _, errors = run_in_process("-m", "hydra/sweeper=optuna", *SMALL[:2], *overrides)
    assert code == 2 and printed in errors and len(errors.splitlines()) <= 2
    assert not list(tmp_path.iterdir())


def test_an_interval_in_a_grid_leads_to_the_search(run_in_process):
    code, _, errors = run_in_process("-m", "optimizer.lr=interval(1e-4,1e-1)")
    assert code == 2 and "train -m hydra/sweeper=optuna" in errors


def test_without_optuna_the_message_says_how_to_install_it(run_in_process, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)  # as Python itself marks a module that must not be found
    code, _, errors = run_in_process(*SEARCH, RATES)
    assert code == 2 and "pip install 'trainer[optuna]'" in errors


def test_an_even_search_over_powers_of_ten_gets_advice():
    even, log = FloatDistribution(1e-4, 1e-1), FloatDistribution(1e-4, 1e-1, log=True)
    (line,) = advice({"optimizer.lr": even, "optimizer.eps": log, "epochs": IntDistribution(1, 50)})
    assert "'optimizer.lr=tag(log,interval(0.0001,0.1))'" in line


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A whole search, to look at and to copy: its folder, what it printed, and its errors."""
    overrides = ("hydra/sweeper=optuna", *SMALL, RATES, "optimizer=sgd,momentum", "hydra.sweeper.n_trials=3")
    return sweep_in(tmp_path_factory.mktemp("search"), *overrides)


def test_a_search_runs_what_it_proposes_and_keeps_the_best(searched):
    folder, printed, errors = searched
    found = runs(folder)
    assert len(found) == 3 and errors == ""
    for trial in study(folder).trials:
        lines = [*SMALL, f"optimizer.lr={trial.params['optimizer.lr']:g}", f"optimizer={trial.params['optimizer']}"]
        summary = found["".join(f"{line}\n" for line in lines)]
        assert (
            trial.state.name == "COMPLETE"
            and trial.value == summary["best"]["accuracy"]
            and 1e-3 <= trial.params["optimizer.lr"] <= 1
        )
    best = yaml.safe_load((folder / "best.yaml").read_text())
    assert best["value"] == max(summary["best"]["accuracy"] for summary in found.values())
    assert best["trials"] == {"complete": 3, "pruned": 0, "fail": 0}
    assert found["".join(f"{line}\n" for line in best["overrides"])]["best"]["accuracy"] == best["value"]
    (line,) = [line for line in printed.splitlines() if line.startswith("best of 3 trials")]
    assert shlex.split(line.partition(": ")[2]) == ["train", *best["overrides"]] and f"{best['value']:.4f}" in line
    for name in ("history", "slice", "importance"):
        assert (folder / f"search_{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_resumed_search_proposes_the_same_settings(searched, run_in_process, tmp_path):
    undisturbed = runs(searched[0])  # which has one more
    for count in (1, 2):
        typed = (*SEARCH, RATES, "optimizer=sgd,momentum", f"hydra.sweeper.n_trials={count}")
        assert run_in_process(*typed)[0] == 0
        resumed = runs(tmp_path / "s")
        assert len(resumed) == count
    assert all(undisturbed[texts]["weights_sha256"] == summary["weights_sha256"] for texts, summary in resumed.items())


def test_a_finished_search_runs_nothing_and_stays_with_its_overrides(searched, run_in_process, tmp_path):
    shutil.copytree(searched[0], tmp_path / "s")
    typed = (*SEARCH, RATES, "optimizer=sgd,momentum", "hydra.sweeper.n_trials=3")
    code, printed, _ = run_in_process(*typed)
    assert code == 0 and "best of 3 trials" in printed and "epoch" not in printed.replace("epochs", "")
    code, _, errors = run_in_process(*typed, "seed=1")
    assert code == 2 and "was begun with other overrides" in errors and "hydra.sweep.dir=DIR" in errors


def validated(folder: Path, epoch: int) -> int:
    """Return the number of runs of a sweep that have validated after `epoch` epochs."""
    return sum(f'"epoch": {epoch}.0, "split": "val"' in rows.read_text() for rows in folder.glob("*/metrics.jsonl"))


def test_a_killed_search_resumes_the_run_that_was_cut_off(run_in_process, tmp_path):
    typed = ["-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "hydra.sweeper.sampler=random"]
    typed += [*SMALL[:2], *SMALL[4:], "batch_size=100", "epochs=16", "save_every=2ep", RATES, "hydra.sweep.dir=s"]
    process = processes.begin(tmp_path, *typed)
    folder = tmp_path / "s"
    while validated(folder, 6) < 2:
        assert process.is_alive()
        time.sleep(0.005)
    process.kill()
    process.join()
    assert [trial.state.name for trial in study(folder).trials] == ["COMPLETE", "RUNNING"]
    assert run_in_process(*typed)[0] == 0
    logs = "".join(log.read_text() for log in folder.glob("*/run.log"))
    (step,) = re.findall(r"resumed after step (\d+)", logs)
    assert int(step) >= 4 * 13  # steps, 13 an epoch
    values = [trial.value for trial in study(folder).trials]  # neither of them was begun a second time
    assert len(values) == 2
    assert sorted(values) == sorted(summary["best"]["accuracy"] for summary in runs(folder).values())


def test_halving_ends_the_runs_that_its_definition_ends(run_in_process, tmp_path):
    typed = [*SMALL[:2], *SMALL[4:], "epochs=4", "batch_size=200", RATES, "hydra.sweeper.n_trials=5"]
    typed += ["hydra.sweeper.sampler=random", "hydra.sweeper.pruner=halving", "hydra.sweeper.reduction_factor=2"]
    code, _, errors = run_in_process(*SEARCH[:3], *typed)
    assert code == 0 and errors == ""
    rungs, ended_early = {1: [], 2: []}, 0  # at 4 a run is at its end
    for trial in study(tmp_path / "s").trials:
        line = f"optimizer.lr={trial.params['optimizer.lr']:g}\n"
        (folder,) = [path.parent for path in (tmp_path / "s").glob("*/overrides.txt") if line in path.read_text()]
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        scores = {row["epoch"]: row["accuracy"] for row in rows if row["split"] == "val"}
        last = 4
        for epoch, others in rungs.items():
            others.append(scores[epoch])
            best_half = sorted(others, reverse=True)[: max(1, len(others) // 2)]  # of those that came as far
            if scores[epoch] < best_half[-1]:
                last = epoch
                break
        summary = json.loads((folder / "summary.json").read_text())
        assert max(scores) == last and summary["status"] == ("finished" if last == 4 else "stopped")
        assert trial.state.name == ("COMPLETE" if last == 4 else "PRUNED") and trial.value is not None
        ending = [reason for reason in summary["stopped"] if reason.startswith("ended by the search")]
        assert bool(ending) == (last < 4) and all(f"after {last} of 4 epochs" in verdict for verdict in ending)
        ended_early += last < 4
    assert 1 <= ended_early <= 4  # else the case would show nothing


def test_only_a_run_of_a_search_with_a_pruner_can_be_ended_early(tmp_path):
    trial = studies.open_study(None, tmp_path, "search", "minimize").ask()
    settings = {"storage": None, "study_name": "search", "min_epochs": 1, "reduction_factor": 2}
    sweeper = OmegaConf.create({**settings, "pruner": "halving", "trial": trial_id(trial)})
    (rule,) = pruning_rules("loss", 8, Invocation(sweep=tmp_path, sweeper=sweeper))
    assert rule.trial.number == trial.number and (rule.monitor, rule.epochs) == ("loss", 8)
    assert pruning_rules("loss", 8, Invocation()) == []
    for changed in ({"pruner": "none"}, {"trial": None}):
        other = OmegaConf.create({**sweeper, **changed})
        assert pruning_rules("loss", 8, Invocation(sweep=tmp_path, sweeper=other)) == []


@pytest.mark.parametrize("epochs, ended", [(8, True), (4, False)])
def test_a_run_at_its_end_is_not_ended_early(epochs, ended):
    made = optuna.create_study(
        direction="maximize", pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)
    )
    for scores in ([0.8, 0.8, 0.8, 0.8], [0.9, 0.9, 0.9, 0.7]):
        rule = Halving(trial=made.ask(), monitor="accuracy", epochs=epochs)
        stopped = [rule([{"epoch": epoch, "accuracy": score}]) for epoch, score in enumerate(scores, start=1)]
    assert stopped == [False, False, False, ended]  # the worse of two after 4 epochs, the better one after 1 and 2


def test_a_search_needs_one_run_that_does_not_fail(run_in_process, tmp_path):
    run_in_process(*SEARCH, "optimizer.lr=0.01,1e30", "hydra.sweeper.n_trials=3", "hydra.sweeper.sampler=random")
    trials = study(tmp_path / "s").trials
    states = {trial.params["optimizer.lr"]: trial.state.name for trial in trials}
    assert states == {"0.01": "COMPLETE", "1e+30": "FAIL"} and len(trials) == 3
    assert "optimizer.lr=0.01" in yaml.safe_load((tmp_path / "s" / "best.yaml").read_text())["overrides"]
    code, _, errors = run_in_process(
        *SEARCH[:2], "hydra.sweep.dir=t", *SMALL, "optimizer.lr=1e29,1e30", "hydra.sweeper.n_trials=1"
    )
    assert code != 0 and "no run of the search has a score (1 trial)" in errors and "Traceback" not in errors


def test_jobs_are_launched_together_and_a_loss_is_minimised(run_in_process, tmp_path):
    assert run_in_process(*SEARCH, RATES, "monitor=loss", "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=2")[0] == 0
    losses = [summary["best"]["loss"] for summary in runs(tmp_path / "s").values()]
    assert yaml.safe_load((tmp_path / "s" / "best.yaml").read_text())["value"] == min(losses) < max(losses)
    trials = study(tmp_path / "s").trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 3 and len(
        {trial.params["optimizer.lr"] for trial in trials}
    ) == 3
    assert trials[1].datetime_start < trials[0].datetime_complete < trials[2].datetime_start


def test_a_database_elsewhere_serves_several_folders(run_in_process, tmp_path):
    shared = (RATES, f"hydra.sweeper.storage=sqlite:///{tmp_path}/all.db", "hydra.sweeper.study_name=mine", *SMALL)
    assert run_in_process(*SEARCH[:2], "hydra.sweep.dir=a", "hydra.sweeper.n_trials=1", *shared)[0] == 0
    assert (
        run_in_process(*SEARCH[:2], "hydra.sweep.dir=b", "hydra.sweeper.n_trials=1", *shared)[0] == 0
    )  # which has ended
    assert len(runs(tmp_path / "a")) == 1 and not runs(tmp_path / "b") and not list(tmp_path.glob("*/study.db"))
    assert (tmp_path / "a" / "best.yaml").read_text() == (tmp_path / "b" / "best.yaml").read_text()


def test_machines_that_ask_at_the_same_time_are_proposed_different_settings(tmp_path):
    wide = {
        "optimizer.lr": optuna.distributions.FloatDistribution(0, 1),
        "epochs": optuna.distributions.IntDistribution(1, 10**9),
    }
    one, other = (studies.open_study(f"sqlite:///{tmp_path}/all.db", tmp_path, "search", "maximize") for _ in range(2))
    asked = [(study, study.ask()) for study in (one, other)]
    for study, trial in asked:
        study.sampler = studies.make_sampler("random", 0, trial.number)
        propose(trial, wide)
    (first, second) = (trial.params for _, trial in asked)
    assert first.keys() == second.keys() == wide.keys() and all(first[key] != second[key] for key in wide)
    assert [trial.params for trial in one.get_trials()] == [first, second]  # in the database, for the next process


SECRETS = [
    "postgresql://me:s3cret@localhost:1/x",
    "redis://me:s3cret@localhost:1",
    "nothing://me:s3cret@h/x?password=s3cret",
]


@pytest.mark.parametrize("url", SECRETS)
def test_the_error_of_a_database_hides_its_password(url, run_in_process, tmp_path):
    code, printed, errors = run_in_process(*SEARCH, RATES, f"hydra.sweeper.storage='{url}'")
    assert (
        code == 4
        and errors.count("\n") == 1
        and "***@" in errors
        and ("its driver is missing: pip install psycopg" in errors)
        == (url.startswith("postgresql") and find_spec("psycopg") is None)
        and "s3cret" not in printed + errors
    )
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]


def test_a_study_with_other_overrides_is_refused(tmp_path):
    made = optuna.create_study(study_name="search", storage=f"sqlite:///{tmp_path / 'study.db'}")
    made.add_trial(optuna.create_trial(value=1.0))
    with pytest.raises(ConfigError, match="was begun with other overrides"):
        studies.require_same_overrides(
            studies.open_study(None, tmp_path, "search", "minimize"), ["optimizer.lr=0.1,0.2"]
        )


def test_settings_that_are_proposed_again_have_one_run(run_in_process, tmp_path):
    code, printed, errors = run_in_process(
        *SEARCH, "optimizer=sgd,adam", "hydra.sweeper.n_trials=5", "hydra.sweeper.n_jobs=3"
    )
    assert code == 0, errors
    scores = {
        texts.partition("optimizer=")[2].split()[0]: summary["best"]["accuracy"]
        for texts, summary in runs(tmp_path / "s").items()
    }
    trials = study(tmp_path / "s").trials
    assert len(trials) == 5 and len(scores) == len({trial.params["optimizer"] for trial in trials}) <= 2
    assert all(trial.value == scores[trial.params["optimizer"]] for trial in trials)
    assert printed.count("proposed again") >= 1 and printed.count(": finished, best") == len(scores)


def test_figures_show_runs_that_were_ended_early_with_their_score(tmp_path):
    made = studies.open_study(None, tmp_path, "search", "maximize")
    wide = {"optimizer.lr": optuna.distributions.FloatDistribution(0, 1)}
    for value, state in ((0.5, "COMPLETE"), (0.25, "PRUNED"), (None, "FAIL")):
        trial = made.ask(wide)
        if state == "PRUNED":
            trial.report(value, 1)
        made.tell(trial, value if state == "COMPLETE" else None, optuna.trial.TrialState[state])
    shown, early = studies.with_pruned(made)
    assert [trial.value for trial in shown.trials] == [0.5, 0.25] and early == 1 and shown.direction == made.direction
    assert studies.draw(made, tmp_path, "score") == ["search_history.png", "search_slice.png"]
