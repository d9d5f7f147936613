"""Polynomial features against scikit-learn and by hand, and the fits that they allow."""

from itertools import combinations_with_replacement

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso, LinearRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from torch.testing import assert_close

from trainer.base.errors import ConfigError
from trainer.base.monomials import count_monomials, steps
from trainer.engine.build import build_run
from trainer.preprocess import Polynomial, Standardize

RESULT = {"rtol": 1e-5, "atol": 1e-5}  # float32, of values near 1


def sklearns(degree):
    return make_pipeline(PolynomialFeatures(degree, include_bias=False), StandardScaler())


def table(features, count=200, seed=0):
    draws = np.random.default_rng(seed)
    return draws.normal(draws.uniform(-2, 2, features), draws.uniform(0.1, 3, features), (count, features))


def test_two_features_of_degree_two_by_hand():
    rows = [[1.0, 2.0], [3.0, 0.0], [-1.0, 1.0], [5.0, 5.0]]
    raw = torch.tensor([[x, y, x * x, x * y, y * y] for x, y in rows], dtype=torch.float64)
    expected = (raw - raw.mean(0)) / raw.std(0, correction=0)
    ours = Polynomial(degree=2).fit(torch.tensor(rows))(torch.tensor(rows))
    assert ours.dtype == torch.float32
    assert_close(ours.double(), expected, **RESULT)


@pytest.mark.parametrize(("features", "degree"), [(1, 1), (1, 9), (1, 15), (2, 5), (4, 3), (10, 2), (3, 1)])
def test_features_are_scikit_learns_in_its_order(features, degree):
    train, other = table(features).astype(np.float32), table(features, 30, seed=1).astype(np.float32)
    pipeline = sklearns(degree).fit(train.astype(np.float64))
    fitted = Polynomial(degree=degree).fit(torch.from_numpy(train))
    for split in (train, other):
        expected = torch.from_numpy(pipeline.transform(split.astype(np.float64)))
        assert_close(fitted(torch.from_numpy(split)).double(), expected, **RESULT)
    assert count_monomials(features, degree) == len(pipeline[0].powers_)


@pytest.mark.parametrize(("features", "degree"), [(1, 4), (2, 4), (3, 3), (5, 2)])
def test_steps_multiply_up_to_all_combinations(features, degree):
    names = below = [(feature,) for feature in range(features)]
    for parents, factors in steps(features, degree):
        below = [(*below[parent], int(factor)) for parent, factor in zip(parents, factors)]
        names = [*names, *below]
    orders = range(1, degree + 1)
    assert names == [name for order in orders for name in combinations_with_replacement(range(features), order)]


@pytest.mark.parametrize("degree", [1, 3])
def test_pixels_count_as_255ths(degree):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 1, 2, 2), dtype=np.uint8)
    expected = sklearns(degree).fit_transform(pixels.reshape(50, 4) / 255)
    fitted = Polynomial(degree=degree).fit(torch.from_numpy(pixels))
    assert_close(fitted(torch.from_numpy(pixels)).double(), torch.from_numpy(expected), **RESULT)
    assert fitted.invert(fitted(torch.from_numpy(pixels))).shape == (50, 1, 2, 2)


def test_degree_one_is_standardisation():
    rows = torch.from_numpy(table(4)).float()
    assert_close(Polynomial(degree=1).fit(rows)(rows), Standardize().fit(rows)(rows), **RESULT)


def test_numbers_of_any_size_stay_finite_and_standardised():
    """100 powers of numbers near 1e6 and 1e-6 lie outside the floats by themselves."""
    rows = torch.tensor([[1e6, 1e-6], [2e6, 3e-6], [-3e6, 2e-6], [2.5e6, -1e-6]])
    ours = Polynomial(degree=60).fit(rows)(rows).double()
    assert ours.isfinite().all()
    assert_close(ours.mean(0), torch.zeros(ours.shape[1], dtype=torch.float64), rtol=0, atol=1e-6)


def test_small_differences_beside_a_large_mean_keep_their_digits():
    numbers = torch.arange(100_000.0, 100_030.0).view(-1, 1)  # their cubes are equal to three digits
    exact = numbers.double() ** 3
    expected = (exact - exact.mean()) / exact.std(correction=0)
    assert_close(Polynomial(degree=3).fit(numbers)(numbers)[:, 2:].double(), expected, **RESULT)


def test_a_constant_feature_is_only_centred():
    rows = torch.tensor([[2.0, 1.0], [2.0, 3.0], [2.0, 5.0]])
    ours = Polynomial(degree=2).fit(rows)(rows)  # x1, x2, x1^2, x1 x2, x2^2
    assert_close(ours[:, [0, 2]], torch.zeros(3, 2), rtol=0, atol=1e-7)
    assert_close(ours[:, 1], torch.tensor([-1.5, 0.0, 1.5]) * (2 / 3) ** 0.5)
    assert_close(ours[:, 1], ours[:, 3])


@pytest.mark.parametrize("block", [1, 7, 100])
def test_blocks_give_the_values_of_the_whole(block, monkeypatch):
    rows = torch.from_numpy(table(3)).float()
    whole = Polynomial(degree=3).fit(rows)(rows)
    monkeypatch.setattr("trainer.base.monomials.BLOCK", block)
    assert_close(Polynomial(degree=3).fit(rows)(rows), whole, rtol=1e-6, atol=1e-6)  # sums in another order


