"""Whole runs on a full disk: older checkpoints stay complete, and the run ends with the same results."""

import shutil

import pytest
import torch
from conftest import files_of_at_most, fill, only_run

from trainer.engine.last_files import LastFiles
from trainer.rundir.checkpoint import Checkpoints, is_complete
from trainer.rundir.reader import read_summary

pytest.importorskip("resource")

# (64 + 1) 430 + (430 + 1) 10 weights of 4 bytes; a checkpoint holds them, those evaluated and the momentum: 0.39 MB.
WORDS = ("model=mlp", "model.hidden=[430]", "epochs=4", "log_every=1", "threads=1", "device=cpu")
FIGURES = ("status", "weights_sha256", "test", "best")


def figures(folder):
    """The directory of the only run in a folder, its summary, and those figures of it that repeat bit for bit."""
    run = only_run(folder)
    summary = read_summary(run)
    return run, summary, {name: summary[name] for name in FIGURES}


@pytest.fixture
def undisturbed(run_in_process, tmp_path):
    """The figures of a run with all the space it needs."""
    assert run_in_process(*WORDS, "output=room/outputs")[0] == 0
    _, summary, wanted = figures(tmp_path / "room")
    assert summary["incomplete"] == []
    return wanted


def test_a_run_that_can_write_next_to_nothing_has_the_same_results(run_in_process, tmp_path):
    often = (
        *(word for word in WORDS if "epochs" not in word),
        "epochs=24",
        "eval_every=5st",
    )  # so that run.log is long
    assert run_in_process(*often, "output=room/outputs")[0] == 0
    (written,) = (tmp_path / "room").rglob("summary.json")
    assert written.stat().st_size + 500 < written.with_name("run.log").stat().st_size
    with files_of_at_most(written.stat().st_size + 200):  # config.yaml and summary.json fit
        code, out, errors = run_in_process(*often)
    assert code == 0 and "Traceback" not in errors, errors
    run, summary, found = figures(tmp_path)
    assert found == figures(tmp_path / "room")[2]
    unwritten = [
        "checkpoints",
        "metrics.jsonl",
        "TensorBoard",
        "run.log",
        "curves.png",
        "weights.safetensors",
        "report",
    ]
    assert summary["incomplete"] == unwritten
    warnings = [line for line in out.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 7 and all("(File too large)" in line for line in warnings)
    (of_checkpoint,) = (line for line in warnings if "the checkpoint of step 5 could not be written" in line)
    assert "there is none yet; training continues" in of_checkpoint
    assert list((run / "checkpoints").iterdir()) == [] and not (run / "curves.png").exists()


def test_a_run_without_space_for_a_third_checkpoint_evaluates_its_best_and_can_be_resumed(
    undisturbed, small_disk, run_in_process, tmp_path
):
    code, out, errors = run_in_process(*WORDS, f"output={small_disk}/outputs")
    assert code == 0, errors
    run, summary, found = figures(small_disk)
    assert found == undisturbed and found["best"]["step"] == 80
    assert {"checkpoints", "weights.safetensors", "report"} <= {*summary["incomplete"]}
    warning, *_ = [line for line in out.splitlines() if line.startswith("warning: ")]
    what = "the checkpoint of step 60 could not be written (No space left on device)"
    assert warning.endswith(f"{what}; the newest one is of step 40; training continues")
    assert sorted(path.name for path in (run / "checkpoints").glob("*.pt")) == ["step-20.pt", "step-40.pt"]
    assert all(map(is_complete, (run / "checkpoints").glob("*.pt"))) and not list((run / "checkpoints").glob(".*"))
    copied = shutil.copytree(run, tmp_path / "outputs" / "copied" / "run")
    (copied / "summary.json").unlink()
    code, out, errors = run_in_process(f"resume={copied}")
    assert code == 0 and "resumed after step 40 of 80" in out, errors
    _, summary, found = figures(tmp_path)
    assert found == undisturbed and summary["incomplete"] == []


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5])
def test_on_a_full_disk_the_summary_takes_the_place_of_files_that_can_be_made_again(count, small_disk):
    """A page of the disk for each file: as many are removed as the summary needs pages, in their order."""
    (small_disk / "report").mkdir()
    (small_disk / "val").mkdir()
    results = "val/events.1.results"
    files = ["report/mistakes.png", "layers.json", "run.json", "curves.png", results, "weights.safetensors"]
    for name in files:
        (small_disk / name).write_bytes(bytes(4096))
    (small_disk / "config.yaml").touch()
    ballast = fill(small_disk)
    if not count:
        shutil.rmtree(ballast)
    (ballast / "0").unlink(missing_ok=True)  # an inode for the new file
    last = LastFiles(small_disk, None, None, None, None, None)
    summary = {"status": "finished", "incomplete": [], "text": "x" * (4096 * count - 2500 if count else 0)}
    last.write_summary(summary)
    assert (
        read_summary(small_disk)["incomplete"]
        == ["report", "layers.json", "run.json", "curves.png", "TensorBoard"][:count]
    )
    assert [name for name in files if (small_disk / name).exists()] == files[count:]


def test_a_run_cannot_begin_on_a_full_disk(small_disk, run_in_process):
    (small_disk / "outputs").mkdir()
    ballast = fill(small_disk)
    for number in range(20):
        (ballast / str(number)).unlink()  # space for names, none for content
    code, _, errors = run_in_process(*WORDS, f"output={small_disk}/outputs")
    assert code == 4 and "the run cannot be written there (No space left on device); free some space" in errors
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize("words", [("task=preview",), ("-m", "seed=0,1"), ("-m", "task=preview", "seed=0,1")])
def test_no_task_begins_where_its_configuration_cannot_be_written(words, run_in_process):
    with files_of_at_most(100):
        code, _, errors = run_in_process(*words)
    assert code == 4 and "the run cannot be written there (File too large); free some space" in errors
    assert "Traceback" not in errors


def test_a_checkpoint_that_does_not_fit_leaves_the_older_ones_and_is_kept_until_there_is_space(tmp_path):
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
        assert kept.weights_of(2, device)["w"][0] == 2 and kept.newest().name == "step-1.pt"
    save(4, False)
    pointers = [(kept.folder / name).read_text() for name in ("best", "last")]
    assert not kept.failed and pointers == ["step-2.pt", "step-4.pt"]
    assert kept.weights_of(2, device)["w"][0] == 2 and all(map(is_complete, kept.folder.glob("*.pt")))


def test_best_weights_of_an_abandoned_branch_that_were_never_written_are_forgotten(tmp_path):
    kept, device = Checkpoints(tmp_path), torch.device("cpu")
    kept.save({"step": 1, "weights": {"w": torch.full((1000,), 1.0)}}, True)
    with files_of_at_most(3000), pytest.raises(OSError, match="too large"):
        kept.save({"step": 2, "weights": {"w": torch.full((1000,), 2.0)}}, True)
    assert kept.weights_of(2, device)["w"][0] == 2
    kept.rewind(1, 1, discard=True)
    assert kept.weights_of(1, device)["w"][0] == 1


def test_a_checkpoint_whose_digest_cannot_be_written_takes_no_space(tmp_path):
    kept = Checkpoints(tmp_path)
    (kept.folder / "step-1.pt.sha256").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        kept.save({"step": 1, "weights": {}})
    assert [path.name for path in kept.folder.iterdir()] == ["step-1.pt.sha256"]
