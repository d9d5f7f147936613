"""task=claims: what it prints and writes, its exit codes, and that one wrong technique fails one claim."""

import json

import pytest
import torch

from trainer.claims.claims import CLAIMS
from trainer.rundir.event_file import files_in, texts_and_images
from trainer.task import claims as task

FEW = ("task=claims", "task.only=[Y12,Y10,Y19]")


def written(folder):
    (place,) = folder.glob("outputs/*/*")
    return json.loads((place / "claims.json").read_text()), (place / "claims.md").read_text(), place


def test_some_claims_are_printed_and_written_in_the_order_of_the_catalogue(run_in_process, tmp_path):
    code, out, err = run_in_process(*FEW)
    assert (code, err) == (0, "") and "3 of 3 claims hold" in out
    content, page, place = written(tmp_path)
    assert content["passed"] is True and content["failed"] == [] and content["seconds"] > 0
    assert [claim["number"] for claim in content["claims"]] == ["Y10", "Y12", "Y19"]
    adam = content["claims"][1]
    assert adam["predicted"] == "1 lr with correction, 3.162 lr without" and adam["lectures"] == "231n"
    assert adam["measured"] == "1.000 lr and 3.162 lr" and adam["holds"] is True
    for text in (adam["statement"], adam["predicted"], adam["measured"], "pass"):
        assert text in out and text in page
    assert page.count("\n| pass |") == 3 and "| claim | lecture | statement | predicted | measured |" in page
    (event,) = texts_and_images(files_in(place))
    assert b"3.162 lr" in event.summary.value[0].tensor.string_val[0]
    assert (place / "config.yaml").is_file() and not (place / "summary.json").exists()


def test_a_claim_that_fails_changes_the_exit_code_and_the_others_are_checked(run_in_process, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self, closure: closure())
    code, out, err = run_in_process(*FEW)
    assert code == 6 and "1 claim failed: Y12" in err and "2 of 3 claims hold" in out
    assert "FAIL  Y12" in out and "pass  Y19" in out
    content, page, _ = written(tmp_path)
    assert content["passed"] is False and content["failed"] == ["Y12"] and page.count("| FAIL |") == 1


def test_a_technique_that_raises_fails_its_claim_with_the_reason(run_in_process, monkeypatch):
    monkeypatch.setattr(torch.nn.Tanh, "forward", lambda self, x: x.no_such_thing())
    code, out, _ = run_in_process("task=claims", "task.only=[Y19,Y12]")
    assert code == 6 and "no_such_thing" in out and "FAIL  Y19" in out and "pass  Y12" in out


def test_the_real_run_behind_y22_leaves_nothing_in_the_folder(run_in_process, tmp_path):
    code, out, err = run_in_process("task=claims", "task.only=[Y22]")
    assert (code, err) == (0, "") and out.count("saved ") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outputs"]
    assert len([*tmp_path.glob("outputs/*/*")]) == 1


MISTAKES = {
    "task.only=[Y23]": "Y23",
    "task.only=[adam]": "task.only",
    "task.onli=[Y1]": "task.only",
    "optimizer=adam": "optimizer: task=claims checks its own settings",
    "seed=1": "seed: task=claims",
}


@pytest.mark.parametrize("word", MISTAKES)
def test_a_mistake_is_answered_and_leaves_no_folder(word, run_in_process, tmp_path):
    code, out, err = run_in_process("task=claims", word)
    assert code == 2 and MISTAKES[word] in err
    assert not out and [*tmp_path.iterdir()] == []


def test_lines_fit_a_terminal_of_80_columns():
    results = [(claim, task.Finding(predicted="x " * 60, measured="y " * 60, holds=True)) for claim in CLAIMS]
    lines = [line.plain for line in task.lines_of(results, 80)]
    assert max(map(len, lines)) <= 80 and len(lines) > 5 * len(CLAIMS)
