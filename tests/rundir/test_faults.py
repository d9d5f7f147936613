"""Faults around a run: odd names, jumping clocks, missing rights, damaged files, several processes at once."""

import ctypes
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest
import torch
from conftest import SMALL, only_run
from hydra.core.override_parser.overrides_parser import OverridesParser
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard.summary import scalar

from trainer.base import atomic
from trainer.base.errors import ConfigError, DataError, MachineError
from trainer.cli import overrides
from trainer.config.quoting import quote, unquote
from trainer.rundir import checkpoint, event_file, reader, resume
from trainer.rundir import directory as rundir

NAMES = [
    "caf\u00e9 \u732b \U0001f600",
    "it's",
    'a"b',
    "a b",
    "a,b",
    "a=b",
    "[x]",
    "{x}",
    "a$b",
    "${x}",
    "$",
    "a%20b",
    "#a",
    "(a",
    "~a",
    "a\\",
    "a\\'b",
    "a:b",
    "*",
    "-a",
    "null",
    "1",
    "a;b",
    "&",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_comes_back_from_hydras_grammar_as_it_went_in(name, unfinished, tmp_path):
    override = OverridesParser.create().parse_override(f"key={quote(name)}")
    assert override.value().replace("\\${", "${") == name  # OmegaConf takes off the backslash before a reference
    assert unquote(name) == name and unquote(quote(name)).replace("\\${", "${") == name
    unfinished.rename(tmp_path / name)
    *_, last = resume.expand([f"resume={tmp_path / name}"])
    assert last == f"resume.run={quote(tmp_path / name)}"


def test_a_run_is_trained_resumed_evaluated_and_swept_in_a_folder_with_an_odd_name(
    run_in_process, tmp_path, monkeypatch
):
    home = tmp_path / f'{NAMES[0]} it\'s, a "b" [c] {{d}} $e %f #g \\h = i'
    home.mkdir()
    monkeypatch.setattr(monkeypatch, "chdir", lambda path: os.chdir(home))  # run_in_process goes to tmp_path
    before = Path.cwd()
    try:
        assert run_in_process(*SMALL)[0] == 0
        run = only_run(home)
        (run / "summary.json").unlink()
        code, out, errors = run_in_process(f"resume={run}")
        assert code == 0 and "resumed after step" in out, errors
        code, out, errors = run_in_process("task=evaluate", f"runs=[{quote(run)}]")
        assert code == 0 and "test" in out, errors
        code, _, errors = run_in_process(*SMALL, "-m", "seed=0,1")
        assert code == 0 and len(list((home / "outputs" / "sweeps").rglob("summary.json"))) == 2, errors
    finally:
        os.chdir(before)


def test_a_folder_of_options_may_have_an_odd_name(run_in_process, tmp_path):
    place = tmp_path / "it's, mine [1]" / "optimizer"
    place.mkdir(parents=True)
    (place / "gentle.yaml").write_text(
        "# SGD at a small rate.\n_target_: torch.optim.SGD\nlr: 0.003 # learning rate; > 0\n"
    )
    code, _, errors = run_in_process(*SMALL, "--config-dir", str(place.parent), "optimizer=gentle")
    assert code == 0, errors
    run = only_run(tmp_path)
    code, _, errors = run_in_process(f"resume={run}", "epochs=+1")
    assert code == 2 and "its optimizer=gentle is an option of your own; add --config-dir DIR" in errors
    code, _, errors = run_in_process(f"resume={run}", "epochs=+1", "--config-dir", str(place.parent))
    assert code == 0, errors


def test_the_clock_may_jump(run_in_process, tmp_path, monkeypatch):
    jumps = iter([2e9, -1e6, 0.0, 4e9, 5.0] * 100_000)
    honest_time = time.time
    monkeypatch.setattr(time, "time", lambda: max(0.0, honest_time() + next(jumps)))
    code, _, errors = run_in_process(*SMALL, "save_every=0.0001min")
    assert code == 0, errors
    summary = reader.read_summary(only_run(tmp_path))
    assert summary["status"] == "finished" and 0 < summary["seconds"] < 300


def test_event_files_are_read_in_the_order_of_their_making_whatever_the_clock_says(tmp_path, monkeypatch):
    for step, now in enumerate([2e9, 2e9, 3.0, 1.9e9, 2e9] * 4):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        events = event_file.EventFile(tmp_path, suffix=".later")  # drops nothing of the files before
        events.add(scalar("a", float(step)), step)
        events.close()
    read = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0}).Reload()
    assert [(event.step, event.value) for event in read.Scalars("a")] == [(step, step) for step in range(20)]


