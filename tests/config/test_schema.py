"""The grammar of a rule, and the answers that a rule gives."""

import math

import pytest

from trainer.base.errors import ConfigError
from trainer.cli import overrides
from trainer.config.rule import parse_rule
from trainer.config.schema import Key

ACCEPTED = {  # a rule: values that it accepts, values that it refuses
    "> 0": ([1e-300, 1, 2.5], [0, 0.0, -1, "1", None, True, math.nan, math.inf, [1]]),
    "in [0, 1)": ([0, 0.0, 0.999], [1, 1.0, -1e-9, math.nan]),
    "in (-1e9, 1e9)": ([-999999999, 0.5], [-1e9, 1e9]),
    "<= 3": ([3, -7.5], [3.1]),
    "number": ([-1e300, 0], [math.inf, -math.inf, math.nan, 10**400, "0", False]),
    "whole number >= 1": ([1, 10**9], [0, 1.0, 1.5, True, "1", 10**400]),
    "whole number": ([-5, 0], [0.0, None]),
    "one of adam, sgd": (["adam", "sgd"], ["Adam", "adam, sgd", "one", "of", None, 1, ["adam"]]),
    "one of 11, 13": ([11, 13], [12, 11.0, "11", True]),
    "one of 0, 1": ([0, 1], [False, True, 0.0]),
    "one of a, b, or > 0": (["a", "b", 0.5], [0, "c", "or"]),
    "one of auto, cpu, cuda, mps, or cuda:N": (["cuda", "cuda:0", "cuda:12"], ["cuda:", "cuda:N", "cpu:0", "cuda:1 "]),
    "whole number >= 1, or auto": ([1, "auto"], [0, "Auto", 1.5, "whole", "number"]),
    "whole number >= 1 or number in (0, 1), or all": (
        [1, 7, 0.5, "all"],
        [0, -0.5, 0.0, 1.0, 2.5, "1", True, math.nan],
    ),
    "text or whole number": (["", "a", 3, -1], [0.5, None, True]),
    "null or > 0": ([None, 1], [0, "null"]),
    "strong_wolfe or null": (["strong_wolfe", None], ["wolfe", 0]),
    "text or null": (["", "any thing; at all", None], [1, True, ["a"]]),
    "true or false": ([True, False], [0, 1, "true", None, [True]]),
    "a length (2ep, 500st, 5%)": (["2ep", "0.5ep", "1st", "100%"], ["2", 2, "0st", "-1ep", "2 ep", "length", "10min"]),
    "a length or minutes (1ep, 10min)": (["3ep", "10min", "0.5min"], ["0min", "min", "minutes", "-1min", "10 min", 10]),
    "list of whole numbers >= 1": ([[], [1], [3, 2]], [[0], [1.5], ["one"], [True], [[1]], 1, None, (1,)]),
    "list of 2 numbers in [0, 1)": ([[0, 0.5]], [[0.5], [0, 0, 0], [], [0, 1], [0, math.nan], 0.5]),
    "list of any of a, b": ([[], ["a"], ["b", "b"]], [["c"], "a", [["a"]]]),
    "list of lengths (5ep)": ([["5ep", "1st"]], [["5"], "5ep"]),
    "list of text": ([["x"]], ["x", [1]]),
}
NO_RULES = [
    "", "see the paper", "of this or that", "this or that", "must be > 0", "> 0 for all", "0 for none", "> 0 (paper)",
    ">0", "> -", "in [0,1)", "in [a, b)", "a whole number, >= 1", "whole numbers", "one of", "one of a, b c",
    "one of a; b", "a length of the run", "a length or two", "length", "minutes or hours", "a length (5)",
    "list of > 0", "list of 2", "list of whole number", "list of one of a, b", "> 0 or > 1", "null or null",
    "number or whole number", "whole number or number", "or null", "null or", "true", "true or false or null",
    "Polyak, 1964", "1e-3",
]  # fmt: skip


@pytest.mark.parametrize("source", ACCEPTED)
def test_a_rule_accepts_its_values_and_no_others(source):
    rule = parse_rule(source)
    good, bad = ACCEPTED[source]
    assert [value for value in good if rule.violation(value) is not None] == []
    assert [value for value in bad if rule.violation(value) is None] == []


@pytest.mark.parametrize("text", NO_RULES)
def test_other_text_is_no_rule(text):
    with pytest.raises(ValueError):
        parse_rule(text)
    key = Key("reg.mine.strength", "any", f"strength; {text}")
    assert key.rule is None and key.meaning == key.comment and key.violation(text) is None


