"""Means over many batches equal those of NumPy and scikit-learn over all samples."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, r2_score

from trainer.base.accumulator import BATCHES_HELD, MetricAccumulator

# Batches of unequal sizes, fewer and more than are reduced at a time, and exactly as many.
SIZES = [[7], [5, 3, 1], [1 + t % 5 for t in range(BATCHES_HELD)], [1 + t % 7 for t in range(2 * BATCHES_HELD + 9)]]


@pytest.fixture
def draws():
    return np.random.default_rng(0)


def gathered(task, losses, outputs, targets, sizes):
    accumulator = MetricAccumulator(task)
    for batch in zip(*(torch.from_numpy(values).split(sizes) for values in (losses, outputs, targets))):
        accumulator.add(*batch)
    assert not accumulator.empty
    return accumulator


@pytest.mark.parametrize("sizes", SIZES)
def test_loss_is_the_mean_over_samples_and_accuracy_the_fraction_of_largest_outputs(sizes, draws):
    n = sum(sizes)
    losses, labels = draws.random(n, np.float32), draws.integers(0, 3, n)
    outputs = draws.normal(size=(n, 3)).astype(np.float32)
    accumulator = gathered("classification", losses, outputs, np.eye(3, dtype=np.float32)[labels], sizes)
    means = accumulator.means(accumulator.pop_sums())
    assert means["loss"] == pytest.approx(losses.astype(np.float64).mean(), rel=1e-5)  # float32 sums
    expected = accuracy_score(labels, outputs.argmax(1))
    assert means["accuracy"] == pytest.approx(expected, rel=1e-12)  # whole numbers are exact


def test_accuracy_under_soft_targets_counts_the_likeliest_class():
    accumulator = MetricAccumulator("classification")
    outputs, targets = [[3.0, 1.0, 2.0], [0.0, 1.0, 0.5]], [[0.6, 0.4, 0.0], [0.6, 0.4, 0.0]]
    accumulator.add(torch.zeros(2), torch.tensor(outputs), torch.tensor(targets))
    assert accumulator.means(accumulator.pop_sums())["accuracy"] == 0.5


@pytest.mark.parametrize("sizes", SIZES)
def test_binary_accuracy_counts_outputs_above_zero_as_positive(sizes, draws):
    n = sum(sizes)
    outputs, labels = draws.normal(size=(n, 1)).astype(np.float32), draws.integers(0, 2, (n, 1))
    accumulator = gathered("binary", np.zeros(n, np.float32), outputs, labels.astype(np.float32), sizes)
    assert accumulator.means(accumulator.pop_sums())["accuracy"] == pytest.approx(
        accuracy_score(labels, outputs > 0), rel=1e-12
    )


@pytest.mark.parametrize("mean", [0.0, 1000.0])
@pytest.mark.parametrize("outputs_wide", [1, 3])
@pytest.mark.parametrize("sizes", SIZES)
def test_r2_is_one_minus_error_over_spread(sizes, outputs_wide, mean, draws):
    n = sum(sizes)
    targets = (mean + draws.normal(size=(n, outputs_wide)) * [1, 2, 5][:outputs_wide]).astype(np.float32)
    outputs = targets + draws.normal(size=targets.shape).astype(np.float32)
    accumulator = gathered("regression", np.zeros(n, np.float32), outputs, targets, sizes)
    # variance_weighted: the sums of all outputs are divided. Squares near 1e6 in float64 leave 1e-9.
    expected = r2_score(targets.astype(np.float64), outputs.astype(np.float64), multioutput="variance_weighted")
    assert accumulator.means(accumulator.pop_sums())["r2"] == pytest.approx(expected, rel=1e-7, abs=1e-7)


def test_r2_of_targets_without_spread_is_nan():
    accumulator = MetricAccumulator("regression")
    accumulator.add(torch.ones(3), torch.tensor([[1.0], [2.0], [3.0]]), torch.full((3, 1), 2.0))
    means = accumulator.means(accumulator.pop_sums())
    assert math.isnan(means["r2"]) and means["loss"] == 1.0


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_sums_of_several_parts_may_be_added_up(task, draws):
    n = 90
    losses, outputs, targets = draws.random(n), draws.normal(size=(n, 2)), draws.normal(size=(n, 2))
    whole = gathered(task, losses, outputs, targets, [n])
    parts, accumulator = [], MetricAccumulator(task)
    for sizes, rows in (([20, 5], slice(0, 25)), ([64, 1], slice(25, 90))):
        for batch in zip(*(torch.from_numpy(values[rows]).split(sizes) for values in (losses, outputs, targets))):
            accumulator.add(*batch)
        parts.append(accumulator.pop_sums())
        assert accumulator.empty
    together = accumulator.means([sum(values) for values in zip(*parts)])
    assert together == pytest.approx(whole.means(whole.pop_sums()), rel=1e-6)  # losses in float32


def test_a_new_accumulator_is_empty():
    assert MetricAccumulator("binary").empty


@pytest.mark.parametrize("task", ["classification", "binary", "regression"])
def test_a_checkpoint_between_two_batches_changes_no_digit(task):
    """Sums of floats of many magnitudes depend on their order."""
    outputs = 1 if task == "binary" else 3
    generator = torch.Generator().manual_seed(0)
    batches = [
        (
            torch.exp(10 * torch.randn(32, generator=generator)),
            torch.randn(32, outputs, generator=generator),
            torch.randn(32, outputs, generator=generator),
        )
        for _ in range(BATCHES_HELD + 20)
    ]
    whole = gathered_of(task, batches).pop_sums()
    for place in range(0, len(batches), 7):
        assert gathered_of(task, batches, place).pop_sums() == whole


def gathered_of(task, batches, place=None):
    """An accumulator of all batches, which is saved and restored before the batch at a place."""
    accumulator = MetricAccumulator(task)
    for number, batch in enumerate(batches):
        if number == place:
            state, accumulator = accumulator.state_dict(), MetricAccumulator(task)
            accumulator.load_state_dict(state)
        accumulator.add(*batch)
    return accumulator


@pytest.mark.parametrize("kinds", [["classes"], ["classes", "targets"]])
def test_classes_in_place_of_targets_count_the_same(kinds, draws):
    sizes = SIZES[2]
    losses, labels = draws.random(sum(sizes), np.float32), draws.integers(0, 3, sum(sizes))
    outputs = draws.normal(size=(len(labels), 3)).astype(np.float32)
    accumulator = MetricAccumulator("classification")
    parts = zip(*(torch.from_numpy(values).split(sizes) for values in (losses, outputs, labels)))
    for place, (losses, scores, classes) in enumerate(parts):
        hot = torch.eye(3)[classes]
        accumulator.add(losses, scores, classes if kinds[place % len(kinds)] == "classes" else hot)
    assert accumulator.compute_and_reset()["accuracy"] == pytest.approx(
        accuracy_score(labels, outputs.argmax(1)), rel=1e-12
    )
