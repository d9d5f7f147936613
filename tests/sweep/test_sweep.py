"""Grids: jobs are directories, finished ones are left alone, others are resumed, and failures end no other job."""

import io
import json
import re
import shutil
import sys
from contextlib import redirect_stdout

import pytest
from filelock import FileLock
from omegaconf import OmegaConf
from sweeping import INTERRUPTING, SHORT, results, summaries, sweep_in

from trainer.cli import main
from trainer.rundir.reader import SWEPT_KEYS

TECHNIQUES = (
    INTERRUPTING
    + '''
from pathlib import Path

class Failing:
    """Fails the first `times` runs that ask for it, which a file counts."""
    def __init__(self, times, count="count"):
        self.times, self.count = times, Path(count)
    def __call__(self, now):
        if now.step == 8:
            so_far = int(self.count.read_text()) if self.count.exists() else 0
            self.count.write_text(str(so_far + 1))
            if so_far < self.times:
                raise RuntimeError(f"attempt {so_far + 1} fails")
        return 1.0

class Editing:
    """Edits a YAML while a run trains."""
    def __init__(self, file):
        self.file = Path(file)
    def __call__(self, now):
        if now.step == 0:
            self.file.write_text(self.file.read_text().replace("lr: 0.003", "lr: 0.5"))
        return 1.0
'''
)
GRID = ("-m", *SHORT, "optimizer=sgd,adam", "seed=0,1", "hydra.sweep.dir=s")


@pytest.fixture
def mine(package):
    return package(TECHNIQUES)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep of four jobs, to look at and to copy: its folder, and what it printed."""
    return sweep_in(tmp_path_factory.mktemp("swept"), *GRID[1:-1])[:2]


@pytest.fixture
def copied(swept, tmp_path):
    """A copy of that sweep in the test's folder."""
    return shutil.copytree(swept[0], tmp_path / "s")


def test_a_sweep_reports_every_job_and_ends_in_a_ranking(swept):
    folder, printed = swept
    assert printed.startswith("4 jobs, in s\n[1/4] sgd+seed-0: finished, best loss ")
    numbers = [line.split("]")[0] for line in printed.splitlines() if line.startswith("[")]
    assert numbers == ["[1/4", "[2/4", "[3/4", "[4/4"]
    assert "2 settings, 4 runs, ranked by best val accuracy" in printed
    assert (folder / "ranking.csv").is_file() and (folder / "ranking.png").is_file()
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {
        f"{name}+seed-{seed}" for name in ("sgd", "adam") for seed in (0, 1)
    } | {"MEAN of sgd", "MEAN of adam"}
    for name in results(folder):
        assert (folder / name / "config.yaml").is_file() and "sweep" not in (folder / name / "config.yaml").read_text()
        assert (folder / name / "curves.png").read_bytes().startswith(b"\x89PNG")  # another process has drawn it


def test_a_job_is_the_run_of_its_overrides_alone(swept, run_in_process, tmp_path):
    assert run_in_process(*SHORT, "optimizer=adam", "seed=1")[0] == 0
    (alone,) = (tmp_path / "outputs").rglob("summary.json")
    digest = json.loads(alone.read_text())["weights_sha256"]
    assert digest == summaries(swept[0])["adam+seed-1"]["weights_sha256"]


def test_repeating_a_sweep_runs_the_missing_jobs_and_leaves_the_others(copied, run_in_process):
    first, missing = results(copied), "sgd+seed-1"
    kept = {name: (copied / name / "summary.json").stat().st_mtime_ns for name in first if name != missing}
    (copied / missing / "summary.json").unlink()  # as if the sweep had been killed
    (copied / missing / "curves.png").unlink()
    (copied / "sgd+seed-0" / "curves.png").unlink()
    code, printed, errors = run_in_process(*GRID)
    assert code == 0 and "4 jobs, 3 of them ended before" in printed and f"[4/4] {missing}: finished" in printed, errors
    assert results(copied) == first
    assert all((copied / name / "summary.json").stat().st_mtime_ns == stamp for name, stamp in kept.items())
    assert len([*copied.glob("*/curves.png")]) == 4


def test_a_sweep_that_goes_on_with_other_threads_has_one_setting_for_its_seeds(run_in_process):
    for words in (["seed=0"], ["seed=0,1", "threads=2"]):
        code, printed, _ = run_in_process(
            "-m", *(word for word in SHORT if "threads" not in word), *words, "hydra.sweep.dir=s"
        )
    assert code == 0 and "1 setting, 2 runs" in printed and "threads" not in printed.partition("1 setting, 2 runs")[2]


