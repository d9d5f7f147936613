"""Lines that are broken for a terminal."""

import re
import shlex

import pytest

from trainer.base.text import as_command, columns, rounded_up, significant, wrap

EVALUATION = "epoch 30/30  train loss 0.0123  accuracy 0.9987  val loss 0.0456  accuracy 0.9833  lr 0.000123"
SENTENCE = "note: val accuracy 0.1000 is no better than always the same class (0.1000): it has learnt nothing; try more"
ADVICE = "train: interrupted after 20 steps; resume it with: train 'resume=outputs/a b/01-28-47-epochs-3' allow=[mine]"
LIST = "  model.channels=[32,64,128,256,512,1024,2048,4096,8192,16384]"


@pytest.mark.parametrize("width", [24, 40, 60, 80, 100, 200])
@pytest.mark.parametrize("line", [EVALUATION, SENTENCE, ADVICE, LIST])
def test_a_line_is_broken_between_words_and_holds_the_same_ones(line, width):
    lines = wrap(line, width).split("\n")
    glue = "" if line is LIST else " "
    assert glue.join(part.strip() for part in lines).split() == line.split()
    for part in lines:
        assert len(part) <= width or part.strip().startswith("train 'resume="), part


def test_fields_stay_whole_where_they_fit():
    assert wrap(EVALUATION, 60, hang=13).split("\n") == [
        "epoch 30/30  train loss 0.0123  accuracy 0.9987",
        "             val loss 0.0456  accuracy 0.9833  lr 0.000123",
    ]
    assert wrap("a: 1  b: 2", 10) == "a: 1  b: 2"


def test_a_command_to_paste_is_never_broken():
    lines = wrap(ADVICE, 40).split("\n")
    assert shlex.split(lines[-1]) == ["train", "resume=outputs/a b/01-28-47-epochs-3", "allow=[mine]"]


@pytest.mark.parametrize("path", ["a b", "it's", "(x)", "a;b", "$HOME", "a\\b", "*", "a&b", '"a"', "plain", "datos-é"])
def test_a_command_is_read_by_a_shell_as_it_was_meant(path):
    command = as_command("train", f"resume={path}")
    assert shlex.split(command) == ["train", f"resume={path}"]
    assert wrap(f"{'x ' * 15}with: {command}", 40).split("\n")[-1].strip() == command


def test_wide_letters_take_two_columns():
    line = "classes:" + " 数据集" * 10
    assert columns("数据集") == 6 and columns("e\u0301") == 1
    assert all(columns(part) <= 40 for part in wrap(line, 40).split("\n"))
    assert re.sub(r"\s+", " ", wrap(line, 40)) == line


@pytest.mark.parametrize(
    "value, shown",
    [(1128203.4, "1128203"), (41105.2, "41105"), (1.23456, "1.235"), (-0.00001234, "-1.234e-05"), (1.5e12, "1.5e+12")],
)
def test_large_numbers_keep_all_digits_before_the_point(value, shown):
    assert significant(value, 4) == shown


@pytest.mark.parametrize(
    ("fraction", "text"), [(0.139, "0.2"), (0.2, "0.2"), (0.0487, "0.05"), (0.001, "0.001"), (0.95, "0.9")]
)
def test_a_fraction_is_rounded_up_to_one_digit(fraction, text):
    assert rounded_up(fraction) == text
