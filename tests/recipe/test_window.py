"""Window of a recipe: places by powers of ten, settings spread evenly, and its moves."""

import math

import pytest
from scipy.stats import kstest

from trainer.recipe.search import at_border, next_window
from trainer.recipe.window import Axis, draw

RATE = Axis(key="lr", low=1e-4, high=1e-1)
DECAY = Axis(key="decay", low=1e-3, high=1.0)


class Best:
    def __init__(self, **point):
        self.point = point


@pytest.mark.parametrize(("place", "value"), [(0, 1e-4), (1 / 3, 1e-3), (0.5, 3.2e-3), (1, 1e-1)])
def test_places_are_even_in_powers_of_ten(place, value):
    assert RATE.at(place) == value
    assert RATE.place(value) == pytest.approx(place, abs=0.003)  # two digits


def test_settings_are_spread_evenly_and_stay_inside():
    points = draw([RATE, DECAY], 64, seed=3)
    for axis in (RATE, DECAY):
        places = sorted(axis.place(point[axis.key]) for point in points)
        # Sobol: one of 64 in each 64th; two digits move a value by 5 % at most, 0.02 powers of ten.
        assert all(abs(place - (number + 0.5) / 64) < 0.5 / 64 + 0.01 for number, place in enumerate(places))
    assert kstest([RATE.place(point["lr"]) for point in points], "uniform").pvalue > 0.99
    quarters = {(RATE.place(p["lr"]) < 0.5, DECAY.place(p["decay"]) < 0.5) for p in points[:4]}
    assert len(quarters) == 4  # the first four fall into four quarters: both keys vary together


def test_a_longer_list_begins_with_the_shorter_one_and_seeds_differ():
    assert draw([RATE, DECAY], 20, seed=0)[:8] == draw([RATE, DECAY], 8, seed=0)
    assert draw([RATE, DECAY], 8, seed=0) != draw([RATE, DECAY], 8, seed=1)
    assert draw([RATE], 0, seed=0) == []


@pytest.mark.parametrize(
    ("value", "border"),
    [
        (1e-4, "lower"),
        (1.9e-4, "lower"),
        (2.1e-4, ""),
        (3e-3, ""),
        (4.9e-2, ""),
        (5.2e-2, "upper"),
        (2e-5, ""),
        (0.2, ""),
    ],
)
def test_a_tenth_at_each_end_is_the_border(value, border):
    assert RATE.border(value) == border  # 1e-4 10^0.3 = 2.0e-4, 1e-1 10^-0.3 = 5.0e-2


def test_where_the_loss_diverges_is_no_border_to_move():
    assert Axis(key="lr", low=1e-4, high=1e-1, limit=1e-1).border(9e-2) == ""
    assert RATE.border(0.0) == ""


def test_the_next_window_lies_around_the_best_and_ends_at_the_limit():
    limited = Axis(key="lr", low=1e-4, high=1e-1, limit=1e-1)
    rate, decay = next_window([limited, DECAY], Best(lr=6e-2, decay=0.5))
    assert (rate.low, rate.high) == (pytest.approx(6e-2 / math.sqrt(10)), 1e-1)
    assert (decay.low, decay.high) == (pytest.approx(0.05), pytest.approx(5.0))  # beyond the border of the first one
    rate, decay = next_window([RATE, DECAY], Best(lr=1e-3, decay=0.0))
    assert decay == DECAY and rate.span == pytest.approx(1)


def test_borders_are_named():
    found = at_border([RATE, DECAY], Best(lr=9e-2, decay=1e-3))
    assert [(axis.key, border) for axis, border in found] == [("lr", "upper"), ("decay", "lower")]
