"""FTRL-Proximal against its paper in NumPy."""

import numpy as np
import pytest
import torch
from stepping import START, displacements, gradient, replay, trajectory
from torch.testing import assert_close

EXACT = {"rtol": 1e-10, "atol": 1e-10}  # both sides in float64, weights near 1
LRS = [0.1, 0.1, 0.05, 0.2, 0.02]  # a schedule


def leader(start, gradients, lrs, beta=1.0, l1=0.0, l2=0.0):
    """Yield the minimum of the objective that the paper states before its algorithm, from all gradients so far.

    sum_s g_s w + sum_s sigma_s (w - w_s)^2 / 2 + l1 |w| + l2 w^2 / 2,  sigma_1 + ... + sigma_t = (beta + sqrt(sum g^2))
    / lr_t; the term before the first gradient, beta / lr_1, holds the weights to their initial values.
    """
    points, sigmas, past = [start], [np.full_like(start, beta / lrs[0])], []
    for g, lr in zip(gradients, lrs):
        past.append(g)
        sigmas.append((beta + np.sqrt(np.sum(np.square(past), axis=0))) / lr - np.sum(sigmas, axis=0))
        slope = np.sum(past, axis=0) - np.sum(np.multiply(sigmas, [start, *points]), axis=0)
        curvature = np.sum(sigmas, axis=0) + l2
        right, left = -(slope + l1) / curvature, -(slope - l1) / curvature  # the minima where w > 0 and where w < 0
        points.append(np.where(right > 0, right, np.where(left < 0, left, 0.0)))
        yield points[-1]


@pytest.mark.parametrize(("l1", "l2"), [(0.0, 0.0), (4.0, 0.0), (0.0, 5.0), (4.0, 5.0)])
@pytest.mark.parametrize("lrs", [[0.1] * 5, LRS], ids=["constant", "schedule"])
def test_ftrl_follows_the_leader(l1, l2, lrs):
    gradients = np.random.default_rng(2).normal(size=(5, 3))
    found = trajectory("ftrl", replay(gradients), lrs=lrs, l1_strength=l1, l2_strength=l2)
    assert_close(found, np.array(list(leader(START, gradients, lrs, l1=l1, l2=l2))), **EXACT)


def algorithm(gradients, alpha, beta, l1, l2):
    """McMahan et al., 2013, algorithm 1, as printed: from weights of 0, computed from z at each use."""
    z, n = np.zeros(3), np.zeros(3)

    def weights():
        return np.where(np.abs(z) <= l1, 0.0, -(z - np.sign(z) * l1) / ((beta + np.sqrt(n)) / alpha + l2))

    for g in gradients:
        sigma = (np.sqrt(n + g**2) - np.sqrt(n)) / alpha
        z, n = z + g - sigma * weights(), n + g**2
        yield weights()


@pytest.mark.parametrize(("beta", "l1", "l2"), [(1.0, 0.0, 0.0), (0.5, 0.7, 0.2)])
def test_ftrl_from_zero_is_the_algorithm_as_printed(beta, l1, l2):
    gradients = np.random.default_rng(3).normal(size=(30, 3))
    found = trajectory(
        "ftrl", replay(gradients), start=np.zeros(3), steps=30, beta=beta, l1_strength=l1, l2_strength=l2
    )
    assert_close(found, np.array(list(algorithm(gradients, 0.1, beta, l1, l2))), **EXACT)
    assert ((found == 0).any() and (found != 0).any()) or not l1


def test_ftrl_without_penalties_is_adagrad():
    weight = torch.tensor(START, requires_grad=True)
    adagrad, path = torch.optim.Adagrad([weight], lr=0.1, eps=1.0), []
    for lr in LRS:
        adagrad.param_groups[0]["lr"] = lr
        weight.grad = torch.from_numpy(gradient(weight.detach().numpy()))
        adagrad.step()
        path.append(weight.detach().numpy().copy())
    assert_close(trajectory("ftrl", lrs=LRS), np.array(path), **EXACT)


def test_ftrl_does_not_move_without_a_gradient_also_when_the_rate_changes_or_is_zero():
    gradients = [np.ones(3), *[np.zeros(3)] * 3, np.ones(3)]
    moved = displacements("ftrl", replay(gradients), lrs=[0.1, 0.01, 10.0, 0.0, 0.0])
    # Z is rounded to 1e-16 of w / 0.01, and divided by 1 / 10.
    assert_close(moved[1:], np.zeros((4, 3)), rtol=0, atol=1e-11)


def test_ftrl_keeps_a_weight_exactly_zero_until_its_gradients_add_up_to_the_penalty():
    found = trajectory("ftrl", lambda w: np.array([0.3, -0.3, 0.1]), start=np.zeros(3), l1_strength=1.0)
    assert (
        (found == 0) == np.array([[True, True, True]] * 3 + [[False, False, True]] * 2)
    ).all()  # 4 x 0.3 is the first above 1
    assert (found[-1] * np.array([-1, 1, 1]) >= 0).all()
