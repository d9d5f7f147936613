"""Sweeps: jobs are directories, what ended is left alone, what did not goes on, and every launcher gives the same weights."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock
from omegaconf import OmegaConf

from trainer.base.errors import ConfigError
from trainer.rundir import resume
from trainer.sweep import devices, jobs
from trainer.sweep.display import View, clock
from trainer.sweep.jobs import Job, identity

SHORT = ("model=mlp", "model.hidden=[8]", "epochs=2", "batch_size=200", "threads=1", "device=cpu")
TECHNIQUES = '''
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
    """Writes other numbers into a YAML while a run goes."""
    def __init__(self, file):
        self.file = Path(file)
    def __call__(self, now):
        if now.step == 0:
            self.file.write_text(self.file.read_text().replace("lr: 0.003", "lr: 0.5"))
        return 1.0
'''


def summaries(folder):
    return {path.parent.name: json.loads(path.read_text()) for path in Path(folder).glob("*/summary.json")}


def told(folder):
    return {name: (summary["status"], summary.get("weights_sha256")) for name, summary in summaries(folder).items()}


@pytest.fixture
def mine(package):
    return package(TECHNIQUES)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep of four jobs in one process, left as it is by the tests."""
    folder = tmp_path_factory.mktemp("swept")
    done = subprocess.run(
        [sys.executable, "-m", "trainer", "-m", *SHORT, "optimizer=sgd,adam", "seed=0,1", "hydra.sweep.dir=s"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return folder / "s", done.stdout


def test_a_sweep_tells_of_every_job_and_ends_in_a_ranking(swept):
    folder, said = swept
    assert said.startswith("4 jobs, in s\n[1/4] optimizer-sgd+seed-0: finished, best loss ")
    assert [line.split("]")[0] for line in said.splitlines() if line.startswith("[")] == [
        "[1/4",
        "[2/4",
        "[3/4",
        "[4/4",
    ]
    assert (
        "2 settings, 4 runs, ranked by best val accuracy" in said
        and (folder / "ranking.csv").is_file()
        and (folder / "ranking.png").is_file()
    )
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {
        f"optimizer-{name}+seed-{seed}" for name in ("sgd", "adam") for seed in (0, 1)
    }
    for name in told(folder):
        assert (folder / name / "config.yaml").is_file() and "sweep" not in (folder / name / "config.yaml").read_text()


def test_every_job_has_its_picture_when_the_sweep_ends(swept, run_in_process, tmp_path):
    """Another process draws them; one that was not drawn because the sweep was killed is when it is repeated."""
    folder = shutil.copytree(swept[0], tmp_path / "s")
    (folder / "optimizer-sgd+seed-1" / "curves.png").unlink()
    assert run_in_process("-m", *SHORT, "optimizer=sgd,adam", "seed=0,1", "hydra.sweep.dir=s")[0] == 0
    for at in (folder, swept[0]):
        pictures = sorted(at.glob("*/curves.png"))
        assert len(pictures) == 4 and all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)


def test_a_picture_says_how_a_run_ended():
    assert resume.shortcoming({"status": "finished", "steps": 9}) == resume.shortcoming({"status": "stopped"}) == ""
    assert resume.shortcoming({"status": "diverged", "steps": 20, "diverged_in": 13}) == "diverged in update 13"
    assert resume.shortcoming({"status": "interrupted", "steps": 20}) == "interrupted after 20 updates"
    assert resume.shortcoming({"status": "failed"}) == "failed" and resume.shortcoming({}) == "not ended"


def test_a_job_is_the_run_that_its_words_give_alone(swept, run_in_process, tmp_path):
    folder, _ = swept
    assert run_in_process(*SHORT, "optimizer=adam", "seed=1")[0] == 0
    (alone,) = (tmp_path / "outputs").rglob("summary.json")
    assert (
        json.loads(alone.read_text())["weights_sha256"] == summaries(folder)["optimizer-adam+seed-1"]["weights_sha256"]
    )


def test_repeating_a_sweep_does_what_is_missing_and_leaves_the_rest(run_in_process, tmp_path):
    words = ("-m", *SHORT, "seed=0,1,2", "hydra.sweep.dir=s")
    assert run_in_process(*words)[0] == 0
    first = told(tmp_path / "s")
    kept = {name: (tmp_path / "s" / name / "summary.json").stat().st_mtime_ns for name in first}
    (tmp_path / "s" / "seed-1" / "summary.json").unlink()  # as a killed one
    code, said, errors = run_in_process(*words)
    assert code == 0 and "3 jobs, 2 of them ended before" in said and "[3/3] seed-1: finished" in said, errors
    assert told(tmp_path / "s") == first
    assert {name: (tmp_path / "s" / name / "summary.json").stat().st_mtime_ns == kept[name] for name in first} == {
        "seed-0": True,
        "seed-1": False,
        "seed-2": True,
    }
    code, said, _ = run_in_process(
        "-m", *SHORT, "seed=0,1,2,3", "hydra.sweep.dir=s"
    )  # one more is the same sweep, larger
    assert code == 0 and "4 jobs, 3 of them ended before" in said and told(tmp_path / "s").items() > first.items()


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_every_launcher_gives_the_same_weights(launcher, swept, tmp_path):
    package = {
        "joblib": "hydra_plugins.hydra_joblib_launcher",
        "submitit_local": "hydra_plugins.hydra_submitit_launcher",
    }[launcher]
    pytest.importorskip(package)
    own = ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []
    done = subprocess.run(
        [sys.executable, "-m", "trainer", "-m", *SHORT, "optimizer=sgd,adam", "seed=0,1", "hydra.sweep.dir=s", f"hydra/launcher={launcher}", *own],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert told(tmp_path / "s") == told(swept[0]) and "2 settings, 4 runs, ranked by best val accuracy" in done.stdout


def test_ray_gives_the_same_weights(swept, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_ray_launcher")
    words = ["-m", *SHORT, "optimizer=sgd,adam", "seed=0,1", "hydra.sweep.dir=s", "hydra/launcher=ray"]
    done = subprocess.run(
        [sys.executable, "-m", "trainer", *words], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0 and told(tmp_path / "s") == told(swept[0]), done.stderr


def test_a_sweep_killed_twice_ends_as_an_undisturbed_one(tmp_path):
    """Killed when the first job has scored, and again when the third has; the figures of ranking.csv are those of the other sweep."""
    words = [
        sys.executable,
        "-m",
        "trainer",
        "-m",
        *SHORT[:2],
        "epochs=6",
        *SHORT[3:],
        "save_every=3st",
        "optimizer=sgd,adam",
        "seed=0,1",
    ]
    undisturbed = subprocess.run(
        [*words, "hydra.sweep.dir=a"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert undisturbed.returncode == 0, undisturbed.stderr
    for ended in (1, 3):
        process = subprocess.Popen(
            [*words, "hydra.sweep.dir=b"], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while (
            sum('"val"' in path.read_text() for path in (tmp_path / "b").glob("*/metrics.jsonl")) < ended
            and process.poll() is None
        ):
            time.sleep(0.01)
        process.kill()
        process.wait()
    again = subprocess.run([*words, "hydra.sweep.dir=b"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    one, other = (list(csv.DictReader((tmp_path / name / "ranking.csv").open())) for name in "ab")
    for row in (*one, *other):
        del row["seconds_mean"], row["directories"]  # a job that was killed takes another time
    assert one == other and told(tmp_path / "a") == told(tmp_path / "b")


def test_a_yaml_edited_meanwhile_changes_no_job(mine, run_in_process, tmp_path):
    own = tmp_path / "own" / "optimizer" / "gentle.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("# SGD at a small rate.\n_target_: torch.optim.SGD\nlr: 0.003 # learning rate, > 0\n")
    words = ("-m", *SHORT, "--config-dir", "own", "optimizer=gentle", "seed=0,1", "hydra.sweep.dir=s")
    code, _, errors = run_in_process(*words, f"sched._target_={mine}.Editing", f"+sched.file={own}", f"allow=[{mine}]")
    assert code == 0 and "lr: 0.5" in own.read_text(), errors
    (tmp_path / "s" / "seed-1" / "summary.json").unlink()
    shutil.rmtree(tmp_path / "s" / "seed-1" / "checkpoints")
    (tmp_path / "s" / "seed-1" / "metrics.jsonl").unlink()
    assert (
        run_in_process(*words, f"sched._target_={mine}.Editing", f"+sched.file={own}", f"allow=[{mine}]")[0] == 0
    )  # begun anew, as it was meant
    for name in ("seed-0", "seed-1"):
        assert OmegaConf.load(tmp_path / "s" / name / "config.yaml").optimizer.lr == 0.003
        rows = (tmp_path / "s" / name / "metrics.jsonl").read_text().splitlines()
        assert {json.loads(row)["lr"] for row in rows} == {0.003}


def failing(mine, times, *words):
    return (
        "-m",
        *SHORT,
        *words,
        f"sched._target_={mine}.Failing",
        f"+sched.times={times}",
        f"allow=[{mine}]",
        "hydra.sweep.dir=s",
    )


def test_a_failure_is_told_at_once_and_ends_no_other_job(mine, run_in_process, tmp_path):
    code, said, errors = run_in_process(*failing(mine, 1, "seed=0,1"))
    assert (
        code == 1
        and "train: 1 of 2 runs failed, the first with: RuntimeError: attempt 1 fails" in errors
        and "Traceback" not in errors
    )
    assert (
        "[1/2] seed-0: failed: RuntimeError: attempt 1 fails (s/seed-0/run.log)" in said
        and "[2/2] seed-1: finished" in said
    )
    assert "Traceback" in (tmp_path / "s" / "seed-0" / "run.log").read_text()
    code, said, _ = run_in_process(*failing(mine, 1, "seed=0,1"))  # the second attempt goes well
    assert code == 0 and "1 of them ended before" in said


def test_a_sweep_stops_at_a_failure_where_that_is_asked_for(mine, run_in_process, tmp_path):
    code, _, errors = run_in_process(*failing(mine, 1, "seed=0,1,2", "sweep.on_error=stop"))
    assert (
        code == 1
        and "train: 1 of 3 runs failed, the first with: RuntimeError: attempt 1 fails; 2 were not begun" in errors
    )
    assert set(told(tmp_path / "s")) == {"seed-0"}


@pytest.mark.parametrize("times, code", [(2, 0), (3, 1)])
def test_a_failed_job_is_begun_again_as_often_as_asked_for(times, code, mine, run_in_process, tmp_path):
    now, said, _ = run_in_process(*failing(mine, times, "seed=0", "sweep.on_error=retry:2"))
    assert (
        now == code and ("RuntimeError: attempt 3 fails (" if code else ": finished, best") in said
    )  # of the last attempt
    assert (tmp_path / "count").read_text() == "3"
    assert ([status for status, _ in told(tmp_path / "s").values()] == ["finished"]) == (code == 0)


def test_the_folder_of_another_sweep_is_refused(swept, run_in_process):
    folder, _ = swept
    code, _, errors = run_in_process("-m", *SHORT, "optimizer=momentum,adam", "seed=0,1", f"hydra.sweep.dir={folder}")
    assert code == 2 and "holds another sweep" in errors and "optimizer=sgd" in errors


@pytest.mark.parametrize(
    "words, said",
    [
        (("seed=0,0",), "two jobs of the grid are the same"),
        (("optimizer=sgd,addam",), "no such optimizer as addam; did you mean adam"),
        (("optimizer.lr=0.1,-1",), "optimizer.lr=-1: must be > 0"),
        (("optimizer.lr=interval(0.1,1)",), "optimizer.lr=interval(0.1,1): "),
        (("seed=0,1", "hydra/launcher=slurm"), "no such launcher; did you mean submitit_slurm"),
        (("seed=0,1", "sweep.on_error=retry"), "sweep.on_error=retry: must be one of continue, stop, retry:N"),
    ],
)
def test_what_is_wrong_with_a_sweep_is_said_before_its_first_job(words, said, run_in_process, tmp_path):
    code, _, errors = run_in_process("-m", *SHORT, *words)
    assert code == 2 and said in errors and len(errors.strip().splitlines()) <= 2, errors
    assert not list(tmp_path.rglob("overrides.txt"))


def test_a_launcher_that_is_not_installed_says_how_to_get_it(run_in_process):
    from importlib.util import find_spec

    if find_spec("hydra_plugins.hydra_ray_launcher"):
        pytest.skip("Ray's launcher is installed")
    code, _, errors = run_in_process("-m", *SHORT, "seed=0,1", "hydra/launcher=ray")
    assert code == 2 and "pip install 'trainer[ray]'" in errors


def test_a_dry_run_builds_every_job_and_begins_none(run_in_process, tmp_path):
    code, said, errors = run_in_process("-m", *SHORT, "batch_size=200,100", "sweep.dry_run=true")
    assert code == 0, errors
    rows = [line.split() for line in said.splitlines() if line.strip()[:1].isdigit() and "model=mlp" in line]
    # (64 + 1) 8 + (8 + 1) 10 parameters; 1,259 samples in 7 or 13 updates an epoch
    assert [row[-4:-2] if row[-1] == "s" else row[-3:-1] for row in rows] == [
        ["610", "14"],
        ["610", "26"],
    ] and "nothing was begun" in said
    assert not list(tmp_path.rglob("overrides.txt")) and not list(tmp_path.rglob("run.log"))
    code, said, errors = run_in_process("-m", *SHORT, "optimizer.lr=1e15,0.1", "sweep.dry_run=true")
    assert (
        code == 0 and said.count("diverges") == 1 and "warning: after 5 updates the loss is no number in job 1" in said
    )
    code, said, errors = run_in_process("-m", *SHORT, "batch_size=200,5000", "sweep.dry_run=true")
    assert (
        code == 2
        and "1 of 2 jobs cannot be begun, the first: batch_size=5000: larger than the 1259 training samples" in errors
    )


def test_words_of_the_machine_make_no_other_job():
    assert identity(["seed=1", "device=cpu", "model=mlp", "hydra.sweep.dir=x", "threads=2", "sweep.on_error=stop"]) == (
        "model=mlp",
        "seed=1",
    )
    assert identity(["epochs=2"]) != identity(["epochs=3"]) and identity(["+sched.a=1"]) == ("+sched.a=1",)


def test_jobs_are_found_by_what_they_are(tmp_path):
    cfg = OmegaConf.create({"seed": 1})
    one = jobs.prepare(tmp_path, ["model=mlp", "seed=1"], ["seed=1"], lambda name: cfg)
    again = jobs.prepare(
        tmp_path, ["seed=1", "threads=1", "model=mlp"], ["seed=1"], lambda name: pytest.fail("composed again")
    )
    assert one.directory == again.directory == tmp_path / "seed-1"
    assert (
        jobs.prepare(tmp_path, ["seed=1", "model=cnn"], ["seed=1"], lambda name: cfg).directory == tmp_path / "seed-1-2"
    )
    with pytest.raises(ConfigError, match="holds another sweep"):
        jobs.of_this_sweep(tmp_path, [["model=mlp", "seed=1"]])


def test_jobs_side_by_side_get_a_gpu_each_and_then_share(tmp_path):
    with (
        devices.device(tmp_path, "auto", 2) as first,
        devices.device(tmp_path, "auto", 2) as second,
        devices.device(tmp_path, "cuda", 2) as third,
    ):
        assert (first, second, third) == ("cuda:0", "cuda:1", "cuda:0")
        with devices.device(tmp_path, "cpu", 2) as asked:
            assert asked == "cpu"
    with devices.device(tmp_path, "auto", 2) as free:
        assert free == "cuda:0"
    with devices.device(tmp_path, "auto", 1) as single:
        assert single == "auto"


def test_the_view_shows_what_runs_and_what_failed(tmp_path, capsys):
    prepared = []
    for number in range(30):
        directory = tmp_path / f"seed-{number}"
        directory.mkdir()
        prepared.append(Job((f"seed={number}",), directory))
    view = View(tmp_path, 30, prepared)
    (prepared[3].directory / "run.log").write_text("begun")
    (prepared[3].directory / "metrics.jsonl").write_text(
        '{"split": "val", "epoch": 4.0, "accuracy": 0.75, "loss": 1.0}\n'
    )
    (prepared[20].directory / "summary.json").write_text('{"status": "failed", "error": "no memory", "code": 4}')
    for number in (0, 1):
        (prepared[number].directory / "summary.json").write_text(
            '{"status": "finished", "steps": 3, "best": {"loss": 0.5, "accuracy": 0.5, "step": 3, "epoch": 1}, "seconds": 1.5}'
        )
    view.look()
    said = capsys.readouterr().out
    assert (
        "[3/30] seed-20: failed: no memory (" in said
        and "seed-0: finished, best loss 0.5000  accuracy 0.5000 (epoch 1), 1.5 s" in said
    )
    table = view.table()
    names = [str(cell) for cell in table.columns[1].cells]
    assert "seed-3" in names and "seed-20" in names and names[-1] == f"and {30 - (len(names) - 1)} more"
    states = dict(zip(names, table.columns[2].cells))
    assert (states["seed-3"], states["seed-20"], states["seed-0"], states["seed-4"]) == (
        "running",
        "failed",
        "finished",
        "waits",
    )
    (prepared[20].directory / "summary.json").write_text('{"status": "failed", "error": "no memory either", "code": 4}')
    view.look()  # a second attempt
    assert "[3/30] seed-20: failed: no memory either (" in capsys.readouterr().out
    assert (
        dict(zip(names, table.columns[3].cells))["seed-3"] == "4"
        and dict(zip(names, table.columns[4].cells))["seed-3"] == "accuracy 0.7500"
    )


@pytest.mark.parametrize("seconds, said", [(0.4, "0 s"), (59.6, "1 min 0 s"), (125, "2 min 5 s"), (7260, "2 h 1 min")])
def test_durations_are_said_in_words(seconds, said):
    assert clock(seconds) == said


def test_a_second_sweep_in_the_same_folder_waits_its_turn_elsewhere(tmp_path):
    """Two commands at once: one has the folder, the other says so."""
    words = [
        sys.executable,
        "-m",
        "trainer",
        "-m",
        *SHORT[:2],
        "epochs=100000",
        *SHORT[3:],
        "seed=0,1",
        "hydra.sweep.dir=s",
    ]
    process = subprocess.Popen(
        words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
    )
    try:
        while not list(tmp_path.glob("s/*/run.log")):
            assert process.poll() is None
            time.sleep(0.02)
        other = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert other.returncode == 4 and "another process is writing" in other.stderr
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130


@pytest.mark.parametrize(
    "words, said",
    [
        (("sweep.dry_run=true",), "sweep.dry_run=true: is for sweeps; write train -m"),
        (("hydra/sweeper=optuna",), "is for sweeps"),
        (("-m", "seed=0,1", "hydra/sweeper=optun"), "no such sweeper; did you mean optuna"),
        (("-m", "seed=0,1", "hydra.sweeper.n_trials=2"), "needs hydra/sweeper=optuna"),
        (("-m", "seed=0,1", "hydra.launcher.n_jobs=2"), "needs a launcher"),
        (("-m", "threads=1,2"), "threads makes no other run"),
        (("-m", "task=evaluate", "runs=[a],[b]"), "several go into one list: runs=[a,b]"),
        (("-m", "resume=x", "seed=0,1"), "resume=x: resumes one run, without -m"),
        (("--config-dir", "nowhere"), "--config-dir nowhere: no such folder"),
    ],
)
def test_words_of_a_sweep_in_the_wrong_place_are_explained(words, said, run_in_process, tmp_path):
    code, _, errors = run_in_process(*words)
    assert code == 2 and said in errors and len(errors.strip().splitlines()) == 1, errors
    assert not (tmp_path / "outputs").exists()


def test_the_directory_of_a_run_is_no_folder_for_a_sweep(swept, run_in_process):
    code, _, errors = run_in_process("-m", *SHORT, "seed=0,1", f"hydra.sweep.dir={swept[0] / 'optimizer-sgd+seed-0'}")
    assert code == 2 and "is the directory of a run" in errors


def test_a_job_that_was_resumed_alone_with_more_epochs_is_still_the_sweeps(swept, run_in_process, tmp_path):
    folder = shutil.copytree(swept[0], tmp_path / "s")
    assert run_in_process("resume=s/optimizer-sgd+seed-1", "epochs=+2")[0] == 0
    code, said, errors = run_in_process("-m", *SHORT, "optimizer=sgd,adam", "seed=0,1", "hydra.sweep.dir=s")
    assert code == 0 and "4 jobs, 4 of them ended before" in said, errors
    assert json.loads((folder / "optimizer-sgd+seed-1" / "summary.json").read_text())["epochs"] == 4


@pytest.mark.skipif(os.name == "nt", reason="a process does not see there that the one that began it has died")
def test_processes_of_joblib_end_with_a_sweep_that_is_killed(tmp_path):
    words = [
        sys.executable,
        "-m",
        "trainer",
        "-m",
        *SHORT[:2],
        "epochs=100000",
        *SHORT[3:],
        "seed=0,1",
        "hydra.sweep.dir=s",
        "hydra/launcher=joblib",
    ]
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while sum('"val"' in path.read_text() for path in tmp_path.glob("s/*/metrics.jsonl")) < 2:  # both train
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    for seed in (0, 1):
        with FileLock(tmp_path / "s" / f"seed-{seed}" / ".lock").acquire(
            timeout=60
        ):  # the process lets go of it when it ends
            assert told(tmp_path / "s")[f"seed-{seed}"][0] == "interrupted"
    assert not (tmp_path / "s" / jobs.STOP).exists()