def test_a_larger_grid_in_the_same_folder_runs_what_is_new(copied, run_in_process):
    first = results(copied)
    code, printed, errors = run_in_process(*GRID[:-2], "seed=0,1,2", GRID[-1])
    assert code == 0 and "6 jobs, 4 of them ended before" in printed, errors
    assert results(copied).items() > first.items() and len(results(copied)) == 6


def test_a_job_that_was_resumed_alone_with_more_epochs_stays_in_the_sweep(copied, run_in_process):
    assert run_in_process("resume=s/sgd+seed-1", "epochs=+2")[0] == 0
    code, printed, errors = run_in_process(*GRID)
    assert code == 0 and "4 jobs, 4 of them ended before" in printed, errors
    assert json.loads((copied / "sgd+seed-1" / "summary.json").read_text())["epochs"] == 4


def test_a_yaml_edited_meanwhile_changes_no_job(mine, run_in_process, tmp_path):
    own = tmp_path / "own" / "optimizer" / "gentle.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("# SGD at a small rate.\n_target_: torch.optim.SGD\nlr: 0.003 # learning rate; > 0\n")
    typed = ["-m", *SHORT, "--config-dir", "own", "optimizer=gentle", "seed=0,1", "hydra.sweep.dir=s"]
    typed += ["sched=constant", f"sched._target_={mine}.Editing", f"+sched.file={own}", f"allow=[{mine}]"]
    code, _, errors = run_in_process(*typed)
    assert code == 0 and "lr: 0.5" in own.read_text(), errors
    second = tmp_path / "s" / "seed-1"
    shutil.rmtree(second / "checkpoints")
    for name in ("summary.json", "metrics.jsonl"):
        (second / name).unlink()
    assert run_in_process(*typed)[0] == 0  # begun anew, with the configuration of the first time
    for name in ("seed-0", "seed-1"):
        assert OmegaConf.load(tmp_path / "s" / name / "config.yaml").optimizer.lr == 0.003
        rows = (tmp_path / "s" / name / "metrics.jsonl").read_text().splitlines()
        assert {json.loads(row)["lr"] for row in rows} == {0.003}


def failing(mine, times, *overrides):
    own = ("sched=constant", f"sched._target_={mine}.Failing", f"+sched.times={times}", f"allow=[{mine}]")
    return ("-m", *SHORT, *overrides, *own, "hydra.sweep.dir=s")


def test_a_sweep_whose_folder_cannot_be_made_names_the_folder_that_was_typed(run_in_process):
    code, _, errors = run_in_process("-m", *SHORT, "seed=1,2", "hydra.sweep.dir=/proc/x")
    where = "train: hydra.sweep.dir=/proc/x: the folder cannot be made there"
    assert code == 4 and errors.startswith(where) and "choose another place with hydra.sweep.dir=DIR" in errors


def test_jobs_that_diverged_are_not_to_be_resumed(run_in_process):
    code, printed, _ = run_in_process("-m", *SHORT, "seed=0", "optimizer.lr=0.01,1e30", "hydra.sweep.dir=s")
    assert code == 5 and "1 of 2 jobs diverged, and would diverge again" in " ".join(printed.split())
    assert "to resume the sweep" not in printed


def test_a_sweep_begins_no_job_where_one_cannot_be_written(run_in_process, tmp_path):
    (tmp_path / "s" / "seed-2" / SWEPT_KEYS).mkdir(parents=True)
    code, out, err = run_in_process("-m", *SHORT, "seed=1,2", "hydra.sweep.dir=s")
    assert code == 4 and "s/seed-2: the run cannot be written there (Is a directory)" in err and "Traceback" not in err
    assert not (tmp_path / "s" / "seed-1" / "run.log").exists()


def test_a_failure_is_reported_at_once_and_ends_no_other_job(mine, run_in_process, tmp_path):
    code, printed, errors = run_in_process(*failing(mine, 1, "seed=0,1"))
    assert code == 2 and "train: 1 of 2 jobs failed, the first with: " in errors, errors
    assert ": raises RuntimeError: attempt 1 fails\n" in errors
    assert "Traceback" not in errors and "Traceback" in (tmp_path / "s" / "seed-0" / "run.log").read_text()
    assert (
        "[1/2] seed-0: failed: " in printed and ": raises RuntimeError: attempt 1 fails (s/seed-0/run.log)" in printed
    )
    assert "[2/2] seed-1: finished" in printed
    code, printed, _ = run_in_process(*failing(mine, 1, "seed=0,1"))  # the second attempt succeeds
    assert code == 0 and "1 of them ended before" in printed


