"""docs/coverage.md: all rows of the lectures' catalogue, with commands that are valid and tests that exist."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "coverage.py"
spec = importlib.util.spec_from_file_location("catalogue_coverage", SCRIPT)
coverage = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(coverage)
ROWS = coverage.rows()
SECTIONS = list(coverage.COUNTS)


def test_the_page_is_current():
    assert coverage.PAGE.read_text() == coverage.page(ROWS), "run python scripts/coverage.py"


def test_the_page_has_all_250_rows():
    assert [*coverage.missing_rows(ROWS)] == []
    assert sum(row.section != coverage.UNNUMBERED for row in ROWS) == 250
    assert "**250 of 250 rows** are reached" in coverage.PAGE.read_text()


def test_all_tests_of_the_page_exist():
    assert [line for row in ROWS for line in coverage.missing_tests(row)] == []


@pytest.mark.parametrize("section", SECTIONS)
def test_the_command_line_takes_the_words(section):
    with coverage.workplace() as run:
        assert [line for row in ROWS if row.section == section for line in coverage.refused(row, run)] == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"words": "optimizer=adan"}, "D1: train optimizer=adan: optimizer=adan: optimizer has no option adan"),
        ({"words": "-m norm=none,bach"}, "D1: train -m norm=none,bach: "),
        ({"words": "preprocess.degree=-1 preprocess=polynomial"}, "preprocess.degree=-1"),
        ({"words": "--help optimiser"}, "D1: train --help optimiser: "),
        ({"tests": []}, "D1: no test"),
        ({"tests": ["tests/test_act.py::test_nothing"]}, "D1: tests/test_act.py::test_nothing: no such test"),
        ({"tests": ["tests/test_loss.py::test_hinge_by_hand[a case]"]}, "[a case]: no such test"),
        ({"tests": ["tests/test_nothing.py::test_a"]}, "no such file"),
        ({"number": "D2"}, "data and preprocess: the rows are D2, D2, D3"),
        ({"section": "others"}, "D1: no such section, others"),
    ],
)
def test_a_fault_of_a_row_is_told(changes, said):
    row = replace(ROWS[0], **changes)
    with coverage.workplace() as run:
        told = [*coverage.missing_rows([row, *ROWS[1:]]), *coverage.missing_tests(row), *coverage.refused(row, run)]
    assert said in "\n".join(told)


def test_a_row_that_is_there_twice_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(coverage, "ROWS", tmp_path / "rows.yaml")
    coverage.ROWS.write_text("act:\n  A1: {what: a, words: a, tests: []}\n  A1: {what: b, words: b, tests: []}\n")
    with pytest.raises(coverage.yaml.YAMLError, match="A1 is there twice"):
        coverage.rows()
