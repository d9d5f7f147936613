"""BFGS against its textbook in NumPy, L-BFGS against torch's and on functions of known minimum."""

import math

import numpy as np
import pytest
import torch
from objectives import START, A, B, quartic, quartic_gradient
from omegaconf import OmegaConf
from stepping import closure_of, make, parameter
from torch.testing import assert_close

from trainer.config.catalog import file
from trainer.optimizer.bfgs import Bfgs

EXACT = {"rtol": 1e-9, "atol": 1e-10}  # both sides in float64


def wolfe(f, df, w, d, t, most=25):
    """Bisection for the weak Wolfe conditions (Nocedal & Wright, 2006, eq. 3.6)."""
    low, high, slope = 0.0, math.inf, df(w) @ d
    for _ in range(most):
        if f(w + t * d) > f(w) + 1e-4 * t * slope:
            high = t
        elif df(w + t * d) @ d < 0.9 * slope:
            low = t
        else:
            return t
        t = 2 * low if high == math.inf else (low + high) / 2
    return low


def bfgs(f, df, w, steps):
    """Nocedal & Wright, 2006, algorithm 6.1, the update as it is printed there (eq.

    6.17) and the first matrix of eq. (6.20).
    """
    h, eye = None, np.eye(len(w))
    for _ in range(steps):
        g = df(w)
        d = -g if h is None else -h @ g
        t = wolfe(f, df, w, d, min(1.0, 1 / np.abs(g).sum()) if h is None else 1.0)
        s, y = t * d, df(w + t * d) - g
        if h is None:
            h = y @ s / (y @ y) * eye
        rho = 1 / (y @ s)
        h = (eye - rho * np.outer(s, y)) @ h @ (eye - rho * np.outer(y, s)) + rho * np.outer(s, s)
        w = w + s
        yield w, h, s, y


