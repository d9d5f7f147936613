"""AdEMAMix, ADOPT, MARS and Prodigy against their papers in NumPy, with groups of which one decays."""

import numpy as np
import pytest
import pytorch_optimizer
import torch
from stepping import draws, make, parameter, walk
from torch.testing import assert_close

EXACT = {"rtol": 1e-10, "atol": 1e-10}  # both sides in float64, weights near 1
SHAPES = [(3, 4), (2, 2, 2), (5,)]
STEPS = 8


def ademamix(gs, w, lr, betas=(0.9, 0.999, 0.9999), alpha=5.0, rise=None, eps=1e-8, decay=0.0):
    """Pagliardini et al., 2024, algorithm 1; the schedule of beta3 by half-lives, of which it is linear in t."""
    fast, slow, square = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(gs, start=1):
        weight, beta3 = alpha, betas[2]
        if rise is not None and t < rise:
            weight = alpha * t / rise
            first, last = (np.log(0.5) / np.log(beta) for beta in (betas[0], betas[2]))
            beta3 = 0.5 ** (1 / (first + (last - first) * t / rise))
        fast = betas[0] * fast + (1 - betas[0]) * g
        slow = beta3 * slow + (1 - beta3) * g
        square = betas[1] * square + (1 - betas[1]) * g**2
        root = np.sqrt(square / (1 - betas[1] ** t)) + eps
        w = w - lr * ((fast / (1 - betas[0] ** t) + weight * slow) / root + decay * w)
        yield w


def adopt(gs, w, lr, betas=(0.9, 0.9999), eps=1e-6, decay=0.0):
    """Taniguchi et al., 2024, algorithm 2, with the clipping at t^(1/4) of version 3, from t = 0 on."""
    mean, square = np.zeros_like(w), gs[0] ** 2
    yield w
    for t, g in enumerate(gs[1:], start=1):
        mean = betas[0] * mean + (1 - betas[0]) * np.clip(g / np.maximum(np.sqrt(square), eps), -(t**0.25), t**0.25)
        w = w - lr * (mean + decay * w)
        square = betas[1] * square + (1 - betas[1]) * g**2
        yield w


def mars(gs, w, lr, betas=(0.95, 0.99), gamma=0.025, eps=0.0, decay=0.0):
    """Yuan et al., 2024, algorithm 2 with the gradient of the batch before (MARS-approx)."""
    mean, square, last = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(gs, start=1):
        c = g + gamma * betas[0] / (1 - betas[0]) * (g - last)
        c = c / max(1.0, np.sqrt((c**2).sum()))
        mean, square, last = betas[0] * mean + (1 - betas[0]) * c, betas[1] * square + (1 - betas[1]) * c**2, g
        corrected = (mean / (1 - betas[0] ** t)) / (np.sqrt(square / (1 - betas[1] ** t)) + eps)
        w = w - lr * (corrected + decay * w)
        yield w


PAPERS = [
    (ademamix, {"lr": 0.01}, {}),
    (ademamix, {"lr": 0.1, "alpha": 2.0, "rise": 5, "betas": (0.8, 0.95, 0.99), "decay": 0.2},
     {"alpha": 2.0, "t_alpha_beta3": 5, "betas": [0.8, 0.95, 0.99]}),
    (ademamix, {"lr": 0.1, "betas": (0.0, 0.95, 0.99), "eps": 0.1, "decay": 0.1},
     {"betas": [0.0, 0.95, 0.99], "eps": 0.1}),
    (adopt, {"lr": 0.01}, {}),
    (adopt, {"lr": 0.1, "betas": (0.5, 0.8), "eps": 0.3, "decay": 0.2}, {"betas": [0.5, 0.8], "eps": 0.3}),
    (mars, {"lr": 0.01}, {"eps": 0.0}),
    (mars, {"lr": 0.1, "betas": (0.8, 0.9), "gamma": 0.5, "decay": 0.2},
     {"betas": [0.8, 0.9], "gamma": 0.5, "eps": 0.0}),
]  # fmt: skip


@pytest.mark.parametrize("size", [0.05, 3.0])  # for MARS below and above a norm of 1, for ADOPT growing gradients
@pytest.mark.parametrize(("paper", "numbers", "changes"), PAPERS)
def test_eight_steps_are_the_papers(paper, numbers, changes, size):
    starts = draws(*SHAPES)
    growth = np.linspace(1, 4, STEPS)
    series = [[size * factor * g for g in draws(*SHAPES, seed=t + 1)] for t, factor in enumerate(growth)]
    weights = [parameter(start) for start in starts]
    groups = [{"params": weights[:2]}, {"params": weights[2:], "weight_decay": 0.0}]
    changes = {"lr": numbers["lr"], "weight_decay": numbers.get("decay", 0.0), **changes}
    found = walk(make(paper.__name__, groups, **changes), weights, series)
    for index, start in enumerate(starts):
        own = {**numbers, "decay": 0.0} if index == 2 else numbers
        expected = list(paper([row[index] for row in series], start, **own))
        close = {"rtol": 0, "atol": 1e-8} if paper is mars else EXACT  # the library adds 1e-15 to the mean square
        assert_close(np.array([row[index] for row in found]), np.array(expected), **close)


def test_a_rate_of_a_schedule_is_the_steps_own():
    series, lrs = [draws((4,), seed=t) for t in range(1, 6)], [0.1, 0.05, 0.2, 0.0, 0.1]
    for name in ("ademamix", "adopt", "mars"):
        weight = parameter(np.ones(4))
        path = [np.ones(4), *(row[0] for row in walk(make(name, [weight]), [weight], series, lrs))]
        assert (path[4] == path[3]).all() and (path[5] != path[4]).all(), name


