"""Data sets made by a formula: the formula, the fractions, the seed."""

import math

import numpy as np
import pytest
import torch

from trainer.data.synthetic import Gaussians, HeightWeight, Polynomial, Regression, Spirals
from trainer.engine.build import build_run
from trainer.engine.summary import facts

ALL = [Polynomial, Regression, Spirals, Gaussians, HeightWeight]


def everything(data):
    """Inputs and targets of all three splits, as float64."""
    parts = (data.train, data.val, data.test)
    return (torch.cat([getattr(part, name) for part in parts]).double().numpy() for name in ("images", "targets"))


@pytest.mark.parametrize("kind", ALL)
def test_the_seed_decides_and_the_fractions_hold(kind):
    first, again, other = (
        kind(split_seed=seed, samples=600, val_fraction=0.25, test_fraction=0.1).load() for seed in (0, 0, 1)
    )
    assert torch.equal(first.train.images, again.train.images) and torch.equal(first.test.targets, again.test.targets)
    assert not torch.equal(first.train.images, other.train.images)
    (rows, _), (others, _) = everything(first), everything(other)
    assert not np.array_equal(
        np.sort(rows, 0), np.sort(others, 0)
    )  # other samples, not only another division of the same
    total = len(first.train) + len(first.val) + len(first.test)
    assert total == 600 and abs(len(first.val) - 150) <= 3 and abs(len(first.test) - 60) <= 3  # rounded class by class
    assert first.train.images.dtype == first.train.targets.dtype == torch.float32
    assert len(first.classes) == (0 if kind in (Polynomial, Regression) else 3)


CHEBYSHEV = {1: [1, 0], 3: [4, 0, -3, 0], 5: [16, 0, -20, 0, 5, 0]}  # coefficients from the highest power down


@pytest.mark.parametrize("degree", CHEBYSHEV)
def test_polynomial_is_chebyshevs(degree):
    data = Polynomial(degree=degree, noise=0.0, samples=2000).load()
    x, y = everything(data)
    assert data.task == "regression" and x.shape == y.shape == (2000, 1)
    np.testing.assert_allclose(
        y, np.polyval(CHEBYSHEV[degree], x), atol=5e-6
    )  # x is rounded to float32, and T' is up to degree^2 = 25
    assert abs(x).max() <= 1 and abs(x.mean()) < 5 / math.sqrt(
        3 * 2000
    )  # five deviations: uniform on [-1, 1] has variance 1/3
    assert abs(x.var() - 1 / 3) < 5 * math.sqrt(4 / 45 / 2000)  # and x^2 has variance 1/5 - 1/9


def test_noise_of_the_polynomial_has_its_deviation():
    x, y = everything(Polynomial(degree=3, noise=0.3, samples=5000).load())
    rest = y - (4 * x**3 - 3 * x)
    assert abs(rest.std() - 0.3) < 5 * 0.3 / math.sqrt(2 * 5000) and abs(rest.mean()) < 5 * 0.3 / math.sqrt(5000)


@pytest.mark.parametrize(("features", "outputs", "hidden"), [(3, 2, 3), (1, 1, 1), (5, 4, 2)])
def test_regression_is_the_output_of_its_teacher(features, outputs, hidden):
    shape = {"features": features, "outputs": outputs, "hidden": hidden}
    data = Regression(**shape, noise=0.0, samples=3000).load()
    x, y = everything(data)
    inner, bias, outer = Regression(**shape, split_seed=9).teacher()  # the same one, whatever the seed
    assert inner.shape == (hidden, features) and bias.shape == (hidden,) and outer.shape == (outputs, hidden)
    np.testing.assert_allclose((outer**2).sum(1), 1)
    expected = [
        [sum(outer[k, j] * math.tanh(inner[j] @ row + bias[j]) for j in range(hidden)) for k in range(outputs)]
        for row in x[:200]
    ]
    np.testing.assert_allclose(y[:200], expected, atol=1e-6)  # float32
    assert data.task == "regression" and data.input_shape == (features,) and data.outputs == outputs
    assert (abs(x.mean(0)) < 5 / math.sqrt(3000)).all() and (abs(x.std(0) - 1) < 5 / math.sqrt(6000)).all()