def rosenbrock(w):
    return (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2


def rosenbrock_gradient(w):
    return np.array([2 * (w[0] - 1) - 400 * w[0] * (w[1] - w[0] ** 2), 200 * (w[1] - w[0] ** 2)])


@pytest.mark.parametrize(
    ("loss", "f", "df", "start"),
    [
        (quartic, lambda w: w @ A @ w / 2 - B @ w + (w**4).sum() / 4, quartic_gradient, START),
        (rosenbrock, rosenbrock, rosenbrock_gradient, np.array([-1.2, 1.0])),
    ],
    ids=["quartic", "rosenbrock"],
)
def test_steps_of_bfgs_are_the_textbooks(loss, f, df, start):
    w = parameter(start)
    optimizer = Bfgs([w])
    for after, h, s, y in bfgs(f, df, start, 8):
        before = f(w.detach().numpy())
        # The loss it started from.
        assert_close(optimizer.step(closure_of(lambda: loss(w), [w])).item(), before, **EXACT)
        # Eight steps of a method that divides by small differences.
        assert_close(w.detach().numpy(), after, rtol=1e-7, atol=1e-8)
        inverse = optimizer.state[w]["inverse"].numpy()
        assert_close(inverse, h, rtol=1e-5, atol=1e-7)
        assert_close(inverse @ y, s, rtol=1e-6, atol=1e-8)  # the secant equation
        assert f(after) < before


def test_bfgs_finds_the_minimum_of_rosenbrocks_valley_and_the_inverse_hessian_there():
    w = parameter([-1.2, 1.0])
    optimizer = Bfgs([w])
    for _ in range(60):
        optimizer.step(closure_of(lambda: rosenbrock(w), [w]))
        if "inverse" in optimizer.state[w]:
            inverse = optimizer.state[w]["inverse"].clone()
    assert_close(w.detach().numpy(), np.ones(2), rtol=0, atol=1e-7)
    # H = [[802, -400], [-400, 200]]; the estimate is within some percent of it at the end
    assert_close(inverse.numpy(), np.array([[200.0, 400.0], [400.0, 802.0]]) / 400, rtol=0.1, atol=0)


def test_bfgs_updates_its_estimate_by_a_matrix_of_rank_two():
    w = parameter(START)
    optimizer = Bfgs([w])
    estimates = []
    for _ in range(4):
        optimizer.step(closure_of(lambda: quartic(w), [w]))
        estimates.append(optimizer.state[w]["inverse"].numpy().copy())
    for before, after in zip(estimates, estimates[1:]):
        assert np.linalg.matrix_rank(after - before, tol=1e-10) == 2


def test_bfgs_does_not_move_where_no_step_lowers_the_loss_and_forgets_its_estimate():
    w = parameter(START)
    optimizer = Bfgs([w], max_eval=5)
    for _ in range(2):
        optimizer.step(closure_of(lambda: quartic(w), [w]))
    before, points = w.detach().clone(), []
    optimizer.step(
        closure_of(lambda: quartic(w) + w.detach().sub(before).abs().sum() * 1e6, [w], points)
    )  # a wall that the gradient does not show
    assert torch.equal(w, before) and "inverse" not in optimizer.state[w] and len(points) == 6
    optimizer.step(closure_of(lambda: 0 * w.sum(), [w]))
    assert torch.equal(w, before)


@pytest.mark.parametrize("search", ["strong_wolfe", None])
def test_lbfgs_takes_groups_as_one_and_is_torchs(search):
    a, b, whole = parameter([-1.2]), parameter([1.0]), parameter([-1.2, 1.0])
    keys = {"max_iter": 7, "max_eval": 12, "history_size": 2, "line_search_fn": search}
    ours = make("lbfgs", [{"params": [a]}, {"params": [b]}], **keys)
    theirs = torch.optim.LBFGS([whole], **keys)
    for _ in range(2):
        ours.step(closure_of(lambda: rosenbrock(torch.cat([a, b])) / 1000, [a, b]))
        theirs.step(closure_of(lambda: rosenbrock(whole) / 1000, [whole]))
        assert_close(torch.cat([a, b]).detach(), whole.detach(), rtol=1e-9, atol=1e-10)


def minimise(function, start, steps):
    weight = parameter(start)
    optimizer = make("lbfgs", [weight])

    def closure():
        optimizer.zero_grad()
        loss = function(weight)
        loss.backward()
        return loss

    for _ in range(steps):
        optimizer.step(closure)
    return weight.detach()


def test_lbfgs_finds_the_minimum_of_a_quadratic_in_one_step():
    draws = np.random.default_rng(0)
    root, b = draws.normal(size=(6, 6)), draws.normal(size=6)
    a = root @ root.T + np.eye(6)
    matrix, vector = torch.from_numpy(a), torch.from_numpy(b)
    found = minimise(lambda w: w @ matrix @ w / 2 - vector @ w, np.zeros(6), 1)
    # It stops when a step gains 1e-9; curvatures are 1 or more.
    assert_close(found.numpy(), np.linalg.solve(a, b), rtol=0, atol=1e-4)


def test_lbfgs_finds_the_minimum_of_rosenbrocks_valley():
    found = minimise(lambda w: (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2, [-1.2, 1.0], 5)
    # It stops when a step gains 1e-9 = 0.4 / 2 e^2 along the valley: e = 7e-5.
    assert_close(found.numpy(), np.ones(2), rtol=0, atol=1e-4)


def test_lbfgs_searches_its_line_where_a_full_step_overshoots():
    found = minimise(lambda w: (1 + 25 * w.square()).sqrt().sum(), [-5.0, 8.0], 1)  # a cone with a round tip
    # It stops when a step gains 1e-9; the curvature at 0 is 25.
    assert_close(found.numpy(), np.zeros(2), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["gd", "newton", "bfgs", "lbfgs"])
def test_full_batch_optimizers_set_the_batch_size(name):
    assert OmegaConf.load(file("optimizer", name)).batch_size == "full"


def test_lbfgs_refuses_an_unknown_line_search():
    with pytest.raises(ValueError, match="line_search_fn must be strong_wolfe or null, got armijo"):
        make("lbfgs", [parameter(START)], line_search_fn="armijo")
