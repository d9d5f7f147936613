"""Gradient descent and momentum as conf/optimizer sets them, against the papers' formulas in NumPy."""

from itertools import islice

import numpy as np
import pytest
import torch
from stepping import GRADIENTS, START, STEPS, displacements, gradient, make, replay, trajectory
from torch.testing import assert_close

from trainer.config.catalog import file

EXACT = {"rtol": 1e-10, "atol": 1e-10}  # both sides in float64, weights near 1
HALVED = [0.05, 0.05, 0.05, 0.025, 0.0125]  # a rate that falls


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


def rate_inside(w, lr, m):
    """Sutskever et al., 2013, eq. (1) and (2)."""
    v = np.zeros(3)
    while True:
        v = m * v - lr * gradient(w)
        w = w + v
        yield w


def nesterov(w, lr, m):
    """Sutskever et al., 2013, eq. (3) and (4), in theta; the optimizer's weights are theta + m v."""
    theta, v = w, np.zeros(3)
    while True:
        v = m * v - lr * gradient(theta + m * v)
        theta = theta + v
        yield theta + m * v


def nesterov_rewritten(w, lr, m):
    """The change of variables of the cs231n lectures: x += -m old_v + (1 + m) v."""
    v = np.zeros(3)
    while True:
        old, v = v, m * v - lr * gradient(w)
        w = w - m * old + (1 + m) * v
        yield w


@pytest.mark.parametrize(
    ("name", "paper", "numbers"),
    [
        ("gd", descent, [0.5]),
        ("sgd", descent, [0.1]),
        ("momentum", heavy_ball, [0.05, 0.9]),
        ("momentum_velocity", rate_inside, [0.05, 0.9]),
        ("momentum_velocity", heavy_ball, [0.05, 0.9]),  # the same path at a constant rate
        ("nesterov", nesterov, [0.05, 0.9]),
        ("nesterov", nesterov_rewritten, [0.05, 0.9]),
    ],
)
def test_five_steps_are_the_papers(name, paper, numbers):
    assert_close(trajectory(name), np.array(list(islice(paper(START, *numbers), STEPS))), **EXACT)


@pytest.mark.parametrize("name", ["momentum", "momentum_velocity"])
def test_a_momentum_step_is_the_decayed_sum_of_gradients(name):
    g1, g2, g3, _, g5 = GRADIENTS
    u1, u2, u3, _, u5 = displacements(name, replay(GRADIENTS)) / 0.05
    assert_close(u1, -g1, **EXACT)
    assert_close(u2, -0.9 * g1 - g2, **EXACT)
    assert_close(u3, -0.81 * g1 - 0.9 * g2 - g3, **EXACT)
    assert_close(u5, -sum(0.9 ** (4 - s) * GRADIENTS[s] for s in range(5)), **EXACT)


@pytest.mark.parametrize("name", ["momentum", "momentum_velocity", "nesterov"])
def test_momentum_is_the_fraction_of_the_velocity_kept(name):
    """After one gradient and then none, each step is this fraction of the last."""
    found = displacements(name, replay([GRADIENTS[0], *np.zeros((4, 3))]), momentum=0.5)
    assert_close(found[2:] / found[1:-1], np.full((3, 3), 0.5), **EXACT)


def test_the_two_forms_of_momentum_differ_once_the_rate_changes():
    outside, inside = (displacements(name, replay(GRADIENTS), lrs=HALVED) for name in ("momentum", "momentum_velocity"))
    for t, lr in enumerate(HALVED):
        ages = range(t, -1, -1)
        # The last rate for all gradients.
        assert_close(outside[t], -lr * sum(0.9**age * g for age, g in zip(ages, GRADIENTS)), **EXACT)
        # Each at its own.
        assert_close(inside[t], -sum(0.9**age * then * g for age, then, g in zip(ages, HALVED, GRADIENTS)), **EXACT)
    assert_close(outside[:3], inside[:3], **EXACT)
    assert np.abs(outside[3] - inside[3]).min() > 1e-3  # 0.9 (0.05 - 0.025) v, with v the size of a gradient


