"""docs/errata.md: all slips of the lectures, each with tests that exist; and the tests that are nowhere else."""

import ast
import re
from pathlib import Path

import pytest
import torch

from trainer.base.clock import Clock
from trainer.base.errors import ConfigError
from trainer.claims.claim import Option
from trainer.claims.claims import BY_NUMBER
from trainer.cli import overrides
from trainer.config import catalog
from trainer.config.hydra_context import Invocation
from trainer.engine.lengths import make_clock
from trainer.norm import Batch

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "errata.md").read_text()
ROWS = {int(row[1]): row[2] for row in re.finditer(r"^\| (\d+) \| (.+) \|$", PAGE, re.MULTILINE)}
NAMED = r"`(tests/[\w/]+\.py)::(\w+)(?:\[([^`]+)\])?`"


def test_the_page_has_all_27_slips_in_six_columns():
    assert [*ROWS] == [*range(1, 28)]
    for number, row in ROWS.items():
        cells = row.split(" | ")
        assert len(cells) == 5 and all(cells), number
        assert {*re.split(", ", cells[0])} <= {"CSP", "231n", "SDU", "PST", "CU"}, number
        assert re.fullmatch(f"{NAMED}(, {NAMED})*", cells[-1]), number


@pytest.mark.parametrize("number", ROWS)
def test_the_tests_of_a_slip_exist(number):
    for path, name, case in re.findall(NAMED, ROWS[number]):
        tree = ast.parse((ROOT / path).read_text())
        functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert name in functions and name.startswith("test_"), f"{path}::{name}"
        if case:
            strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
            assert case in strings or case in BY_NUMBER, f"{path}::{name}[{case}]"


def test_options_that_the_page_names_exist():
    for group, name in re.findall(r"`(act|bias|init|norm|optimizer|reg|sched)=(\w+)`", PAGE):
        assert name in catalog.options(group), f"{group}={name}"


@pytest.mark.parametrize(
    ("option", "texts"),
    [
        ("lamb", ["You et al., 2020", "1904.00962"]),
        ("lars", ["You et al., 2017", "1708.03888"]),
        ("ranger", ["Wright, 2019", "2004.01461"]),  # the second one is gradient centralisation
        ("bfgs", ["BFGS", "rank-2"]),
    ],
)
def test_options_cite_the_papers_that_made_them(option, texts):
    assert all(text in catalog.headline(catalog.file("optimizer", option)) for text in texts)


def test_steps_are_whole_numbers(composed):
    clock = make_clock(composed("data=iris", "batch_size=7"), 90, Invocation())
    assert clock == (20 * 13, 13, 0, 0.0) and all(isinstance(steps, int) for steps in clock[:3])
    with pytest.raises(ConfigError, match="epochs=1.5st"):
        overrides.check(["epochs=1.5st"])


@pytest.mark.parametrize("eps", [1e-8, 1e-7, 1e-5, 1e-3])
def test_the_constants_of_the_lectures_can_be_set(eps):
    weight = [torch.zeros(1, requires_grad=True)]
    for option, usual in (("adam", 1e-8), ("adam_uncorrected", 1e-7)):
        assert Option("optimizer", option)(weight).defaults["eps"] == usual
        assert Option("optimizer", option)(weight, eps=eps).defaults["eps"] == eps
    assert Batch().eps == 1e-5 and Batch(eps=eps)(4).eps == eps


def test_the_inverse_square_root_begins_at_one():
    sched, clock = Option("sched", "inverse_sqrt")(length="1st"), Clock(100, 10)
    assert [sched(clock.at(step)) for step in (0, 3, 99)] == [1, 0.5, 0.1]


def test_batch_norm_keeps_the_statistics_of_third_order():
    """The skewness, the mean cube of a standardised variable, is the same before and after: 2 of an exponential one."""
    torch.manual_seed(0)
    x = torch.empty(4096, 1, dtype=torch.float64).exponential_()
    y = Batch(eps=1e-12)(1).double().train()(x).detach()
    before, after = (((values - values.mean()) / values.std(correction=0)).pow(3).mean().item() for values in (x, y))
    assert after == pytest.approx(before, rel=1e-9) and after > 1