def test_noise_of_the_regression_is_independent_in_each_output():
    noisy, clean = ([*everything(Regression(noise=noise, samples=5000).load())][1] for noise in (0.3, 0.0))
    rest = noisy - clean
    assert (abs(rest.std(0) - 0.3) < 5 * 0.3 / math.sqrt(2 * 5000)).all()
    assert abs(np.corrcoef(rest.T)[0, 1]) < 5 / math.sqrt(5000)


@pytest.mark.parametrize("outputs", [1, 2, 5])
def test_sum_and_mean_of_squares_differ_by_the_number_of_outputs(composed, outputs):
    """The loss, and the gradient of every weight."""
    found = {}
    for reduction in ("mean", "sum"):
        run = build_run(composed("data=regression", f"data.outputs={outputs}", f"loss.reduction={reduction}"))
        images, targets = run.train.batch(torch.arange(64))
        run.criterion(run.model(images), targets).mean().backward()
        loss = run.evaluate(run.model, run.val)["loss"]
        found[reduction] = (loss, torch.cat([weight.grad.flatten() for weight in run.model.parameters()]))
        assert dict(facts(run))["samples"].endswith("regression" if outputs == 1 else f"of {outputs} outputs")
    assert found["sum"][0] == pytest.approx(outputs * found["mean"][0], rel=1e-6)
    assert torch.allclose(found["sum"][1], outputs * found["mean"][1], rtol=1e-4, atol=1e-7)  # float32


def test_the_student_of_the_teachers_shape_comes_close_to_the_noise(fitted):
    run, curves = fitted(
        *("data=regression", "data.noise=0.2", "model.hidden=[3]", "act=tanh", "optimizer=bfgs", "epochs=60"),
        *("batch_size=full", "data.samples=4000", "seed=1", "eval_every=60ep"),
    )
    scores = run.evaluate(run.model, run.test)
    # The mean of 800 tests' two squared errors has deviation noise^2 sqrt(2 / 1600) = 0.0014.
    assert 0.04 - 5 * 0.0014 < scores["loss"] < 0.04 + 10 * 0.0014
    targets = run.test.targets.double()
    spread = (targets - targets.mean(0)).square().sum()
    assert scores["r2"] == pytest.approx(1 - 1600 * scores["loss"] / spread.item(), abs=1e-5)


def test_marginal_biases_begin_each_output_at_its_mean(composed):
    run = build_run(composed("data=regression", "bias=marginal", "init=zeros"))
    outputs = run.model(run.train.batch(torch.arange(3))[0])
    assert torch.allclose(outputs, run.train.targets.mean(0).expand(3, 2), atol=1e-6)


@pytest.mark.parametrize(("arms", "turns"), [(2, 1.5), (3, 1.0), (7, 0.25), (3, 0.0)])
def test_spirals_wind_as_they_say(arms, turns):
    data = Spirals(arms=arms, turns=turns, noise=0.0, samples=701).load()
    points, targets = everything(data)
    k, z = targets.argmax(1), points[:, 0] + 1j * points[:, 1]
    expected = abs(z) * np.exp(2j * np.pi * (k / arms + turns * abs(z)))
    np.testing.assert_allclose(z, expected, atol=1e-6)  # float32
    counts = np.bincount(k)
    assert len(counts) == arms == data.outputs and counts.max() - counts.min() <= 1
    assert abs(z).max() <= 1 and abs(abs(z).mean() - 0.5) < 5 / math.sqrt(12 * 701)  # a uniform radius


def test_noise_of_spirals_is_of_the_angle():
    points, targets = everything(Spirals(noise=0.2, samples=5000).load())
    z = points[:, 0] + 1j * points[:, 1]
    off = np.angle(z / np.exp(2j * np.pi * (targets.argmax(1) / 3 + abs(z))))
    assert abs(off.std() - 0.2) < 5 * 0.2 / math.sqrt(2 * 5000)


