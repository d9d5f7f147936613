"""Gradient noise on linear regression, whose gradients of single samples are known."""

import numpy as np
import pytest
import torch

from trainer.engine.build import build_run
from trainer.inspection.gradient_noise import Moments, NoisePoint, measure_noise, unbiased
from trainer.inspection.objective import measuring


def point(size, square, error=0.0):
    return NoisePoint(size=size, batches=9, square=square, square_error=error, variance=1 / size)


@pytest.mark.parametrize(("small", "big"), [(1, 256), (2, 64), (8, 16)])
def test_two_batch_sizes_give_both_parts(small, big):
    square, trace = 0.5, 12.0
    found = unbiased([point(small, square + trace / small), point(big, square + trace / big)])
    assert found.square == pytest.approx(square) and found.trace == pytest.approx(trace)
    assert found.scale == pytest.approx(24.0) and found.scale_error == pytest.approx(0)


def test_a_gradient_within_its_error_has_no_scale():
    found = unbiased([point(1, 12.0, 1.0), point(64, 12 / 64 + 0.01, 0.1)])
    assert found.square < found.square_error and found.scale is None and found.scale_error is None


def test_moments_are_those_of_numpy():
    vectors = np.random.default_rng(0).normal(3.0, 1.0, (11, 7))
    moments = Moments()
    for vector in torch.tensor(vectors):
        moments.add([vector[:4], vector[4:]])
    found = moments.point(5)
    assert found.variance == pytest.approx(vectors.var(0, ddof=1).sum())
    assert found.square == pytest.approx((vectors**2).sum(1).mean())
    assert found.square_error == pytest.approx((vectors**2).sum(1).std(ddof=1) / np.sqrt(11))


def test_known_gradients_of_the_samples(composed):
    run = build_run(composed("data=polynomial", "model=linear", "threads=1", "device=cpu"))
    x, y = (part.double().numpy() for part in run.train.batch(torch.arange(len(run.train))))
    w, b = (weight.item() for weight in run.model.parameters())
    each = 2 * (w * x + b - y) * np.hstack([x, np.ones_like(x)])  # (N, 2)
    square, trace = (each.mean(0) ** 2).sum(), each.var(0).sum()
    with measuring(run):
        found = measure_noise(run, 60.0)
    assert [each.size for each in found.points] == [2**power for power in range(9)]
    # Within four standard errors: 6e-5 of all draws are further away, and the draw is fixed.
    assert abs(found.trace - trace) < 4 * found.trace_error < trace
    assert abs(found.square - square) < 4 * found.square_error < 2 * square
    sized = [each.variance * each.size / trace for each in found.points]
    # A variance of 32 draws of two numbers has a relative error of about sqrt(2 / 31) = 0.25 at most, their mean 0.08.
    assert np.mean(sized) == pytest.approx(1, abs=4 * 0.08) and max(sized) < 2 and min(sized) > 0.3
    slope = np.polyfit(
        np.log([each.size for each in found.points]), np.log([each.variance for each in found.points]), 1
    )
    assert slope[0] == pytest.approx(-1, abs=0.15)


@pytest.mark.parametrize("words", [["data=iris", "model=mlp"], ["data=digits", "model=cnn", "model.channels=[4]"]])
def test_batch_norm_begins_at_32_samples(words, composed):
    run = build_run(composed(*words, "norm=batch", "threads=1", "device=cpu"))
    with measuring(run):
        found = measure_noise(run, 0.0)
    assert [(each.size, each.batches) for each in found.points] == [(32, 2), (64, 2)]  # without time the least


def test_gradients_that_depend_on_the_others_of_a_batch_have_no_scale():
    def made(power):
        points = [
            NoisePoint(size=size, batches=9, square=5 + 9 * size**power, square_error=0.0, variance=9 * size**power)
            for size in (1, 4, 16)
        ]
        return unbiased(points)

    assert made(-1).slope == pytest.approx(-1) and made(-1).scale == pytest.approx(9 / 5)
    assert made(-2).slope == pytest.approx(-2) and made(-2).scale is None and made(-0.3).scale is None
