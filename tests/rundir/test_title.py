"""Titles of pictures: data, model, and what else was typed."""

import json

from trainer.rundir.title import in_lines, title_from, title_of_files

CHOICES = {"data": "digits", "model": "cnn", "optimizer": "adam"}


def test_a_title_has_data_and_model_and_what_was_typed_for_the_run():
    typed = ["model=cnn", "optimizer=adam", "task=train", "threads=1", "epochs=3", "data.root=/home/me/cats"]
    assert title_from(CHOICES, typed) == "data=digits model=cnn optimizer=adam epochs=3 data.root=cats"
    assert title_from(CHOICES, [], ("data", "act")) == "data=digits"


def test_the_title_of_a_run_comes_from_its_run_json_which_may_hold_anything(tmp_path):
    assert title_of_files(tmp_path) == ""
    for content in ([], {"choices": 3, "command": []}, {"choices": {}, "command": "x"}):
        (tmp_path / "run.json").write_text(json.dumps(content))
        assert title_of_files(tmp_path) == ""
    (tmp_path / "run.json").write_text(json.dumps({"choices": CHOICES, "command": ["seed=3"]}))
    assert title_of_files(tmp_path) == "data=digits model=cnn seed=3"


def test_a_long_title_has_three_lines():
    lines = in_lines(" ".join(f"key{number}=value" for number in range(100)), 5).split("\n")
    assert len(lines) == 3 and lines[-1].endswith("...") and max(map(len, lines)) <= 55
