"""task=evaluate scores a run on the data that it was trained with, or on data that is typed for it."""

import shutil

import pytest
from conftest import command, only_run

from trainer.rundir import checkpoint
from trainer.rundir.reader import read_summary

ROWS = [f"{number},{number % 7},{'ab'[number % 2]}\n" for number in range(60)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on a table, of which a tenth is held out for validation and a fifth for the test."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "table.csv").write_text("".join(["x,y,label\n", *ROWS]))
    words = ("data=csv", "data.path=table.csv", "data.target=label", "model=linear", "epochs=2", "threads=1")
    code, _, errors = command(folder, *words, "device=cpu")
    assert code == 0, errors
    return folder


@pytest.fixture
def copied(trained, tmp_path):
    """A copy of the run and its table, and what evaluates the run: code, output, errors."""
    folder = tmp_path / "copied"
    shutil.copytree(trained, folder)
    return folder, lambda *words: command(folder, "task=evaluate", f"runs=[{only_run(folder)}]", "device=cpu", *words)


@pytest.mark.parametrize(
    "rows", [ROWS[:-1], [*ROWS[:-1], "59,3,a\n"], ROWS[::-1]], ids=["fewer", "a label", "an order"]
)
def test_other_samples_under_the_same_name_are_refused(rows, trained, copied, tmp_path):
    folder, evaluate = copied
    shutil.move(trained / "table.csv", tmp_path / "kept.csv")
    try:
        (folder / "table.csv").write_text("".join(["x,y,label\n", *rows]))
        code, out, errors = evaluate()
    finally:
        shutil.move(tmp_path / "kept.csv", trained / "table.csv")
    assert code == 3 and "data are not those that it was trained with: other samples or labels" in errors, out + errors
    assert "type data.root=DIR or data.path=FILE" in errors and len(errors.splitlines()) == 1


def test_other_data_that_is_typed_is_scored(copied):
    folder, evaluate = copied
    (folder / "other.csv").write_text("".join(["x,y,label\n", *(row.replace(",a", ",c") for row in ROWS)]))
    code, _, errors = evaluate("data=csv", "data.path=other.csv", "data.target=label")
    assert code in (2, 3), errors  # its target is the run's
    (folder / "other.csv").write_text("".join(["x,y,label\n", *ROWS[::-1]]))
    code, out, errors = evaluate("data=csv", "data.path=other.csv")
    assert code == 0 and "test " in out, errors


def test_a_pointer_or_a_checkpoint_that_is_damaged_is_made_up_for_or_said(copied):
    folder, evaluate = copied
    run = only_run(folder)
    score = f"test   {read_summary(run)['test']['loss']:.4f}"
    (run / "checkpoints" / "best").write_bytes(b"\xffstep-1.pt")
    code, out, errors = evaluate()
    assert code == 0 and score in out and "(best weights)" in out, errors
    newest, *older = checkpoint.newest_first(run / "checkpoints")
    digest = checkpoint.digest_path(newest)
    digest.write_bytes(b"\x80" + digest.read_bytes()[1:])
    code, out, errors = evaluate()
    if older:
        assert code == 0 and f"note: passed over: {newest}: damaged: its digest does not match" in out, errors
    else:
        assert code == 3 and "none of its checkpoints is complete" in errors