@pytest.mark.parametrize("degree", [0, 101])
def test_a_degree_has_bounds(degree):
    with pytest.raises(ValueError, match=r"degree must be in \[1, 100\]"):
        Polynomial(degree=degree)


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (
            ("data=breast_cancer", "preprocess.degree=4"),  # (30 + 4)! / (30! 4!) - 1, and 5,455 for 3
            "degree 4 of the 30 features of the data makes 46,375, at most 10,000 are possible; "
            "try preprocess.degree=3",
        ),
        (
            ("data=photos",),
            "degree 2 of the 12,288 features of the data makes 75,515,904, at most 10,000 are possible; "
            "try preprocess=standardize",
        ),
    ],
)
def test_too_many_features_are_refused_with_what_is_possible(words, answer, composed):
    with pytest.raises(ConfigError) as caught:
        build_run(composed(*words, "preprocess=polynomial", "model=linear"))
    assert str(caught.value) == f"preprocess: {answer}"


def test_newtons_step_on_a_linear_model_is_polynomial_regression(fitted):
    """The cubic polynomial of data=polynomial is found in one step, as least squares find it."""
    words = ("data=polynomial", "model=linear", "preprocess=polynomial", "preprocess.degree=3")
    run, _ = fitted(*words, "optimizer=newton", "optimizer.damping=0", "batch_size=full", "epochs=1")
    train = run.data.train
    pipeline = make_pipeline(PolynomialFeatures(3, include_bias=False), StandardScaler(), LinearRegression())
    pipeline.fit(train.images.double().numpy(), train.targets.double().numpy())
    expected = pipeline.predict(run.data.test.images.double().numpy())
    with torch.no_grad():
        ours = run.model(run.test.images)
    assert_close(ours.double(), torch.from_numpy(expected), rtol=1e-3, atol=1e-3)  # float32, condition near 100


@pytest.mark.parametrize("degree", [1, 3, 15])
def test_ridge_on_monomials_is_scikit_learns(degree, fitted):
    """Mean squares + strength / 2 |w|^2, with a free bias, are the ridge objective for alpha = strength N / 2."""
    words = ("data=polynomial", "model=linear", "preprocess=polynomial", f"preprocess.degree={degree}")
    run, _ = fitted(
        *words, "reg=l2", "reg.loss.l2.strength=0.05", "optimizer=newton", "optimizer.damping=0",
        "batch_size=full", "epochs=1",
    )  # fmt: skip
    train = run.data.train
    alpha = 0.05 * len(train) / 2
    ridge = make_pipeline(PolynomialFeatures(degree, include_bias=False), StandardScaler(), Ridge(alpha=alpha))
    ridge.fit(train.images.double().numpy(), train.targets.double().numpy())
    (weight,) = [parameter for name, parameter in run.model.named_parameters() if name.endswith("weight")]
    assert_close(weight.detach().double().flatten(), torch.from_numpy(ridge[-1].coef_).flatten(), rtol=1e-3, atol=1e-4)


def test_proximal_steps_on_monomials_are_scikit_learns_lasso(fitted):
    """Mean squares + strength |w| are twice the lasso's objective for alpha = strength / 2."""
    run, _ = fitted(
        *("data=polynomial", "model=linear", "preprocess=polynomial", "preprocess.degree=5", "optimizer=gd"),
        *("optimizer.lr=0.1", "batch_size=full", "epochs=2000", "eval_every=2000ep", "log_every=2000"),
        *("reg=l1_proximal", "reg.weights.l1_proximal.strength=0.2"),
    )
    train = run.data.train
    lasso = make_pipeline(PolynomialFeatures(5, include_bias=False), StandardScaler(), Lasso(alpha=0.1, tol=1e-8))
    lasso.fit(train.images.double().numpy(), train.targets.double().numpy())
    (weight,) = [parameter for name, parameter in run.model.named_parameters() if name.endswith("weight")]
    expected = torch.from_numpy(lasso[-1].coef_)
    assert_close(weight.detach().double().flatten(), expected, rtol=1e-3, atol=1e-3)  # 2,000 steps of 0.1
    assert (weight.flatten() == 0).tolist() == (expected == 0).tolist() and (expected == 0).any()


def test_a_smaller_norm_of_the_parameters_is_a_smoother_fit(fitted):
    """Along a ridge of growing strength |w| falls, and with it the second differences of the fitted curve."""
    words = ("data=polynomial", "data.samples=100", "data.train_samples=20", "data.noise=0.5", "model=linear")
    words += ("preprocess=polynomial", "preprocess.degree=15")
    newton = ("optimizer=newton", "optimizer.damping=0", "batch_size=full", "epochs=1", "sched=constant")
    norms, roughness = [], []
    for strength in ("0.01", "0.1", "1"):
        run, _ = fitted(*words, *newton, "reg=l2", f"reg.loss.l2.strength={strength}")
        inputs = run.data.train.images
        along = torch.linspace(inputs.min().item(), inputs.max().item(), 201)[:, None]
        with torch.no_grad():
            curve = run.model(run.train.preprocess(along))[:, 0].double()
        norms.append(max(weight.norm().item() for weight in run.model.parameters() if weight.dim() > 1))
        roughness.append(curve.diff(n=2).square().mean().item())
    assert norms[0] > norms[1] > norms[2] and roughness[0] > 2 * roughness[1] > 4 * roughness[2]
