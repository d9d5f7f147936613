"""Whole runs on a disk that takes no more: the older checkpoints stand, and the end is that of any other run."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from conftest import files_of_at_most, fill, only_run

from trainer.rundir.checkpoint import Checkpoints, is_complete

resource = pytest.importorskip("resource")

WHOLE = ("model=mlp", "model.hidden=[430]", "epochs=4", "log_every=1", "threads=1", "device=cpu")


def told_by(folder):
    run = only_run(folder)
    return run, json.loads((run / "summary.json").read_text())


def same_end(told, other):
    return (
        all(told[name] == other[name] for name in ("status", "weights_sha256", "test"))
        and told["best"] == other["best"]
    )


@pytest.fixture
def undisturbed(run_in_process, tmp_path):
    """The summary of a run with all the room it wants."""
    assert run_in_process(*WHOLE, "output=room/outputs")[0] == 0
    return told_by(tmp_path / "room")[1]


def test_a_run_that_can_write_next_to_nothing_ends_as_any_other(undisturbed, tmp_path):
    narrow = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2200, 2200))  # config.yaml fits
    done = subprocess.run(
        [sys.executable, "-m", "trainer", *WHOLE],
        cwd=tmp_path,
        preexec_fn=narrow,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    run, told = told_by(tmp_path)
    assert undisturbed["incomplete"] == [] and same_end(told, undisturbed)
    assert told["incomplete"] == [
        "checkpoints",
        "metrics.jsonl",
        "TensorBoard",
        "run.log",
        "curves.png",
        "weights.safetensors",
    ]
    warnings = [line for line in done.stdout.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 6 and all("(File too large)" in line for line in warnings)
    (of_checkpoint,) = (line for line in warnings if "the checkpoint of step 20 could not be written" in line)
    assert "there is none yet; training continues" in of_checkpoint
    assert list((run / "checkpoints").iterdir()) == [] and not (run / "curves.png").exists()


def test_a_run_whose_disk_has_no_room_for_a_third_checkpoint_scores_its_best_and_can_go_on(
    undisturbed, small_disk, run_in_process, tmp_path
):
    # (64 + 1) 430 + (430 + 1) 10 weights of 4 bytes, in a checkpoint as the model's, the scored ones and the momentum: 0.39 MB
    code, said, _ = run_in_process(*WHOLE, f"output={small_disk}/outputs")
    run, told = told_by(small_disk)
    assert (
        code == 0
        and same_end(told, undisturbed)
        and told["incomplete"] == ["checkpoints", "weights.safetensors"]
        and told["best"]["step"] == 80
    )
    warning, _ = [line for line in said.splitlines() if line.startswith("warning: ")]
    assert warning.endswith(
        "the checkpoint of step 60 could not be written (No space left on device); the newest one is of step 40; training continues"
    )
    assert sorted(path.name for path in (run / "checkpoints").glob("*.pt")) == ["step-20.pt", "step-40.pt"]
    assert all(map(is_complete, (run / "checkpoints").glob("*.pt"))) and not list((run / "checkpoints").glob(".*"))
    shutil.copytree(run, tmp_path / "outputs" / "copied" / "run")
    (tmp_path / "outputs" / "copied" / "run" / "summary.json").unlink()
    code, said, errors = run_in_process(f"resume={tmp_path}/outputs/copied/run")
    assert code == 0 and "resumed after step 40 of 80" in said, errors
    assert same_end(told_by(tmp_path)[1], undisturbed) and told_by(tmp_path)[1]["incomplete"] == []


def test_a_run_cannot_begin_on_a_full_disk(small_disk, run_in_process):
    (small_disk / "outputs").mkdir()
    ballast = fill(small_disk)
    for number in range(20):
        (ballast / str(number)).unlink()  # room for names, none for what the files hold
    code, _, errors = run_in_process(*WHOLE, f"output={small_disk}/outputs")
    assert (
        code == 4
        and "the run cannot be written there (No space left on device); free some space" in errors
        and len(errors.splitlines()) == 1
    )


def test_a_checkpoint_that_does_not_fit_leaves_the_older_ones_and_is_kept_until_there_is_room(tmp_path):
    kept, device = Checkpoints(tmp_path), torch.device("cpu")

    def save(step, best):
        kept.save({"step": step, "weights": {"w": torch.full((1000,), float(step))}}, best)

    save(1, True)
    before = {path.name: path.read_bytes() for path in kept.folder.iterdir()}
    with files_of_at_most(3000):
        for step, best in ((2, True), (3, False)):
            with pytest.raises(OSError, match="too large"):
                save(step, best)
        assert {path.name: path.read_bytes() for path in kept.folder.iterdir()} == before and kept.failed
        assert kept.best_weights(device)["w"][0] == 2 and kept.newest().name == "step-1.pt"
    save(4, False)
    assert not kept.failed and {name: (kept.folder / name).read_text() for name in ("best", "last")} == {
        "best": "step-2.pt",
        "last": "step-4.pt",
    }
    assert kept.best_weights(device)["w"][0] == 2 and all(map(is_complete, kept.folder.glob("*.pt")))


def test_a_checkpoint_whose_digest_cannot_be_written_takes_no_room(tmp_path):
    kept = Checkpoints(tmp_path)
    (kept.folder / "step-1.pt.sha256").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        kept.save({"step": 1, "weights": {}})
    assert [path.name for path in kept.folder.iterdir()] == ["step-1.pt.sha256"]