@pytest.mark.parametrize(
    "source, value, answer",
    [
        ("> 0", -1, "must be > 0"),
        ("> 0", "much", "must be a number > 0"),
        ("> 0", math.nan, "must be a number > 0"),
        ("> 0, or act", 0, "must be > 0, or act"),
        ("> 0, or act", "relu", "must be a number > 0, or act"),
        ("null or in [0, 1)", 1, "must be null or in [0, 1)"),
        ("number", math.inf, "must be a number"),
        ("whole number >= 1, or full", 0, "must be a whole number >= 1, or full"),
        ("whole number >= 1 or in (0, 1)", 2.5, "must be a whole number >= 1 or in (0, 1)"),
        ("whole number >= 1 or number in (0, 1)", 2.5, "must be a whole number >= 1 or a number in (0, 1)"),
        ("whole number in [2, 10]", 11, "must be a whole number in [2, 10]"),
        ("one of auto, cpu, cuda, mps, or cuda:N", "gpu", "must be one of auto, cpu, cuda, mps, or cuda:N"),
        ("a length (2ep, 5%)", 5, "must be a length (2ep, 5%)"),
        ("list of 2 numbers in [0, 1)", [0.9], "must be a list of 2 numbers in [0, 1)"),
        ("list of any of a, b", ["c"], "must be a list of any of a, b"),
        ("true or false", 1, "must be true or false"),
    ],
)
def test_a_violation_says_the_rule(source, value, answer):
    assert parse_rule(source).violation(value) == answer


def test_the_rule_is_the_text_behind_the_last_semicolon():
    key = Key("a.b", 1.0, "bound; or one of x, y; > 0")
    assert (key.rule.source, key.meaning) == ("> 0", "bound; or one of x, y")
    assert key.violation("x") == "must be a number > 0"
    assert Key("a.b", 1.0, "> 0").rule is None  # without a semicolon it is the meaning


def test_a_key_without_a_rule_takes_any_value_of_its_defaults_type():
    for default, good, bad, answer in (
        (True, [False], [0, "true", None], "must be true or false"),
        (1, [-3], [1.5, True, "1", None], "must be a whole number"),
        (1.5, [1, -0.5], [math.nan, "1", True], "must be a number"),
        ("x", ["", "y z"], [None, True, ["x"]], "must be text"),
    ):
        key = Key("a.b", default, "of any kind")
        assert [key.violation(value) for value in good] == [None] * len(good)
        assert [key.violation(value) for value in bad] == [answer] * len(bad)
    assert Key("a.b", None, "").violation("anything") is None and Key("a.b", [], "").violation([1, "a"]) is None


def test_an_answer_says_what_to_type_for_a_list_and_for_text_in_digits():
    assert Key("runs", [], "; list of text").violation("DIR") == "must be a list; write runs=[DIR]"
    assert Key("output", "outputs", "folder").violation(2026) == "must be text; write output=\"'2026'\""


def test_a_percentage_is_answered_with_the_fraction_where_that_keeps_the_rule():
    assert Key("a.b", 0.1, "; in [0, 1)").violation("12.5%") == "must be a number in [0, 1); write a.b=0.125"
    assert Key("a.b", 1, "; whole number >= 1").violation("10%") == "must be a whole number >= 1"
    assert Key("a.b", 0.1, "; in [0, 1)").violation("120%") == "must be a number in [0, 1)"


@pytest.mark.parametrize(
    "words, answer",
    [
        (["eval_every=evaluations"], "eval_every=evaluations: must be a length (2ep, 500st, 5%)"),
        (["save_every=length"], "save_every=length: must be a length or minutes (1ep, 500st, 10min)"),
        (["threads=cores"], "threads=cores: must be a whole number >= 1, or auto"),
        (["sched=one_cycle", "sched.length=fall"], "sched.length=fall: must be a length"),
        (["optimizer=lbfgs", "optimizer.tolerance_grad=-1"], "optimizer.tolerance_grad=-1: must be >= 0 ("),
        (["optimizer=lbfgs", "optimizer.tolerance_change=weights"], "must be a number >= 0 ("),
        (["model=wide_shallow", "model.kernels=[all]"], "must be a list of whole numbers >= 1"),
        (["optimizer=adam", "optimizer.betas=[0.9]"], "must be a list of 2 numbers in [0, 1)"),
        (["data=mnist", "data.root=2026"], "must be text; write data.root=\"'2026'\""),
        (["save_every=0min"], "save_every=0min: must be a length or minutes"),
    ],
)
def test_english_of_a_comment_is_no_value(words, answer):
    with pytest.raises(ConfigError) as caught:
        overrides.check(words)
    assert answer in str(caught.value)
