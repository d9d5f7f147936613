"""Links, pipes and devices in the directories of runs and sweeps: refused in one line, and nothing is touched by them.

An archive or a repository from somebody else can carry links; the home folder here is the canary.
"""

import os
import shutil
import socket
from datetime import datetime
from pathlib import Path

import pytest
from conftest import SMALL, command
from sweeping import SHORT

FILES = ("run.log", "metrics.jsonl", "summary.json", "overrides.txt", "config.yaml", ".lock", "checkpoints/last")
FOLDERS = ("checkpoints", "train", "val")


@pytest.fixture
def canary(tmp_path):
    """A home folder whose files must stay as they are, and a function that tells whether they have."""
    home = tmp_path / "home"
    home.mkdir()
    for name in (".profile", "step-1.pt", "events.out.tfevents.1.x", ".results"):
        (home / name).write_text("mine\n")
    before = snapshot(home)
    yield home
    assert snapshot(home) == before


def snapshot(folder):
    """Every path below a folder with its content, kind, mode and time."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(folder))] = status.st_mode, status.st_mtime_ns, content
    return found


def replaced(path, home):
    """Put a link into the home folder in the place of a file or a folder."""
    target = home if path.is_dir() else home / ".profile"
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    path.symlink_to(target)


def refused(code, errors, *words):
    assert code in (2, 3, 4) and len(errors.strip().splitlines()) <= 2 and "Traceback" not in errors, errors
    assert all(word in errors for word in words), errors


@pytest.mark.parametrize("name", [*FILES, *FOLDERS, "checkpoints/.step-9.pt.1", "notes.txt", "test"])
def test_a_run_with_a_link_is_neither_resumed_nor_evaluated(name, unfinished, canary, tmp_path):
    replaced(unfinished / name, canary)
    inside = snapshot(unfinished)
    for words in (
        (f"resume={unfinished}",),
        (f"resume={unfinished}", "epochs=+1"),
        ("task=evaluate", f"runs=[{unfinished}]"),
    ):
        code, _, errors = command(tmp_path, *words)
        refused(code, errors, name, "is a link")
        assert snapshot(unfinished) == inside


def test_a_run_that_is_a_link_is_refused_with_the_folder_to_name(unfinished, tmp_path):
    (tmp_path / "link").symlink_to(unfinished)
    for words in (("resume=link",), ("task=evaluate", "runs=[link]")):
        code, _, errors = command(tmp_path, *words)
        refused(code, errors, "link", f"is a link; name what it points to, {unfinished}")
    code, _, errors = command(tmp_path, f"resume={unfinished}")
    assert code == 0, errors


def test_a_file_with_a_second_name_is_refused_until_it_is_copied(unfinished, tmp_path):
    os.link(unfinished / "run.log", tmp_path / "elsewhere")
    before = (tmp_path / "elsewhere").read_bytes()
    code, _, errors = command(tmp_path, f"resume={unfinished}")
    refused(code, errors, "its run.log is a hard link", "cp -r")
    assert (tmp_path / "elsewhere").read_bytes() == before
    shutil.copytree(unfinished, tmp_path / "copy")
    code, _, errors = command(tmp_path, "resume=copy")
    assert code == 0 and (tmp_path / "elsewhere").read_bytes() == before, errors


@pytest.mark.parametrize("name", ["run.log", "metrics.jsonl", "config.yaml", "overrides.txt", "checkpoints/best"])
@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_pipes_and_sockets_are_refused_and_not_waited_for(kind, name, unfinished, tmp_path):
    (unfinished / name).unlink()
    if kind == "pipe":
        os.mkfifo(unfinished / name)
    else:
        with socket.socket(socket.AF_UNIX) as server:
            os.chdir((unfinished / name).parent)  # a socket's path is short
            server.bind(Path(name).name)
    for words in ((f"resume={unfinished}",), ("task=evaluate", f"runs=[{unfinished}]")):
        code, _, errors = command(tmp_path, *words)
        refused(code, errors, name)
    code, _, errors = command(tmp_path, "task=compare", f"runs=[{unfinished}]", "output=compared")
    assert "Traceback" not in errors


@pytest.mark.parametrize("name", ["outputs", "outputs/{date}", "outputs/sweeps"])
def test_a_link_on_the_way_to_a_new_run_is_refused(name, canary, tmp_path):
    place = tmp_path / "here" / name.format(date=f"{datetime.now():%Y-%m-%d}")
    place.parent.mkdir(parents=True)
    place.symlink_to(canary)
    sweep = ("-m", *SHORT, "seed=0,1")
    for words in (SMALL, sweep) if "sweeps" not in name else (sweep,):
        code, _, errors = command(tmp_path / "here", *words)
        if "{date}" in name and words is sweep:
            continue  # whose folder is another
        refused(code, errors, "is a link; name what it points to")
    code, _, errors = command(tmp_path / "here", *SMALL, "output=mine")
    assert code == 0, errors


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    code, _, errors = command(folder, "-m", *SHORT, "seed=0,1", "hydra.sweep.dir=s")
    assert code == 0, errors
    return folder / "s"


@pytest.mark.parametrize(
    "name", ["seed-0", "seed-1/run.log", "seed-1/checkpoints", "ranking.csv", ".stop", "study.db", ".lock", "MEAN of x"]
)
def test_a_sweep_with_a_link_is_not_resumed(name, swept, canary, tmp_path):
    shutil.copytree(swept, tmp_path / "s")
    (tmp_path / "s" / "seed-1" / "summary.json").unlink()
    replaced(tmp_path / "s" / name, canary)
    inside = snapshot(tmp_path / "s")
    code, _, errors = command(tmp_path, "-m", *SHORT, "seed=0,1", "hydra.sweep.dir=s")
    refused(code, errors, "hydra.sweep.dir=", f"its {name} is a link")
    assert snapshot(tmp_path / "s") == inside


def test_a_link_below_a_folder_of_runs_is_not_followed_to_other_runs(unfinished, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "link").symlink_to(unfinished)
    code, _, errors = command(tmp_path, "task=compare", "runs=[runs]")
    refused(code, errors, "holds no run")


def test_a_folder_in_the_place_of_a_ranking_is_named_and_loses_no_run(swept, tmp_path):
    shutil.copytree(swept, tmp_path / "s")
    (tmp_path / "s" / "ranking.md").unlink()
    (tmp_path / "s" / "ranking.md").mkdir()
    code, printed, errors = command(tmp_path, "-m", *SHORT, "seed=0,1", "hydra.sweep.dir=s")
    assert code == 0 and "the ranking could not be written" in printed and "Traceback" not in errors, errors
    assert "seed" in printed  # the table itself