def test_adopts_first_step_is_that_of_each_weight():
    """A weight that has its first gradient later sets its mean square then, and does not move."""
    early, late = parameter([1.0, 2.0]), parameter([3.0])
    optimizer = make("adopt", [early, late], lr=0.1)
    for gradient in (None, [2.0], [2.0]):
        early.grad = torch.ones(2, dtype=torch.float64)
        late.grad = None if gradient is None else torch.tensor(gradient, dtype=torch.float64)
        before = late.item()
        optimizer.step()
    assert before == 3.0 and late.item() == pytest.approx(3.0 - 0.1 * 0.1, rel=1e-12)  # (1 - beta1) 2 / sqrt(2^2)


def test_the_librarys_adopt_is_the_papers_but_for_its_clipping():
    """Why it is not used: at the paper's t it clips at (t + 1)^(1/4)."""
    series = [[10.0**t * g for g in draws((4,), seed=1)] for t in range(4)]  # all clipped
    weight, other = parameter(np.ones(4)), parameter(np.ones(4))
    theirs = walk(pytorch_optimizer.ADOPT([weight], lr=0.01), [weight], series)
    ours = walk(make("adopt", [other], lr=0.01), [other], series)
    first = [np.abs(path[1][0] - 1) / (0.01 * 0.1) for path in (theirs, ours)]
    assert_close(first[0], np.full(4, 2**0.25), rtol=1e-10, atol=0)
    assert_close(first[1], np.ones(4), rtol=1e-10, atol=0)


def test_mars_eps_is_the_librarys():
    """The root and eps together are divided by sqrt(1 - beta2^t): 0.1 of it in the first step."""
    weight = parameter([1.0])
    (((found,),),) = walk(make("mars", [weight], lr=0.1, eps=0.5, gamma=0.0), [weight], [[np.array([0.2])]])
    c = 0.2
    assert found == pytest.approx(1 - 0.1 * c / ((np.sqrt(0.01 * c**2) + 0.5) / np.sqrt(0.01)), rel=1e-9)


def prodigy(gs, w, decays, lrs, betas=(0.9, 0.999), d=1e-6, d_coef=1.0, decay=0.0, eps=1e-8, correct=False):
    """Mishchenko & Defazio, 2024, algorithm 4, over one vector; `decays` are 1 where the weights decay."""
    start, m, v, s, r = w, np.zeros_like(w), np.zeros_like(w), np.zeros_like(w), 0.0
    for t, (g, lr) in enumerate(zip(gs, lrs), start=1):
        root = np.sqrt(betas[1])
        rate = lr * (np.sqrt(1 - betas[1] ** t) / (1 - betas[0] ** t) if correct else 1.0)
        m = betas[0] * m + (1 - betas[0]) * d * g
        v = betas[1] * v + (1 - betas[1]) * d**2 * g**2
        r = root * r + (1 - root) * rate * d**2 * g.dot(start - w)
        s = root * s + (1 - root) * rate * d**2 * g
        new = max(d, d_coef * r / np.abs(s).sum())
        w = w - rate * d * (m / (np.sqrt(v) + new * eps) + decay * decays * w)
        d = new
        yield w, d


@pytest.mark.parametrize(
    ("numbers", "changes"),
    [
        ({}, {}),
        ({"betas": (0.8, 0.95), "d": 1e-4, "d_coef": 0.5, "decay": 0.3},
         {"betas": [0.8, 0.95], "d0": 1e-4, "d_coef": 0.5, "weight_decay": 0.3}),
        ({"d": 1e-4, "correct": True}, {"d0": 1e-4, "bias_correction": True}),
    ],
)  # fmt: skip
def test_prodigy_is_the_papers_with_one_distance_for_all_weights(numbers, changes):
    starts = draws(*SHAPES)
    series = [[g + 1 for g in draws(*SHAPES, seed=t)] for t in range(1, 31)]  # a direction that lasts: d grows
    weights = [parameter(start) for start in starts]
    optimizer = make("prodigy", [{"params": weights[:2]}, {"params": weights[2:], "weight_decay": 0.0}], **changes)
    lrs = np.linspace(1.0, 0.5, 30)
    found = walk(optimizer, weights, series, lrs)
    joined = lambda parts: np.concatenate([part.ravel() for part in parts])  # noqa: E731
    decays = np.array([1.0] * 20 + [0.0] * 5)
    expected = list(prodigy(list(map(joined, series)), joined(starts), decays, lrs, **numbers))
    # The library keeps r and |s| in float32: some 1e-7 of d in every step, and so of the way.
    moved = max(np.abs(joined(found[-1]) - joined(starts)).max(), 1e-12)
    assert_close(np.array(list(map(joined, found))), np.array([w for w, _ in expected]), rtol=0, atol=1e-5 * moved)
    assert optimizer.param_groups[0]["d"] == pytest.approx(expected[-1][1], rel=1e-5)
    assert expected[-1][1] > 2 * numbers.get("d", 1e-6)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "ademamix",
            {"betas": [0.0, 0.9, 0.99], "t_alpha_beta3": 10},
            "beta1 and beta3 must be > 0 with t_alpha_beta3",
        ),
        ("ademamix", {"t_alpha_beta3": 0}, "t_alpha_beta3 must be >= 1, got 0"),
        ("adopt", {"eps": 0.0}, "eps must be > 0, got 0.0"),
        ("mars", {"gamma": -0.1}, "gamma must be >= 0, got -0.1"),
        ("prodigy", {"d0": 0.0}, "d0 must be > 0, got 0.0"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(name, changes, message):
    with pytest.raises(ValueError, match=message):
        make(name, [parameter([1.0])], **changes)