def test_gaussians_lie_around_their_centres():
    data = Gaussians(classes=4, features=3, separation=5.0, shift=10.0, samples=8000).load()
    points, targets = everything(data)
    labels = targets.argmax(1)
    for k, centre in enumerate([(15, 10, 10), (10, 15, 10), (5, 10, 10), (10, 5, 10)]):
        cloud = points[labels == k]
        assert len(cloud) == 2000
        assert (abs(cloud.mean(0) - centre) < 5 / math.sqrt(2000)).all() and (
            abs(cloud.std(0) - 1) < 5 / math.sqrt(4000)
        ).all()


@pytest.mark.parametrize(("imbalance", "counts"), [(1.0, [233, 233, 233]), (4.0, [400, 200, 100]), (1e9, [700, 3, 3])])
def test_imbalance_is_the_largest_class_over_the_smallest(imbalance, counts):
    data = Gaussians(imbalance=imbalance, samples=700).load()
    _, targets = everything(data)
    assert targets.sum(0).tolist() == counts  # weights 1, 1/sqrt(imbalance), 1/imbalance
    assert all(part.targets.sum(0).min() >= 1 for part in (data.train, data.val, data.test))


def test_the_nearest_of_two_clouds_is_right_as_often_as_the_normal_distribution_says():
    points, targets = everything(Gaussians(classes=2, separation=1.0, samples=20000).load())
    right = ((points[:, 0] < 0) == targets.argmax(1)).mean()
    p = 0.5 * (1 + math.erf(1 / math.sqrt(2)))
    assert abs(right - p) < 5 * math.sqrt(p * (1 - p) / 20000)


def test_height_and_weight_give_the_body_mass_index():
    data = HeightWeight(samples=4000).load()
    points, targets = everything(data)
    height, weight = points.T
    index = weight / height**2
    clear = (abs(index - 18.5) > 1e-4) & (abs(index - 25) > 1e-4)  # float32 rounds the others to either side
    expected = np.select([index < 18.5, index < 25], [0, 1], 2)
    assert (targets.argmax(1) == expected)[clear].all() and clear.mean() > 0.99
    assert data.classes == ("underweight", "normal", "overweight")
    assert (
        1.5 <= height.min() < 1.51
        and 1.99 < height.max() <= 2
        and 16 - 1e-4 <= index.min() < 16.1
        and 31.9 < index.max() <= 32 + 1e-4
    )
    for fraction, p in zip(targets.mean(0), (2.5 / 16, 6.5 / 16, 7 / 16)):
        assert abs(fraction - p) < 5 * math.sqrt(p * (1 - p) / 4000)


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (Polynomial, {"degree": 0}, r"degree must be in \[1, 20\], got 0"),
        (Polynomial, {"noise": -0.1}, "noise must be >= 0"),
        (Regression, {"outputs": 0}, "outputs must be >= 1, got 0"),
        (Regression, {"features": 0}, "features must be >= 1"),
        (Regression, {"hidden": 0}, "hidden must be >= 1"),
        (Regression, {"noise": -1.0}, "noise must be >= 0"),
        (Spirals, {"arms": 11}, r"arms must be in \[2, 10\]"),
        (Spirals, {"turns": -0.5}, "turns must be >= 0"),
        (Spirals, {"noise": -1.0}, "noise must be >= 0"),
        (Gaussians, {"classes": 1}, r"classes must be in \[2, 10\]"),
        (Gaussians, {"features": 1}, "features must be >= 2"),
        (Gaussians, {"separation": -1.0}, "separation must be >= 0"),
        (Gaussians, {"imbalance": 0.5}, "imbalance must be >= 1"),
        (Gaussians, {"shift": math.inf}, "shift must be in"),
        *((kind, {"samples": 99}, "samples must be >= 100") for kind in ALL),
        *((kind, {"split_seed": -1}, "split_seed must be >= 0") for kind in ALL),
        *((kind, {"val_fraction": 1.0}, "val_fraction must be in") for kind in ALL),
    ],
)
def test_numbers_out_of_range_are_refused(kind, fields, message):
    with pytest.raises(ValueError, match=message):
        kind(**fields).load()
