"""JSON of results: what has no place in it becomes null, for any reader."""

import json
import math

import numpy as np
import pytest

from trainer.base.json_text import as_json, without_nonfinite


def refused(name):
    raise AssertionError(f"{name} is no JSON")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float64("nan")])
def test_what_json_does_not_have_becomes_null_at_any_depth(value):
    content = {"loss": value, "rows": [(0.1, value), {"deep": [value, "NaN"]}], "whole": 3, "none": None, "true": True}
    expected = {"loss": None, "rows": [[0.1, None], {"deep": [None, "NaN"]}], "whole": 3, "none": None, "true": True}
    assert json.loads(as_json(content), parse_constant=refused) == expected == without_nonfinite(content)


def test_finite_numbers_keep_all_digits():
    values = [0.1 + 0.2, 1e-300, 2**53 + 1, np.float64(1) / 3]
    assert json.loads(as_json(values, indent=2)) == values