def test_an_interrupted_sweep_prints_how_to_resume_all_of_it_and_not_one_job(mine, run_in_process, tmp_path):
    own = ("sched=constant", f"sched._target_={mine}.Interrupting", f"allow=[{mine}]")
    code, printed, errors = run_in_process("-m", *SHORT, "seed=0,1", *own, "hydra.sweep.dir=s")
    said = " ".join(printed.split())
    assert code == 130 and errors == "train: interrupted after 9 steps\n"
    assert "[1/2] seed-0: interrupted after 9 steps (s/seed-0/run.log)" in said
    assert "interrupted: seed=0: after 9 steps (s/seed-0/run.log)" in said
    assert "2 of 2 jobs did not finish; to resume the sweep, repeat the command with hydra.sweep.dir=s" in said
    assert "resume=" not in printed + (tmp_path / "s" / "seed-0" / "run.log").read_text()
    code, printed, errors = run_in_process("-m", *SHORT, "seed=0,1", *own, "hydra.sweep.dir=s")
    assert code == 0 and "did not finish" not in printed, errors
    assert {status for status, _ in results(tmp_path / "s").values()} == {"finished"}


def test_a_sweep_stops_at_a_failure_with_on_error_stop(mine, run_in_process, tmp_path):
    code, printed, errors = run_in_process(*failing(mine, 1, "seed=0,1,2", "sweep.on_error=stop"))
    assert code == 2 and "1 of 3 jobs failed, the first with: " in errors
    assert ": raises RuntimeError: attempt 1 fails; 2 jobs did not begin" in errors
    assert "3 of 3 jobs did not finish" in printed and "hydra.sweep.dir=s sweep.on_error=continue" in printed
    assert set(results(tmp_path / "s")) == {"seed-0"}


@pytest.mark.parametrize("times, code", [(2, 0), (3, 2)])
def test_a_failed_job_is_tried_again_as_often_as_asked(times, code, mine, run_in_process, tmp_path):
    now, printed, _ = run_in_process(*failing(mine, times, "seed=0", "sweep.on_error=retry:2"))
    last_attempt = "RuntimeError: attempt 3 fails (" if code else ": finished, best"
    assert now == code and last_attempt in printed and (tmp_path / "count").read_text() == "3"
    assert ([status for status, _ in results(tmp_path / "s").values()] == ["finished"]) == (code == 0)


def test_the_folder_of_another_sweep_is_refused(swept, run_in_process):
    folder, _ = swept
    code, _, errors = run_in_process("-m", *SHORT, "optimizer=momentum,adam", "seed=0,1", f"hydra.sweep.dir={folder}")
    assert code == 2 and "holds another sweep" in errors and "optimizer=sgd" in errors


def test_the_directory_of_a_run_is_no_folder_for_a_sweep(swept, run_in_process):
    code, _, errors = run_in_process("-m", *SHORT, "seed=0,1", f"hydra.sweep.dir={swept[0] / 'sgd+seed-0'}")
    assert code == 2 and "is the directory of a run" in errors


def test_two_sweeps_never_share_a_folder(run_in_process, tmp_path):
    (tmp_path / "s").mkdir()
    with FileLock(tmp_path / "s" / ".lock"):
        code, _, errors = run_in_process(*GRID)
    assert code == 4 and "another process is writing" in errors and not list(tmp_path.rglob("overrides.txt"))


@pytest.mark.parametrize(
    "typed, message",
    [
        (("seed=0,0",), "two jobs of the grid are the same"),
        (("optimizer=sgd,addam",), "optimizer has no option addam; did you mean optimizer=sgd,adam?"),
        (("optimizer.lr=0.1,-1",), "optimizer.lr=-1: must be > 0"),
        (("optimizer.lr=interval(0.1,1)",), "optimizer.lr=interval(0.1,1): "),
        (("seed=0,1", "hydra/launcher=slurm"), "no such launcher; did you mean hydra/launcher=submitit_slurm"),
        (("seed=0,1", "sweep.on_error=retry"), "sweep.on_error=retry: must be one of continue, stop, or retry:N"),
    ],
)
def test_a_mistake_in_a_sweep_is_explained_before_its_first_job(typed, message, run_in_process, tmp_path):
    code, _, errors = run_in_process("-m", *SHORT, *typed)
    assert code == 2 and message in errors and len(errors.strip().splitlines()) <= 2, errors
    assert not list(tmp_path.rglob("overrides.txt"))


