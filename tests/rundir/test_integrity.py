"""Damage to a run that has ended: found by the digests in its summary, and made again from its last checkpoint."""

import json
import shutil
import subprocess
import sys

import pytest
from conftest import SMALL, command, only_run
from sweeping import SHORT, results, sweep_in

from trainer.rundir import integrity, reader

MADE = ("metrics.jsonl", "weights.safetensors", "curves.png")


def event_file(run, split):
    return next(path for path in sorted((run / split).iterdir()) if not path.name.endswith(".results"))


def rows_of(run):
    hidden = ("seconds", "time", "throughput")
    return [{key: value for key, value in row.items() if key not in hidden} for row in reader.read_rows(run)]


def flip(path, place=None):
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if place is None else place] ^= 0x80
    path.write_bytes(content)


@pytest.fixture
def run(honest, tmp_path):
    shutil.copytree(honest, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("name", ["weights.safetensors", "curves.png", "train", "val"])
@pytest.mark.parametrize("how", ["deleted", "flipped"])
def test_a_damaged_file_of_a_finished_run_is_made_again(name, how, run, honest, tmp_path):
    path = event_file(run, name) if name in ("train", "val") else run / name
    path.unlink() if how == "deleted" else flip(path)
    code, printed, errors = command(tmp_path, "resume=run")
    assert code == 0 and "damaged, and made again" in printed and path.name in printed.replace("\n", ""), (
        errors + printed
    )
    assert (run / "weights.safetensors").read_bytes() == (honest / "weights.safetensors").read_bytes()
    assert rows_of(run) == rows_of(honest)
    assert integrity.is_whole_picture(run / "curves.png")
    code, printed, _ = command(tmp_path, "resume=run")
    assert code == 0 and "nothing to do" in printed and "damaged" not in printed


def test_a_changed_summary_is_written_anew_and_told_by_a_comparison(run, honest, tmp_path):
    summary = reader.read_summary(run)
    summary["test"]["accuracy"] = 1.0
    (run / "summary.json").write_text(json.dumps(summary))
    code, printed, errors = command(tmp_path, "task=compare", "runs=[run]", "output=compared")
    assert code == 0 and "its summary.json was changed since it was written" in " ".join(printed.split()), errors
    code, printed, _ = command(tmp_path, "resume=run")
    assert code == 0 and "summary.json is damaged, and made again" in printed
    assert reader.read_summary(run)["test"] == reader.read_summary(honest)["test"]


def test_a_changed_digit_of_an_unfinished_run_is_left_out_and_told_by_a_comparison(run, tmp_path):
    (run / "summary.json").unlink()
    path = run / "metrics.jsonl"
    rows, content = [*reader.read_rows(run)], path.read_bytes()
    path.write_bytes(content.replace(b'"accuracy": 0.', b'"accuracy": 0.9', 1))
    assert len([*reader.read_rows(run)]) == len(rows) - 1
    code, printed, errors = command(tmp_path, "task=compare", "runs=[run]", "output=compared")
    assert code == 0 and "1 line of its metrics.jsonl damaged, and left out" in " ".join(printed.split()), errors
    path.write_bytes(content)
    _, printed, _ = command(tmp_path, "task=compare", "runs=[run]", "output=compared")
    assert "damaged" not in printed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text[: len(text) // 2], "its config.yaml is damaged or missing: it lacks settings"),
        (lambda text: text.replace("lr: 0.", "lr: 0.9"), "its config.yaml was changed since it was written"),
        (lambda text: "", "its config.yaml is damaged or missing: it lacks settings"),
    ],
    ids=["cut", "a digit", "empty"],
)
def test_a_changed_configuration_is_told_by_a_comparison(change, said, run, tmp_path):
    path = run / "config.yaml"
    text = path.read_text()
    _, printed, _ = command(tmp_path, "task=compare", "runs=[run]", "output=compared")
    assert "config.yaml" not in printed
    path.write_text(change(text))
    assert path.read_text() != text
    code, printed, errors = command(tmp_path, "task=compare", "runs=[run]", "output=compared")
    assert code == 0 and said in " ".join(printed.split()), errors


def test_a_cut_metrics_file_of_a_finished_run_is_told_by_a_comparison(run, tmp_path):
    path = run / "metrics.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    code, printed, errors = command(tmp_path, "task=compare", "runs=[run]", "output=compared")
    assert code == 0 and "its metrics.jsonl was changed since it was written" in " ".join(printed.split()), errors


@pytest.mark.parametrize("kept", [1, -2])
def test_no_earlier_point_stands_for_the_last_one_that_a_cut_metrics_file_has_lost(kept, run, honest, tmp_path):
    path, final = run / "metrics.jsonl", reader.read_summary(honest)["final"]
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:kept]))
    code, printed, errors = command(tmp_path, "resume=run")
    assert code == 0 and "metrics.jsonl was damaged" in " ".join((printed + errors).split())
    made = reader.read_summary(run)["final"]
    assert all(made[split] in (None, final[split]) for split in final) and made["val"] is None


