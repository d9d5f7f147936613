"""Suggestions from made curves of loss against learning rate: each rule, and both sides of each threshold."""

import math

import numpy as np
import pytest

from trainer.inspection import loss_by_rate as curves
from trainer.inspection import lr_suggestion as rules
from trainer.inspection.loss_by_rate import Average, Divergence, loss_by_rate
from trainer.inspection.lr_suggestion import longest_descents, suggest

COUNT = 201
X = np.linspace(-6, 2, COUNT)  # decades of the rate, 25 points in each
RATES = [float(rate) for rate in 10**X]


def averaged(losses, span=10.0):
    """Return the bias-corrected moving average, from its weights: (1 - 1/span)^age."""
    losses = np.array(losses)
    found = []
    for end in range(1, len(losses) + 1):
        weights = (1 - 1 / span) ** np.arange(end - 1, -1, -1)
        found.append((weights * losses[:end]).sum() / weights.sum())
    return np.array(found)


def line(points, x=X):
    """Return the losses of a curve through (decade, loss), straight between the points."""
    return [float(loss) for loss in np.interp(x, *zip(*points))]


def by_name(suggestion):
    return {rule.name: rule for rule in suggestion.rules}


def decades(rate):
    return math.log10(rate)


VALLEY = line([(-6, 2.0), (-4, 2.0), (-1, 0.5), (0, 0.6), (1, 4.0), (2, 8.0)])
FLOOR = line([(-6, 2.0), (-4, 2.0), (-2, 0.2), (2, 0.2)])  # falls to a floor and stays there


def test_the_average_is_that_of_its_weights():
    losses = np.random.default_rng(0).normal(size=COUNT).tolist()
    average = Average(10.0)
    np.testing.assert_allclose([average.add(loss) for loss in losses], averaged(losses), rtol=1e-12)
    curve = loss_by_rate(RATES, losses)
    np.testing.assert_allclose(curve.smoothed, averaged(losses, curves.SPAN * 25), rtol=1e-12)


def test_the_level_is_that_of_the_first_tenth_and_the_fall_is_measured_from_it():
    curve = loss_by_rate(RATES, VALLEY)
    assert len(curve.first) == 20 and curve.level == pytest.approx(2.0)
    assert curve.lowest == averaged(VALLEY).argmin()
    assert curve.fall == pytest.approx(2.0 - averaged(VALLEY).min())
    assert curve.reached(0.5) == np.flatnonzero(averaged(VALLEY) <= 2.0 - curve.fall / 2)[0]


def test_the_noise_of_the_average_is_that_of_independent_losses():
    """Variance of sum w (1-w)^k e_k: w / (2 - w), here against 20,000 averages of normal numbers."""
    losses = np.random.default_rng(1).normal(0, 0.3, 20_000).tolist()
    average = Average(10.0)
    smoothed = [average.add(loss) for loss in losses][100:]
    curve = loss_by_rate(RATES, losses[:COUNT])
    expected = np.std(losses[:20]) / 0.3 * np.std(smoothed)
    assert curve.noise == pytest.approx(expected, rel=0.05)  # of 20,000 dependent averages


def test_the_steepest_descent_lies_where_the_line_falls_fastest():
    """Slopes -0.2, -2 and -0.2 by decade; the average lags 9 points, 0.36 decades, behind a straight line."""
    losses = line([(-6, 3.0), (-5, 3.0), (-3, 2.6), (-2, 0.6), (0, 0.2), (1, 4.0), (2, 9.0)])
    steep = by_name(suggest(RATES, losses))["steepest descent"]
    assert steep.holds and -3 < decades(steep.rate) - 0.36 < -2


def test_the_minimum_is_a_tenth_of_the_lowest_smoothed_loss():
    lowest = by_name(suggest(RATES, VALLEY))["minimum / 10"]
    assert lowest.holds and lowest.rate == pytest.approx(RATES[averaged(VALLEY).argmin()] / 10)


def test_the_valley_is_two_thirds_of_the_way_from_where_the_loss_has_begun_to_fall():
    smoothed, found = averaged(VALLEY), by_name(suggest(RATES, VALLEY))["valley"]
    fall = 2.0 - smoothed.min()
    begin, end = X[np.flatnonzero(smoothed <= 2.0 - 0.05 * fall)[0]], X[smoothed.argmin()]
    assert found.holds and decades(found.rate) == pytest.approx(begin + 2 / 3 * (end - begin))


def test_the_slide_ends_where_both_ends_of_the_interval_are_equally_steep():
    """A parabola in the decades, below a plateau: slopes 2 a (x - c), alike at no two places but the ends of a line."""
    losses = line([(-6, 2.0), (-4, 2.0), (-1, 0.5), (0, 0.5), (1, 5.0), (2, 9.5)])
    found = by_name(suggest(RATES, losses))["slide"]
    # The line between -4 and -1, behind the lag, is the first place from the right with one slope over 1.2 decades.
    assert found.holds and -4 < decades(found.rate) < -1