@pytest.mark.parametrize(
    "typed, message",
    [
        (("sweep.dry_run=true",), "sweep.dry_run=true: is for sweeps; write train -m"),
        (("hydra/sweeper=optuna",), "is for sweeps"),
        (("-m", "seed=0,1", "hydra/sweeper=optun"), "no such sweeper; did you mean hydra/sweeper=optuna"),
        (("-m", "seed=0,1", "hydra.sweeper.n_trials=2"), "write hydra/sweeper=optuna for a search"),
        (("-m", "seed=0,1", "hydra.launcher.n_jobs=2"), "write hydra/launcher=joblib, or another one"),
        (("-m", "seed=0,1", "hydra.launcher.jobs=2"), "write hydra/launcher=stacked, or another one"),
        (("-m", "seed=0,1", "hydra.launcher.partition=a"), "write hydra/launcher=submitit_slurm, or another one"),
        (("-m", "threads=1,2"), "threads makes no other run"),
        (("-m", "task=evaluate", "runs=[a],[b]"), "to take several, write runs=[a,b]"),
        (("-m", "resume=x", "seed=0,1"), "resume=x: resumes a single run, without -m"),
        (("--config-dir", "nowhere"), "--config-dir nowhere: no such folder"),
    ],
)
def test_an_override_of_a_sweep_in_the_wrong_place_is_explained(typed, message, run_in_process, tmp_path):
    code, _, errors = run_in_process(*typed)
    assert code == 2 and message in errors and len(errors.strip().splitlines()) == 1, errors
    assert not (tmp_path / "outputs").exists()


def test_a_dry_run_tries_every_setting_and_begins_none(run_in_process, tmp_path):
    code, printed, errors = run_in_process("-m", *SHORT, "batch_size=200,100", "seed=0,1", "sweep.dry_run=true")
    assert code == 0 and "none was begun" in printed, errors
    lines = printed.splitlines()
    assert lines[0] == "4 jobs in 2 settings; dry run"
    # (64 + 1) 8 + (8 + 1) 10 parameters; 1,259 samples in 7 or 13 steps an epoch
    for line, number, size, steps in ((lines[1], 1, 200, 14), (lines[2], 2, 100, 26)):
        assert line.startswith(f"[{number}/2] batch_size={size} (2 jobs): 610 parameters, {steps} steps, "), line
    assert lines[-1].startswith("4 jobs, about ")
    assert not list(tmp_path.rglob("overrides.txt")) and not list(tmp_path.rglob("run.log"))
    code, printed, errors = run_in_process("-m", *SHORT, "optimizer.lr=1e15,0.1", "sweep.dry_run=true")
    assert code == 0 and printed.count("diverges") == 1
    assert "warning: after 5 steps the loss is not finite (NaN or Inf) in 1 setting\n" in printed
    code, printed, errors = run_in_process("-m", *SHORT, "batch_size=200,5000", "sweep.dry_run=true")
    assert code == 2 and "1 of 2 jobs cannot be built, the first with: batch_size=5000: larger than the 1259" in errors


def test_the_first_line_of_a_sweep_comes_before_its_jobs_are_prepared(tmp_path, monkeypatch):
    class Output(io.StringIO):
        prepared: int | None = None

        def write(self, text):
            if self.prepared is None:
                self.prepared = len([*tmp_path.rglob("overrides.txt")])
            return super().write(text)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train", *GRID])
    with redirect_stdout(output := Output()):
        main.main()
    assert output.getvalue().startswith("4 jobs, in s\n") and output.prepared == 0
    assert len([*tmp_path.rglob("overrides.txt")]) == 4


def test_notes_reach_the_screen_and_the_ranking_of_a_sweep(run_in_process, tmp_path):
    still = ("act=sigmoid", "optimizer.lr=1e-12", "optimizer=gd", "reg=[],[l2]", "hydra.sweep.dir=s")
    code, printed, errors = run_in_process("-m", *SHORT, *still)
    assert code == 0, errors
    assert "] reg-none: finished" in printed and "] reg-l2: finished" in printed and re.search(r"\d  none ", printed)
    found = summaries(tmp_path / "s")
    assert set(found) == {"reg-none", "reg-l2"}
    for text in (printed, (tmp_path / "s" / "ranking.md").read_text()):
        assert text.count("none has learnt: no val accuracy is better than always the same class (0.1006)") == 1
        for note in found["reg-none"]["notes"]:
            (line,) = (line for line in text.splitlines() if note in line.replace("\\", ""))
            assert line.endswith("note: " + note + " (all 2 runs)")
    notes = found["reg-none"]["notes"]
    assert any(note.startswith("act=sigmoid: ") for note in notes) and any(
        "make it stochastic" in note for note in notes
    )
    assert found["reg-l2"]["verdicts"][0]["level"] == "problem" and "problem: " in printed


def test_the_notes_of_a_sweep_without_any_score_are_printed(run_in_process, tmp_path):
    lost = ("optimizer.lr=1e30,1e31", "seed=0", "hydra.sweep.dir=s")
    code, printed, errors = run_in_process("-m", *SHORT, *lost)
    assert code == 5 and "ranked by" not in printed
    assert printed.count("note: optimizer.lr=1e+30: ") == 1 and "large steps often diverge" in printed
