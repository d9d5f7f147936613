"""Optimizers as conf/optimizer sets them, against the papers' formulas in NumPy."""

from itertools import islice

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch.testing import assert_close

from trainer.conf import file

START = np.array([1.0, -2.0, 0.5])
TARGET = np.array([0.0, 1.0, -1.0])
CURVATURE = np.array([1.0, 0.3, 4.0])
STEPS = 5


def gradient(w):
    """Of sum(curvature (w - target)^2 / 2 + cos w), so that no two steps see the same one."""
    return CURVATURE * (w - TARGET) - np.sin(w)


def settings(name):
    node = OmegaConf.load(file("optimizer", name))
    return node.optimizer if "optimizer" in node else node


def trajectory(name, gradient=gradient, start=START, steps=STEPS):
    """The weights after each step of the optimizer, stepped with a closure as the loop does."""
    weight = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = instantiate(settings(name), _partial_=True, _convert_="all")([weight])

    def closure():
        weight.grad = torch.from_numpy(np.asarray(gradient(weight.detach().numpy().copy())))
        return torch.zeros(())

    seen = []
    for _ in range(steps):
        optimizer.step(closure)
        seen.append(weight.detach().numpy().copy())
    return np.array(seen)


def descent(w, lr):
    while True:
        w = w - lr * gradient(w)
        yield w


def heavy_ball(w, lr, m):
    v = np.zeros(3)
    while True:
        v = m * v + gradient(w)
        w = w - lr * v
        yield w


def nesterov(w, lr, m):
    """Sutskever et al., 2013, eq. (3) and (4), in theta; the optimizer's weights are the points theta + m v where the gradient is taken."""
    theta, v = w, np.zeros(3)
    while True:
        v = m * v - lr * gradient(theta + m * v)
        theta = theta + v
        yield theta + m * v


def adam(w, lr, beta1, beta2, eps):
    """Kingma & Ba, 2015, algorithm 1."""
    m, v, t = np.zeros(3), np.zeros(3), 0
    while True:
        t, g = t + 1, gradient(w)
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        w = w - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)
        yield w


@pytest.mark.parametrize(
    ("name", "paper", "numbers"),
    [
        ("gd", descent, [0.5]),
        ("sgd", descent, [0.1]),
        ("momentum", heavy_ball, [0.05, 0.9]),
        ("nesterov", nesterov, [0.05, 0.9]),
        ("adam", adam, [1e-3, 0.9, 0.999, 1e-8]),
    ],
)
def test_five_steps_are_the_papers(name, paper, numbers):
    assert_close(trajectory(name), np.array(list(islice(paper(START, *numbers), STEPS))), rtol=1e-10, atol=1e-10)  # float64


def test_momentums_updates_are_the_decayed_sums_of_gradients():
    gradients = np.random.default_rng(0).normal(size=(4, 3))
    arriving = iter(gradients)
    weights = trajectory("momentum", lambda w: next(arriving), steps=4)
    updates = np.diff(weights, axis=0, prepend=START[None]) / 0.05
    unrolled = [-sum(0.9 ** (t - s) * gradients[s] for s in range(t + 1)) for t in range(4)]
    assert_close(updates, np.array(unrolled), rtol=1e-10, atol=1e-10)
    assert_close(updates[1], -0.9 * gradients[0] - gradients[1], rtol=1e-10, atol=1e-10)


def test_nesterov_looks_one_step_ahead():
    gradients = np.random.default_rng(0).normal(size=(2, 3))
    arriving = iter(gradients)
    updates = np.diff(trajectory("nesterov", lambda w: next(arriving), steps=2), axis=0, prepend=START[None]) / 0.05
    assert_close(updates, np.array([-1.9 * gradients[0], -0.81 * gradients[0] - 1.9 * gradients[1]]), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e6])
def test_adams_first_step_is_the_learning_rate_whatever_the_gradients_size(size):
    signs = np.array([1.0, -1.0, 1.0])
    first = trajectory("adam", lambda w: size * signs, steps=1)[0]
    assert_close(START - first, 1e-3 * signs, rtol=2e-5, atol=0)  # g / (|g| + 1e-8) is 1 - 1e-5 at g = 1e-3


def test_adam_stands_still_where_the_gradient_is_zero():
    assert_close(trajectory("adam", lambda w: np.zeros(3)), np.tile(START, (STEPS, 1)), rtol=0, atol=0)


def test_adams_means_forget_a_large_gradient():
    gradients = np.array([[100.0, -2.0, 3.0], [1.0, 0.1, -3.0], [-1.0, 0.1, 3.0]])
    arriving = iter(gradients)
    updates = np.diff(trajectory("adam", lambda w: next(arriving), steps=3), axis=0, prepend=START[None])
    for t in range(3):
        seen, age = gradients[: t + 1], np.arange(t, -1, -1)
        mean, square = np.average(seen, axis=0, weights=0.9**age), np.average(seen**2, axis=0, weights=0.999**age)  # the means, unrolled
        assert_close(updates[t], -1e-3 * mean / (np.sqrt(square) + 1e-8), rtol=1e-10, atol=1e-14)  # float64 weights near 1


def minimise(function, start, updates):
    weight = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = instantiate(settings("lbfgs"), _partial_=True, _convert_="all")([weight])

    def closure():
        optimizer.zero_grad()
        loss = function(weight)
        loss.backward()
        return loss

    for _ in range(updates):
        optimizer.step(closure)
    return weight.detach()


def test_lbfgs_finds_the_minimum_of_a_quadratic_in_one_update():
    draws = np.random.default_rng(0)
    root, b = draws.normal(size=(6, 6)), draws.normal(size=6)
    a = root @ root.T + np.eye(6)
    matrix, vector = torch.from_numpy(a), torch.from_numpy(b)
    found = minimise(lambda w: w @ matrix @ w / 2 - vector @ w, np.zeros(6), 1)
    assert_close(found.numpy(), np.linalg.solve(a, b), rtol=0, atol=1e-4)  # it stops when a step gains 1e-9; curvatures are 1 or more


def test_lbfgs_finds_the_minimum_of_rosenbrocks_valley():
    found = minimise(lambda w: (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2, [-1.2, 1.0], 5)
    assert_close(found.numpy(), np.ones(2), rtol=0, atol=1e-4)  # it stops when a step gains 1e-9 = 0.4 / 2 e^2 along the valley: e = 7e-5


def test_lbfgs_searches_its_line_where_a_full_step_overshoots():
    found = minimise(lambda w: (1 + 25 * w.square()).sqrt().sum(), [-5.0, 8.0], 1)  # a cone with a round tip
    assert_close(found.numpy(), np.zeros(2), rtol=0, atol=1e-4)  # it stops when a step gains 1e-9; the curvature at 0 is 25


@pytest.mark.parametrize("name", ["gd", "lbfgs"])
def test_full_batch_optimizers_set_the_batch_size(name):
    assert OmegaConf.load(file("optimizer", name)).batch_size == "full"