def test_the_suggestion_is_the_middle_between_steepest_descent_and_minimum():
    slow = line([(-6, 2.0), (-4, 2.0), (-2, 0.7), (0, 0.4), (1, 4.0), (2, 8.0)])
    suggestion = suggest(RATES, slow)
    found = by_name(suggestion)
    middle = math.sqrt(found["steepest descent"].rate * 10 * found["minimum / 10"].rate)
    assert suggestion.rate == pytest.approx(middle, rel=0.05)  # two digits
    assert suggestion.rate == float(f"{suggestion.rate:.1e}") and suggestion.reason.startswith("the middle between")


def test_a_suggestion_is_not_beyond_95_percent_of_the_fall():
    suggestion = suggest(RATES, FLOOR)
    smoothed = averaged(FLOOR)
    done = RATES[np.flatnonzero(smoothed <= 2.0 - 0.95 * (2.0 - smoothed.min()))[0]]
    assert suggestion.rate == pytest.approx(done, rel=0.05) and "95 %" in suggestion.reason
    assert not by_name(suggestion)["minimum / 10"].holds and not by_name(suggestion)["slide"].holds


@pytest.mark.parametrize("scale, offset", [(1e4, 0.0), (1e-4, 0.0), (1.0, 100.0), (1.0, -100.0)])
def test_neither_scale_nor_offset_of_the_loss_count(scale, offset):
    assert suggest(RATES, [scale * loss + offset for loss in VALLEY]).rate == suggest(RATES, VALLEY).rate