def test_only_a_velocity_that_holds_the_rate_moves_weights_at_a_rate_of_zero():
    lrs = [0.05, 0.0]
    assert_close(displacements("momentum", replay(GRADIENTS), steps=2, lrs=lrs)[1], np.zeros(3), **EXACT)
    assert_close(
        displacements("momentum_velocity", replay(GRADIENTS), steps=2, lrs=lrs)[1], -0.9 * 0.05 * GRADIENTS[0], **EXACT
    )


def test_dampening_leaves_out_a_fraction_of_every_gradient_but_the_first():
    u = displacements("momentum", replay(GRADIENTS), steps=2, dampening=0.25) / 0.05
    assert_close(u, np.array([-GRADIENTS[0], -0.9 * GRADIENTS[0] - 0.75 * GRADIENTS[1]]), **EXACT)


@pytest.mark.parametrize(
    ("limit", "stages"), [(0.9, [1 / 2, 3 / 4, 5 / 6, 7 / 8, 0.9, 0.9]), (0.8, [1 / 2, 3 / 4, 0.8, 0.8, 0.8, 0.8])]
)
def test_momentum_anneals_in_stages_from_a_half(limit, stages):
    t = np.arange(12)
    paper = np.minimum(
        1 - 2.0 ** (-1 - np.log2(t // 2 + 1)), limit
    )  # Sutskever et al., 2013, eq. (5), with stages of 2
    assert_close(paper, np.repeat(stages, 2), **EXACT)
    gradients, v, expected = np.random.default_rng(1).normal(size=(12, 3)), np.zeros(3), []
    for m, g in zip(paper, gradients):
        v = m * v + g
        expected.append(-0.05 * v)
    found = displacements("momentum", replay(gradients), steps=12, momentum=limit, anneal=2)
    assert_close(found, np.array(expected), **EXACT)


def test_annealing_continues_from_a_checkpoint():
    def stepped(optimizer, weight, gradients):
        for g in gradients:
            weight.grad = torch.from_numpy(g)
            optimizer.step()

    gradients = np.random.default_rng(1).normal(size=(8, 3))
    through, before = (torch.tensor(START, requires_grad=True) for _ in range(2))
    stepped(make("momentum", [through], anneal=2), through, gradients)
    first = make("momentum", [before], anneal=2)
    stepped(first, before, gradients[:5])
    after = before.detach().clone().requires_grad_()
    second = make("momentum", [after], anneal=2)
    second.load_state_dict(first.state_dict())
    stepped(second, after, gradients[5:])
    assert torch.equal(through, after)


def test_nesterov_takes_the_gradient_one_step_ahead():
    g1, g2 = GRADIENTS[:2]
    assert_close(
        displacements("nesterov", replay(GRADIENTS), steps=2) / 0.05,
        np.array([-1.9 * g1, -0.81 * g1 - 1.9 * g2]),
        **EXACT,
    )


def test_an_l2_penalty_is_weight_decay_for_plain_descent():
    penalised = trajectory("sgd", lambda w: gradient(w) + 0.2 * w)
    w, decayed = START, []
    for _ in range(STEPS):
        w = (1 - 0.1 * 0.2) * w - 0.1 * gradient(w)
        decayed.append(w)
    assert_close(penalised, np.array(decayed), **EXACT)


def test_momentum_breaks_the_equality_of_an_l2_penalty_and_weight_decay():
    """The second step carries m times the first step's penalty along, which decay does not."""
    arriving = replay(GRADIENTS)
    penalised = trajectory("momentum", lambda w: arriving(w) + 0.2 * w, steps=2)
    g1, g2 = GRADIENTS[:2]
    w1 = START - 0.05 * (g1 + 0.2 * START)
    decayed = w1 - 0.05 * (0.9 * g1 + g2) - 0.05 * 0.2 * w1
    assert_close(penalised[0], w1, **EXACT)
    assert_close(penalised[1] - decayed, -0.05 * 0.9 * 0.2 * START, **EXACT)


@pytest.mark.parametrize("option", ["momentum", "momentum_velocity", "nesterov"])
def test_momentum_0_is_plain_descent(option):
    assert_close(trajectory(option, momentum=0.0, lr=0.05), trajectory("sgd", lr=0.05), rtol=1e-12, atol=1e-12)


def test_the_exception_of_dampenings_first_step_is_said_where_it_is_set():
    (line,) = [line for line in file("optimizer", "momentum").read_text().splitlines() if line.startswith("dampening")]
    assert "not in the first step, where v = g" in line