def test_twenty_that_start_in_the_same_second_get_twenty_folders(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier, made = context.Barrier(20), context.SimpleQueue()

    def start():
        barrier.wait(60)
        made.put(str(rundir.create(tmp_path / "outputs", ["seed=1"])))

    children = [context.Process(target=start) for _ in range(20)]
    for one in children:
        one.start()
    folders = {made.get() for _ in children}
    for one in children:
        one.join()
    assert len(folders) == 20 and len(list((tmp_path / "outputs" / f"{datetime.now():%Y-%m-%d}").iterdir())) == 20


HOLD = """
import sys
from pathlib import Path
from trainer.rundir.directory import lock

with lock(Path(sys.argv[1])):
    print("held", flush=True)
    input()
"""


def test_a_second_writer_to_a_live_run_is_refused_until_the_first_one_dies(unfinished, run_in_process):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(unfinished)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    before = {path: path.read_bytes() for path in unfinished.rglob("*") if path.is_file()}
    code, _, errors = run_in_process(f"resume={unfinished}")
    assert code == 4 and "another process is writing there" in errors and len(errors.splitlines()) == 1
    assert {path: path.read_bytes() for path in unfinished.rglob("*") if path.is_file()} == before
    holder.kill()
    holder.wait()
    assert (unfinished / ".lock").exists()  # the file remains, but no process holds it
    assert run_in_process(f"resume={unfinished}")[0] == 0


def test_the_lock_is_released_when_the_block_raises(tmp_path):
    with pytest.raises(ZeroDivisionError), rundir.lock(tmp_path):
        raise ZeroDivisionError
    with rundir.lock(tmp_path):
        pass


def stranger(folder, *words):
    """Run `train` without a home and a language, under a strict umask."""
    gone = ("HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR")
    plain = {name: value for name, value in os.environ.items() if name not in gone}
    strict = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    return subprocess.run(
        [sys.executable, "-m", "trainer", *words],
        cwd=folder,
        env={**plain, **strict},
        capture_output=True,
        text=True,
        timeout=120,
        umask=0o077,
    )


def without_rights(code, *arguments):
    """Run a program that the modes of files bind, and return the last line of its standard error."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        preexec_fn=give_up_rights,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stderr.splitlines()[-1]


def give_up_rights():
    """Drop the superuser's rights to bypass the modes of files, for good (prctl 24, capabilities 1 and 2)."""
    if os.geteuid() == 0:
        prctl = ctypes.CDLL(None).prctl
        prctl(24, 1, 0, 0, 0), prctl(24, 2, 0, 0, 0)


@pytest.fixture
def shut(tmp_path):
    """A folder without write permission, where this machine enforces it."""
    folder = tmp_path / "shut"
    folder.mkdir()
    folder.chmod(0o555)
    code = f"open({str(folder / 'x')!r}, 'w')"
    if subprocess.run([sys.executable, "-c", code], preexec_fn=give_up_rights, capture_output=True).returncode == 0:
        pytest.skip("needs a user whose writes can be denied")
    yield folder
    folder.chmod(0o755)


def test_no_home_no_language_and_a_strict_umask_are_fine(tmp_path):
    home = tmp_path / NAMES[0]
    home.mkdir()
    done = stranger(home, *SMALL)
    assert done.returncode == 0, done.stderr
    run = only_run(home)
    assert all(path.stat().st_mode & 0o077 == 0 for path in run.rglob("*")) and checkpoint.resolve_pointer(
        run / "checkpoints", "last"
    )


def test_a_folder_that_cannot_be_written_is_explained(shut):
    imports = "import sys; from pathlib import Path; from trainer.rundir.directory import create"
    error = without_rights(f"{imports}; create(Path(sys.argv[1]), [])", shut)
    assert error.startswith("trainer.base.errors.MachineError: output=")
    assert "cannot be made there (Permission denied)" in error


def test_a_run_that_cannot_be_written_is_explained(shut, unfinished):
    for path in unfinished.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    unfinished.chmod(0o555)
    error = without_rights(HOLD, unfinished)
    unfinished.chmod(0o755)
    assert error.startswith("trainer.base.errors.MachineError: ")
    assert "cannot be written to (Permission denied)" in error


@pytest.mark.parametrize("mask, mode", [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_have_the_permissions_that_the_umask_leaves(mask, mode, tmp_path):
    before = os.umask(mask)
    try:
        atomic.atomic_write(tmp_path / "a", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == mode


def test_an_atomic_write_replaces_the_file_and_does_not_overwrite_it(tmp_path):
    atomic.atomic_write(tmp_path / "a", b"old")
    os.link(tmp_path / "a", tmp_path / "same")  # a reader that has opened it keeps the old one
    atomic.atomic_write(tmp_path / "a", b"new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "new", "same": "old"}


@pytest.mark.parametrize("place", ["/proc/x", "/dev/null/x", "x" * 300, "/dev/full"])
def test_places_where_no_folder_can_be_made_are_explained(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MachineError, match="^output=.*: the folder cannot be made there"):
        rundir.create(Path(place), [])
    for key, typed in (("hydra.sweep.dir", {"sweep": Path(place)}), ("hydra.run.dir", {"exact": Path(place) / "run"})):
        with pytest.raises(MachineError, match=f"^{key}={place}.*: the folder cannot be made there.*with {key}=DIR$"):
            rundir.create(Path("outputs"), ["seed=1"], **typed)


def test_a_name_with_a_null_is_explained():
    with pytest.raises(MachineError, match="not a valid path"):
        rundir.create(Path("a\0b"), [])


DAMAGE = {
    "missing": (None, DataError, "not a run's directory"),
    "not text": (b"\xff\xfe", DataError, "not a run's directory"),
    "no overrides": (b"%%%\n", DataError, "holds a line that no run writes"),
    "cut off": (b"model.hidden=[8\n", ConfigError, "cannot be read"),
    "of another version": (b"optimiser=adam\n", ConfigError, "did you mean optimizer"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_run_with_damaged_overrides_is_not_resumed(name, unfinished):
    content, kind, message = DAMAGE[name]
    (unfinished / "overrides.txt").unlink()
    if content is not None:
        (unfinished / "overrides.txt").write_bytes(content)
    with pytest.raises(kind, match=message):
        overrides.check([f"resume={unfinished}"])


def keep_only_texts(run):
    for path in run.iterdir():
        if path.name not in ("overrides.txt", "config.yaml"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def cut_metrics(run):
    (run / "metrics.jsonl").write_bytes((run / "metrics.jsonl").read_bytes()[:-7])


def break_pointers(run):
    for name in ("best", "last"):
        (run / "checkpoints" / name).write_text("step-999.pt")


def empty_checkpoints(run):
    for path in (run / "checkpoints").glob("*.pt"):
        path.write_bytes(b"")


def leave_temporary_files(run):
    (run / "checkpoints" / ".step-4.pt.1.partial").write_bytes(b"x")
    (run / ".summary.json").write_text("{")


def remove_metrics(run):
    (run / "metrics.jsonl").unlink()


FILES = [keep_only_texts, remove_metrics, cut_metrics, break_pointers, empty_checkpoints, leave_temporary_files]


@pytest.mark.parametrize("damage", FILES)
def test_a_run_with_other_damaged_files_is_resumed_to_the_same_end(damage, unfinished, honest, run_in_process):
    damage(unfinished)
    code, _, errors = run_in_process(f"resume={unfinished}")
    assert code == 0, errors
    found, wanted = (reader.read_summary(run) for run in (unfinished, honest))
    assert found["status"] == "finished"
    assert (found["weights_sha256"], found["test"]) == (wanted["weights_sha256"], wanted["test"])
    assert not list((unfinished / "checkpoints").glob(".*"))


def test_a_pointer_that_a_dead_process_did_not_move_is_corrected(tmp_path):
    first = checkpoint.Checkpoints(tmp_path)
    for step in (1, 2):
        first.save({"step": step, "weights": {"w": torch.full((1,), float(step))}}, best=True)
    (first.folder / "best").write_text("step-1.pt")  # as it was before the last write of the process
    again = checkpoint.Checkpoints(tmp_path)
    assert again.rewind(2, best=2, discard=False)
    assert checkpoint.resolve_pointer(again.folder, "best").name == "step-2.pt"
    assert not again.rewind(9, best=9, discard=False)  # a checkpoint that is missing cannot be pointed at
    assert checkpoint.resolve_pointer(again.folder, "best").name == "step-2.pt"


def test_a_checkpoint_of_another_process_is_written_anew(tmp_path):
    kept = checkpoint.Checkpoints(tmp_path)
    kept.save({"step": 1, "weights": {"w": torch.zeros(1)}})
    again = checkpoint.Checkpoints(tmp_path)
    again.save({"step": 1, "weights": {"w": torch.ones(1)}})
    assert checkpoint.load(kept.folder / "step-1.pt", torch.device("cpu"))["weights"]["w"] == 1


@pytest.mark.parametrize("kind", ["a file", "a folder", "nothing"])
def test_other_paths_cannot_be_resumed_or_evaluated(kind, run_in_process, tmp_path):
    if kind != "nothing":
        (tmp_path / "x").touch() if kind == "a file" else (tmp_path / "x").mkdir()
    for words in (("resume=x",), ("task=evaluate", "runs=[x]")):
        code, _, errors = run_in_process(*words)
        assert code == 3 and "x" in errors and "Traceback" not in errors and len(errors.splitlines()) == 1


def test_auto_skips_folders_that_are_not_of_runs(unfinished, tmp_path):
    place = tmp_path / "outputs" / "2026-01-01"
    place.mkdir(parents=True)
    unfinished.rename(place / "good")
    for number, text in enumerate([b"\xff", b"%%%", b""]):
        (place / str(number)).mkdir()
        (place / str(number) / "overrides.txt").write_bytes(text)
    assert resume.newest_unfinished(list(SMALL), tmp_path / "outputs") == place / "good"