@pytest.mark.parametrize("blown", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_curve_as_a_divergence(blown):
    last = 140  # at 0.4, behind the minimum
    suggestion = suggest(RATES[: last + 1], [*VALLEY[:last], blown])
    assert suggestion.rate == pytest.approx(suggest(RATES, VALLEY).rate, rel=0.3)
    assert by_name(suggestion)["minimum / 10"].holds


@pytest.mark.parametrize("points, enough", [(49, False), (50, True)])
def test_fewest_points(points, enough):
    assert rules.FEWEST == 50
    x = np.linspace(-6, 2, points)
    suggestion = suggest((10**x).tolist(), line([(-6, 2), (-4, 2), (-1, 0.5), (0, 0.6), (2, 8)], x))
    assert (suggestion.rate is not None) == enough
    assert enough or suggestion.reason == "the loss diverges at 100, after 49 of 50 points that are needed: " + (
        "the first rate is too large"
    )


def test_few_points_without_a_divergence():
    assert suggest(RATES[:30], VALLEY[:30]).reason == "30 points are too few; 50 are needed"
    assert suggest([1e-6], [math.nan]).reason.startswith("the loss diverges after 0 of 50 points")


@pytest.mark.parametrize("fall, enough", [(0.9e-3, False), (1.2e-3, True)])
def test_a_fall_within_rounding_is_none(fall, enough):
    """Of a level of 1, without noise: a thousandth of it is the least."""
    suggestion = suggest(RATES, line([(-6, 1.0), (-4, 1.0), (-3, 1 - fall), (0, 1 - fall), (1, 2.0), (2, 3.0)]))
    assert (suggestion.rate is not None) == enough
    assert enough or suggestion.reason.startswith("the loss never falls")


@pytest.mark.parametrize("fall, enough", [(6.5, False), (8.0, True)])
def test_a_fall_within_the_noise_is_none(fall, enough):
    """In standard deviations of the average: sqrt(1 / 19) of those of one loss; 7 are the least."""
    noise = np.where(np.arange(COUNT) % 2, 0.1, -0.1)
    deep = fall * 0.1 / math.sqrt(19)
    made = line([(-6, 1.0), (-4, 1.0), (-3, 1 - deep), (0, 1 - deep), (1, 3.0), (2, 5.0)])
    suggestion = suggest(RATES, (np.array(made) + noise).tolist())
    assert (suggestion.rate is not None) == enough
    assert enough or suggestion.reason.startswith("the loss never falls")


@pytest.mark.parametrize("rise, holds", [(0.05, False), (0.2, True)])
def test_the_minimum_holds_where_the_loss_rises_again_by_a_tenth_of_its_fall(rise, holds):
    losses = line([(-6, 2.0), (-4, 2.0), (-2, 1.0), (-1, 1.0), (0, 1 + rise), (2, 1 + rise)])
    for rule in ("minimum / 10", "valley"):
        found = by_name(suggest(RATES, losses))[rule]
        assert found.holds == holds
        assert holds or found.why_not == "the loss does not rise again up to 100"


@pytest.mark.parametrize("slope, falling", [(0.08, False), (0.12, True)])
def test_a_loss_that_still_falls_at_the_last_rate_has_no_best_rate(slope, falling):
    """In falls by decade, over the last four: a tenth is the most. The fall is 1 in all."""
    losses = line([(-6, 2.0), (-4, 2.0), (-2, 1 + 4 * slope), (2, 1.0)])
    suggestion = suggest(RATES, losses)
    assert (suggestion.rate is None) == falling
    assert not falling or suggestion.reason.startswith("the loss still falls at the last rate, 100")


@pytest.mark.parametrize("start, at_once", [(-5.8, True), (-4.8, False)])
def test_a_loss_that_falls_at_the_first_rates_says_so(start, at_once):
    """The first tenth of the points ends at 10^-5.24."""
    losses = line([(-6, 2.0), (start, 2.0), (start + 0.3, 0.2), (0, 0.1), (1, 4.0), (2, 9.0)])
    suggestion = suggest(RATES, losses)
    assert suggestion.reason.startswith("the loss falls at once, from 1e-06 on") == at_once
    assert (suggestion.rate is None) == at_once


def test_a_method_that_has_its_own_step_size_falls_at_once():
    losses = [2.3 * 0.1**step for step in range(COUNT)]  # as L-BFGS with a line search
    assert suggest(RATES, losses).reason.startswith("the loss falls at once")


def test_noise_alone_does_not_fall_at_once():
    answers = [
        suggest(RATES, np.random.default_rng(seed).normal(2.3, 0.05, COUNT).tolist()).reason for seed in range(40)
    ]
    assert all(answer.startswith("the loss never falls") for answer in answers)


@pytest.mark.parametrize("size, holds", [(0.02, True), (0.6, False)])
def test_the_valley_holds_where_the_loss_goes_down_at_half_of_its_points(size, holds):
    """Waves of eight points on the line: large ones go up as often as down."""
    waves = size * np.sin(np.arange(COUNT) * 2 * math.pi / 8) * (X > -4)
    found = by_name(suggest(RATES, (np.array(VALLEY) + waves).tolist()))["valley"]
    assert found.holds == holds
    assert holds or found.why_not == "the loss goes up and down on its way"


@pytest.mark.parametrize("end, diverges", [(1.9, False), (2.5, True)])
def test_the_slide_needs_a_divergence(end, diverges):
    """The loss ends at a plateau below or above its level of 2."""
    losses = line([(-6, 2.0), (-4, 2.0), (-1, 0.5), (0, end), (2, end)])
    found = by_name(suggest(RATES, losses))["slide"]
    assert ("does not diverge" in found.why_not) != diverges


def test_longest_descents_by_hand():
    assert longest_descents([3.0, 1.0, 2.0, 2.0, 1.5, 4.0, 0.5]) == [1, 2, 2, 2, 3, 1, 4]


@pytest.mark.parametrize("excess, over", [(0.95, False), (1.05, True)])
def test_a_range_test_ends_where_the_average_is_as_far_above_its_level_as_it_was_below(excess, over):
    """Level 2, lowest 1: the threshold is 3, for the average."""
    divergence = Divergence(RATES)
    assert not any(divergence.add(loss) for loss in [2.0] * 20 + [1.0] * 100)
    lowest = averaged([2.0] * 20 + [1.0] * 100).min()
    top = 2.0 + excess * (2.0 - lowest)
    assert any([divergence.add(top) for _ in range(100)]) == over


def test_noise_alone_ends_no_range_test():
    rng = np.random.default_rng(0)
    divergence = Divergence(RATES)
    assert not any(divergence.add(loss) for loss in rng.normal(2.3, 0.1, COUNT))
    assert divergence.add(math.nan)


def test_noise_at_the_level_does_not_begin_the_valley():
    """A dip by a tenth of the fall at 10^-5, long before the loss leaves its level for good at 10^-4."""
    dipping = line(
        [(-6, 2.0), (-5.2, 2.0), (-5.0, 1.7), (-4.8, 2.0), (-4, 2.0), (-1, 0.5), (0, 0.6), (1, 4.0), (2, 8.0)]
    )
    assert min(averaged(dipping)[:50]) < 2.0 - 0.05 * (2.0 - averaged(dipping).min())
    found, clean = by_name(suggest(RATES, dipping)), by_name(suggest(RATES, VALLEY))
    assert found["valley"].rate == pytest.approx(clean["valley"].rate, rel=0.15)


@pytest.mark.parametrize("rate, text", [(0.0551, "0.055"), (100.0, "100"), (1e-6, "1e-06"), (1234.0, "1200")])
def test_rates_in_sentences(rate, text):
    assert rules.shown(rate) == text
