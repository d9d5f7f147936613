"""Calibration against examples that are worked by hand."""

import numpy as np
import pytest

from trainer.report.calibration import calibrate


def test_the_expected_calibration_error_of_six_predictions():
    """Fifteenths: 0.95 is in the last, 0.9 in the one before, 0.61 in the tenth."""
    confidence = np.array([0.95, 0.95, 0.9, 0.61, 0.61, 0.61], dtype=np.float32)
    right = np.array([True, False, True, True, False, False])
    found = calibrate(right, confidence)
    gaps = 2 / 6 * abs(1 / 2 - 0.95) + 1 / 6 * abs(1 - 0.9) + 3 / 6 * abs(1 / 3 - 0.61)
    assert found.ece == pytest.approx(gaps, abs=1e-7) and gaps == pytest.approx(0.305)
    assert found.places.tolist() == [9, 13, 14] and found.counts.tolist() == [3, 1, 2]
    assert found.accuracy == pytest.approx([1 / 3, 1, 1 / 2]) and found.confidence == pytest.approx([0.61, 0.9, 0.95])


def test_a_bin_has_its_upper_edge_and_not_its_lower_one():
    """Guo et al.: bin m is ((m - 1) / M, m / M]. With four bins all edges are exact."""
    found = calibrate(np.array([True] * 5), np.array([0.25, 0.250001, 0.5, 0.75, 1.0]), bins=4)
    assert found.places.tolist() == [0, 1, 2, 3] and found.counts.tolist() == [1, 2, 1, 1]


@pytest.mark.parametrize("value", [True, False])
def test_predictions_that_are_all_right_or_all_wrong(value):
    found = calibrate(np.array([value] * 4), np.array([0.7, 0.7, 0.9, 0.9]))
    assert found.ece == pytest.approx(0.2 if value else 0.8)


def test_a_large_sample_against_the_sum_over_single_predictions():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(size=5000)
    right = rng.uniform(size=5000) < confidence**2
    edges, total = np.linspace(0, 1, 16), 0.0
    for low, high in zip(edges, edges[1:]):
        inside = (confidence > low) & (confidence <= high)
        total += abs(right[inside].sum() - confidence[inside].sum())
    assert calibrate(right, confidence).ece == pytest.approx(total / 5000, rel=1e-9)
