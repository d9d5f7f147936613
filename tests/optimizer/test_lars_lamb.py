"""LARS and LAMB against their papers in NumPy."""

import numpy as np
import pytest
import torch
from stepping import make, walk
from torch.testing import assert_close

EXACT = {"rtol": 1e-10, "atol": 1e-10}  # both sides in float64, weights near 1
LRS = [0.1, 0.1, 0.05, 0.2, 0.02]  # a schedule
DRAWS = np.random.default_rng(2)
WEIGHTS = [DRAWS.normal(size=(3, 2)), 3 * DRAWS.normal(size=(4, 1, 2)), DRAWS.normal(size=2)]
SERIES = [[DRAWS.normal(size=w.shape) for w in WEIGHTS] for _ in LRS]
DECAY = 0.3


def tensors(arrays):
    return [torch.tensor(array, requires_grad=True) for array in arrays]


def grouped(params):
    """Return two groups, as the build makes them: weights that decay, and weights that do not."""
    return [{"params": params[:2]}, {"params": params[2:], "weight_decay": 0.0}]


def lars(w, series, decay, m=0.9, coefficient=0.02):
    """You et al., 2017, algorithm 1, of one layer; `series` are the rates and the gradients."""
    v = np.zeros_like(w)
    for lr, g in series:
        local = coefficient * np.sqrt((w**2).sum()) / (np.sqrt((g**2).sum()) + decay * np.sqrt((w**2).sum()))
        v = m * v + lr * local * (g + decay * w)
        w = w - v
        yield w


def lamb(w, series, decay, b1=0.9, b2=0.999, eps=1e-6):
    """You et al., 2020, algorithm 2, of one layer."""
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, (lr, g) in enumerate(series, start=1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        r = (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps) + decay * w
        w = w - lr * np.sqrt((w**2).sum()) / np.sqrt((r**2).sum()) * r
        yield w


@pytest.mark.parametrize(
    ("paper", "keys"),
    [
        (lars, {}),
        (lars, {"momentum": 0.5, "coefficient": 1e-3}),
        (lamb, {}),
        (lamb, {"betas": [0.6, 0.95], "eps": 1e-2}),
    ],
    ids=["lars", "lars with other keys", "lamb", "lamb with other keys"],
)
def test_five_steps_of_every_tensor_are_the_papers(paper, keys):
    params = tensors(WEIGHTS)
    found = walk(make(paper.__name__, grouped(params), weight_decay=DECAY, **keys), params, SERIES, LRS)
    for layer, (start, decay) in enumerate(zip(WEIGHTS, [DECAY, DECAY, 0.0])):
        expected = list(
            paper(start, [(lr, gradients[layer]) for lr, gradients in zip(LRS, SERIES)], decay, *spread(keys))
        )
        assert_close(np.array([step[layer] for step in found]), np.array(expected), **EXACT)


def spread(keys):
    return [number for value in keys.values() for number in (value if isinstance(value, list) else [value])]


def test_lars_moves_a_layer_by_a_fraction_of_its_norm_whatever_the_gradients_size():
    for size in (1e-4, 1.0, 1e4):
        params = tensors(WEIGHTS)
        (moved,) = walk(make("lars", params, weight_decay=0.0), params, [[size * g for g in SERIES[0]]], [0.1])
        for before, after in zip(WEIGHTS, moved):
            assert np.linalg.norm(after - before) == pytest.approx(
                0.1 * 0.02 * np.linalg.norm(before), rel=1e-9
            )  # float64


def test_lamb_moves_a_layer_by_the_rate_times_its_norm():
    params, before = tensors(WEIGHTS), WEIGHTS
    for lr, after in zip(LRS, walk(make("lamb", grouped(params)), params, SERIES, LRS)):
        for old, new in zip(before, after):
            assert np.linalg.norm(new - old) == pytest.approx(lr * np.linalg.norm(old), rel=1e-9)  # float64
        before = after


@pytest.mark.parametrize(("name", "first"), [("lars", lambda g: g), ("lamb", np.sign)])
def test_a_layer_that_starts_at_zero_takes_the_plain_step(name, first):
    """LARS is then SGD, and LAMB is Adam, whose first step is the sign of the gradient."""
    param = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    (moved,) = walk(make(name, [param], weight_decay=0.0), [param], [[SERIES[0][0]]], [0.1])
    # LAMB's eps is 1e-6 of a gradient that is 0.05 or more.
    assert_close(moved[0], -0.1 * first(SERIES[0][0]), rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", ["lars", "lamb"])
def test_a_layer_without_gradient_or_decay_does_not_move(name):
    param = torch.ones(3, dtype=torch.float64, requires_grad=True)
    (moved,) = walk(make(name, [param], weight_decay=0.0), [param], [[np.zeros(3)]], [0.1])
    assert_close(moved[0], np.ones(3), rtol=0, atol=0)
