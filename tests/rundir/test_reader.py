"""The reader of a run's files: what is valid, and what missing, cut and foreign files read as."""

import json

import pytest

from trainer.base.errors import DataError
from trainer.rundir import reader
from trainer.rundir.row import line_of, row_in
from trainer.rundir.status import COMPLETE, Status


def summarized(directory, **summary):
    (directory / "summary.json").write_text(json.dumps(summary))
    return directory


@pytest.mark.parametrize("status", Status)
def test_only_a_finished_and_a_stopped_run_are_complete(status, tmp_path):
    summarized(tmp_path, status=status, steps=3, best=None)
    assert reader.read_status(tmp_path) is status
    assert (reader.completed_summary(tmp_path) is not None) == (status in ("finished", "stopped"))


@pytest.mark.parametrize("figures", [{}, {"steps": "3", "best": None}, {"steps": 3, "best": [1]}], ids=str)
def test_a_summary_without_valid_figures_is_not_that_of_a_complete_run(figures, tmp_path):
    assert reader.completed_summary(summarized(tmp_path, status="finished", **figures)) is None


FOREIGN = '{"status": ["finished"], "steps": 3, "best": null}'


@pytest.mark.parametrize("text", ["{", "[]", "3", '"x"', "{}", FOREIGN, "[" * 100_000, "\0", None])
def test_a_summary_that_cannot_be_read_is_that_of_an_unfinished_run(text, tmp_path):
    if text is not None:
        (tmp_path / "summary.json").write_text(text)
    assert reader.read_status(tmp_path) is None and reader.completed_summary(tmp_path) is None
    assert reader.describe_end(reader.read_summary(tmp_path)) == (
        "['finished'] after 3 steps" * (text == FOREIGN) or "unfinished"
    )


@pytest.mark.parametrize(
    ("summary", "end"),
    [
        *(({"status": status, "steps": 12}, "") for status in COMPLETE),
        ({"status": "interrupted", "steps": 12}, "interrupted after 12 steps"),
        ({"status": "diverged", "steps": 20, "diverged_in": 12}, "diverged at step 12"),
        ({"status": "failed"}, "failed"),
        ({}, "unfinished"),
    ],
)
def test_the_end_of_an_incomplete_run_is_described(summary, end):
    assert reader.describe_end(summary) == end


@pytest.mark.parametrize(
    ("monitor", "best", "score"),
    [
        ("auto", {"loss": 0.5, "accuracy": 0.9}, 0.9),
        ("auto", {"loss": 0.5, "r2": 0.8}, 0.8),
        ("loss", {"loss": 0.5, "accuracy": 0.9}, 0.5),
        ("auto", None, None),
    ],
)
def test_the_best_score_is_that_of_the_monitor(monitor, best, score):
    assert reader.best_score({"best": best}, monitor) == score


def test_rows_are_those_of_the_splits_without_cut_and_foreign_lines(tmp_path):
    assert list(reader.read_rows(tmp_path)) == []
    splits = ((1, "train"), (2, "val"), (3, "test"))
    rows = [{"step": step, "epoch": 0.5, "split": split, "loss": 1.0, "lr": None} for step, split in splits]
    foreign = [
        {"note": "val", "split": "train"},
        *({key: value for key, value in rows[1].items() if key != lost} for lost in ("step", "epoch", "split", "loss")),
        *({**rows[1], key: value} for key in ("step", "epoch", "loss", "lr") for value in ("1", [1], {}, True, 1e999)),
        *(
            {**rows[1], key: value}
            for key, value in (("step", 1.5), ("split", "other"), ("split", 3), ("loss", 10**400))
        ),
    ]
    lines = [*map(json.dumps, [*rows, *foreign]), "[1]", "3", "[" * 100_000, '"val"', '{"st']
    (tmp_path / "metrics.jsonl").write_bytes("\n".join(lines).encode() + b"\xff")
    assert list(reader.read_rows(tmp_path, "val", "test")) == rows[1:]
    assert list(reader.read_rows(tmp_path)) == rows


@pytest.mark.parametrize("bit", range(8))
def test_no_changed_bit_of_a_line_gives_another_row(bit, tmp_path):
    row = {"step": 12, "epoch": 0.5, "split": "val", "lr": None, "loss": 2.0, "accuracy": 0.25}
    line = line_of(row)
    assert row_in(line.decode()) == row
    for place in range(len(line)):
        changed = bytearray(line)
        changed[place] ^= 1 << bit
        (tmp_path / "metrics.jsonl").write_bytes(changed)
        assert [*reader.read_rows(tmp_path)] in ([], [row])  # the line break, or a space


def test_damaged_rows_are_counted_but_for_an_incomplete_last_line(tmp_path):
    rows = [{"step": step, "epoch": 0.5, "split": "val", "loss": 1.0} for step in range(4)]
    lines = [*map(line_of, rows)]
    lines[1] = lines[1].replace(b'"loss": 1', b'"loss": 3')
    (tmp_path / "metrics.jsonl").write_bytes(b"".join(lines) + lines[0][:20])
    assert [*reader.read_rows(tmp_path)] == [rows[0], *rows[2:]] and reader.damaged_rows(tmp_path) == 1
    assert reader.damaged_rows(tmp_path / "none") == 0


CONFIGS = {
    "missing": None,
    "empty": "",
    "cut off": "epochs: 2\nmodel: {_targ",
    "of something else": "epochs: 2\n",
    "without epochs": "data: {}\n",
    "a word for epochs": "epochs: two\n",
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_damaged_configuration_is_refused(name, unfinished):
    reader.read_config(unfinished)
    (unfinished / "config.yaml").unlink()
    if CONFIGS[name] is not None:
        (unfinished / "config.yaml").write_text(CONFIGS[name])
    with pytest.raises(DataError, match="cannot be read|not that of a run"):
        reader.read_config(unfinished)


def test_the_folder_of_a_sweep_and_a_mistyped_directory_are_answered_with_what_to_type(tmp_path):
    sweep = tmp_path / "2026"
    for name in ("12-00-00-a", "12-30-00-b"):
        (sweep / name).mkdir(parents=True)
        (sweep / name / "overrides.txt").touch()
    summarized(sweep / "12-00-00-a", status="finished", steps=3, best=None)
    one = f"resume one run with resume={sweep}/12-30-00-b, or "
    again = f"repeat the sweep's command with hydra.sweep.dir={sweep} to continue all 2"
    with pytest.raises(DataError, match=f"the folder of a sweep; {one}{again}$"):
        reader.read_overrides(sweep)
    summarized(sweep / "12-30-00-b", status="stopped", steps=3, best=None)
    with pytest.raises(DataError, match=f"the folder of a sweep; {again}$"):
        reader.read_overrides(sweep)
    with pytest.raises(DataError, match=f"not a run's directory.*; did you mean {sweep}/12-00-00-a"):
        reader.read_overrides(sweep / "12-00-00")