def test_a_run_without_its_last_checkpoint_is_not_trained_anew(run, tmp_path):
    shutil.rmtree(run / "checkpoints")
    (run / "weights.safetensors").unlink()
    before = (run / "metrics.jsonl").read_bytes()
    code, printed, _ = command(tmp_path, "resume=run")
    assert code == 0 and "weights.safetensors cannot be made again without" in printed and "nothing to do" in printed
    assert (run / "metrics.jsonl").read_bytes() == before


def test_a_run_of_an_older_version_has_no_digests(run, tmp_path):
    summary = reader.read_summary(run)
    del summary["sha256"], summary["files"]
    (run / "summary.json").write_text(json.dumps(summary))
    code, printed, _ = command(tmp_path, "resume=run")
    assert code == 0 and "nothing to do" in printed and "damaged" not in printed


def test_a_forged_summary_names_no_file_outside_of_its_run(run, tmp_path):
    summary = reader.read_summary(run)
    (tmp_path / "mine").write_text("mine")
    summary["files"] = {"../mine": "", str(tmp_path / "mine"): "", "train/../../mine": ""}
    assert [*integrity.damaged_files(run, integrity.with_digest(summary))] == []


def test_incomplete_curves_are_told_by_a_comparison(run, tmp_path):
    summary = {**reader.read_summary(run), "incomplete": ["metrics.jsonl"]}
    (run / "summary.json").write_text(json.dumps(integrity.with_digest(summary)))
    _, printed, _ = command(tmp_path, "task=compare", "runs=[run]", "output=compared")
    assert "note: incomplete: metrics.jsonl" in printed


@pytest.mark.parametrize("name", ["weights.safetensors", "curves.png", "train"])
def test_a_damaged_job_of_a_finished_sweep_is_made_again(name, tmp_path):
    sweep, _, _ = sweep_in(tmp_path, *SHORT, "seed=0,1")
    before, weights = results(sweep), (sweep / "seed-1" / "weights.safetensors").read_bytes()
    kept = (sweep / "seed-0" / "summary.json").read_bytes()
    path = event_file(sweep / "seed-1", name) if name == "train" else sweep / "seed-1" / name
    flip(path)
    sweep_in(tmp_path, *SHORT, "seed=0,1")
    assert results(sweep) == before and (sweep / "seed-1" / "weights.safetensors").read_bytes() == weights
    assert integrity.is_whole_picture(sweep / "seed-1" / "curves.png")
    assert (sweep / "seed-0" / "summary.json").read_bytes() == kept
    _, printed, _ = sweep_in(tmp_path, *SHORT, "seed=0,1")
    assert "2 of them ended before" in printed


@pytest.mark.parametrize("gone", ["step-*.pt", "step-*.pt.sha256"])
def test_an_evaluation_says_that_the_newest_checkpoint_is_missing(gone, tmp_path):
    code, _, errors = command(tmp_path, *SMALL, "save_every=1st", "eval_every=1ep", "epochs=3")
    assert code == 0, errors
    run = only_run(tmp_path)
    newest = max((run / "checkpoints").glob(gone), key=lambda path: int(path.name.split(".")[0].split("-")[1]))
    newest.unlink()
    code, printed, errors = command(tmp_path, "task=evaluate", f"runs=[{run}]")
    said = " ".join((printed + errors).split())
    assert "passed over: " in said and ("missing" in said or "incomplete" in said), said


def test_a_picture_is_whole_or_not(honest, tmp_path):
    content = (honest / "curves.png").read_bytes()
    path = tmp_path / "x.png"
    for changed in (content[:-1], content[:100], b"", b"x" * 100, content[:50] + b"\xff" + content[51:]):
        path.write_bytes(changed)
        assert not integrity.is_whole_picture(path)
    path.write_bytes(content)
    assert integrity.is_whole_picture(path)


HOLD = """
import sys, time
from pathlib import Path
from trainer.rundir import directory
with directory.lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_run_stays_locked_when_its_lock_is_deleted(run, tmp_path):
    (run / "summary.json").unlink()
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(run)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        (run / ".lock").unlink()
        code, _, errors = command(tmp_path, "resume=run")
        assert code == 4 and "another process is writing there" in errors
        (run / ".lock").unlink(missing_ok=True)
        _, printed, _ = command(tmp_path, "task=compare", "runs=[run]", "output=compared")
        assert "running" in printed
    finally:
        holder.communicate()
    code, _, errors = command(tmp_path, "resume=run")
    assert code == 0, errors
