"""LARS, LAMB and FTRL-Proximal against their papers in NumPy."""

import numpy as np
import pytest
import torch
from stepping import START, displacements, gradient, make, replay, trajectory, walk
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
    """As the build gives them: what decays, and what does not."""
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


def test_lars_moves_a_layer_by_its_share_whatever_the_gradients_size():
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
    """LARS then is SGD, and LAMB Adam, whose first step is the sign."""
    param = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    (moved,) = walk(make(name, [param], weight_decay=0.0), [param], [[SERIES[0][0]]], [0.1])
    assert_close(
        moved[0], -0.1 * first(SERIES[0][0]), rtol=1e-4, atol=0
    )  # LAMB's eps is 1e-6 of a gradient that is 0.05 or more


@pytest.mark.parametrize("name", ["lars", "lamb"])
def test_a_layer_without_gradient_or_decay_stands_still(name):
    param = torch.ones(3, dtype=torch.float64, requires_grad=True)
    (moved,) = walk(make(name, [param], weight_decay=0.0), [param], [[np.zeros(3)]], [0.1])
    assert_close(moved[0], np.ones(3), rtol=0, atol=0)


def leader(start, gradients, lrs, beta=1.0, l1=0.0, l2=0.0):
    """The weights that minimise what the paper writes down before its algorithm, found anew from all that has passed.

    sum_s g_s w + sum_s sigma_s (w - w_s)^2 / 2 + l1 |w| + l2 w^2 / 2,  sigma_1 + ... + sigma_t = (beta + sqrt(sum g^2))
    / lr_t; what stands before the first gradient, beta / lr_1, holds the weights to where they start.
    """
    points, sigmas, passed = [start], [np.full_like(start, beta / lrs[0])], []
    for g, lr in zip(gradients, lrs):
        passed.append(g)
        sigmas.append((beta + np.sqrt(np.sum(np.square(passed), axis=0))) / lr - np.sum(sigmas, axis=0))
        slope = np.sum(passed, axis=0) - np.sum(np.multiply(sigmas, [start, *points]), axis=0)
        curvature = np.sum(sigmas, axis=0) + l2
        right, left = -(slope + l1) / curvature, -(slope - l1) / curvature  # the minima where w > 0 and where w < 0
        points.append(np.where(right > 0, right, np.where(left < 0, left, 0.0)))
        yield points[-1]


@pytest.mark.parametrize(("l1", "l2"), [(0.0, 0.0), (4.0, 0.0), (0.0, 5.0), (4.0, 5.0)])
@pytest.mark.parametrize("lrs", [[0.1] * 5, LRS], ids=["constant", "schedule"])
def test_ftrl_follows_the_leader(l1, l2, lrs):
    gradients = np.array([g[0].ravel()[:3] for g in SERIES])
    found = trajectory("ftrl", replay(gradients), lrs=lrs, l1_strength=l1, l2_strength=l2)
    assert_close(found, np.array(list(leader(START, gradients, lrs, l1=l1, l2=l2))), **EXACT)


def algorithm(gradients, alpha, beta, l1, l2):
    """McMahan et al., 2013, algorithm 1, as printed: from weights of 0, each computed where it is needed."""
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
    adagrad, seen = torch.optim.Adagrad([weight], lr=0.1, eps=1.0), []
    for lr in LRS:
        adagrad.param_groups[0]["lr"] = lr
        weight.grad = torch.from_numpy(gradient(weight.detach().numpy()))
        adagrad.step()
        seen.append(weight.detach().numpy().copy())
    assert_close(trajectory("ftrl", lrs=LRS), np.array(seen), **EXACT)


def test_ftrl_stands_still_without_gradient_also_when_the_rate_changes_or_is_zero():
    gradients = [np.ones(3), *[np.zeros(3)] * 3, np.ones(3)]
    moved = displacements("ftrl", replay(gradients), lrs=[0.1, 0.01, 10.0, 0.0, 0.0])
    assert_close(
        moved[1:], np.zeros((4, 3)), rtol=0, atol=1e-11
    )  # z is rounded to 1e-16 of w / 0.01, and divided by 1 / 10


def test_ftrl_keeps_a_weight_exactly_zero_until_its_gradients_add_up_to_the_penalty():
    found = trajectory("ftrl", lambda w: np.array([0.3, -0.3, 0.1]), start=np.zeros(3), l1_strength=1.0)
    assert (
        (found == 0) == np.array([[True, True, True]] * 3 + [[False, False, True]] * 2)
    ).all()  # 4 x 0.3 is the first above 1
    assert (found[-1] * np.array([-1, 1, 1]) >= 0).all()


@pytest.mark.parametrize(
    ("name", "field", "rule", "bad"),
    [
        *[(name, "lr", "> 0", 0.0) for name in ("lars", "lamb", "ftrl")],
        *[(name, "weight_decay", ">= 0", -0.1) for name in ("lars", "lamb")],
        ("lars", "coefficient", "> 0", 0.0),
        ("lars", "momentum", r"in \[0, 1\)", 1.0),
        ("lamb", "eps", "> 0", 0.0),
        ("ftrl", "beta", "> 0", 0.0),
        ("ftrl", "l1_strength", ">= 0", -1.0),
        ("ftrl", "l2_strength", ">= 0", -1.0),
    ],
)
def test_numbers_out_of_range_are_refused(name, field, rule, bad):
    with pytest.raises(ValueError, match=f"{field} must be {rule}, got {bad}"):
        make(name, [torch.ones(1, requires_grad=True)], **{field: bad})
