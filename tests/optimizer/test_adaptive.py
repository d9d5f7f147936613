"""Optimizers with a learning rate for each weight, as conf/optimizer sets them, against their papers in NumPy."""

from itertools import islice

import numpy as np
import pytest
import torch
from stepping import GRADIENTS, START, STEPS, displacements, gradient, make, replay, settings, trajectory
from torch.testing import assert_close

from trainer.config.catalog import file

EXACT = {"rtol": 1e-10, "atol": 1e-10}  # both sides in float64, weights near 1


def means(w, b1, b2):
    """Yield t, g, m and v of Adam; the new weights are sent in."""
    m, v, t = np.zeros(3), np.zeros(3), 0
    while True:
        t, g = t + 1, gradient(w)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        w = yield t, g, m, v


def steps(w, b1, b2, step):
    """Yield the weights under w += step(w, t, g, m, v)."""
    running = means(w, b1, b2)
    moments = next(running)
    while True:
        w = w + step(w, *moments)
        yield w
        moments = running.send(w)


def adam(w, lr, b1, b2, eps):
    """Kingma & Ba, 2015, algorithm 1."""
    return steps(w, b1, b2, lambda w, t, g, m, v: -lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps))


def adam_uncorrected(w, lr, b1, b2, eps):
    return steps(w, b1, b2, lambda w, t, g, m, v: -lr * m / (np.sqrt(v) + eps))


def adamw(w, lr, b1, b2, eps, decay):
    """Loshchilov & Hutter, 2019, algorithm 2, where torch multiplies the decay by lr."""
    return steps(
        w, b1, b2, lambda w, t, g, m, v: -lr * ((m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps) + decay * w)
    )


def nadam(w, lr, b1, b2, eps, rise):
    """Dozat, 2016, algorithm 8 with his schedule of momentum."""

    def step(w, t, g, m, v):
        mu = b1 * (1 - 0.5 * 0.96 ** (rise * np.arange(1, t + 2)))  # mu_1 ... mu_{t+1}
        ahead = mu[t] * m / (1 - mu.prod()) + (1 - mu[t - 1]) * g / (1 - mu[:t].prod())
        return -lr * ahead / (np.sqrt(v / (1 - b2**t)) + eps)

    return steps(w, b1, b2, step)


def radam(w, lr, b1, b2, eps):
    """Liu et al., 2020, algorithm 2; torch and the authors' code rectify for rho > 5, the paper for rho > 4."""

    def step(w, t, g, m, v):
        last = 2 / (1 - b2) - 1
        rho = last - 2 * t * b2**t / (1 - b2**t)
        if rho <= 5:
            return -lr * m / (1 - b1**t)
        r = np.sqrt((rho - 4) * (rho - 2) * last / ((last - 4) * (last - 2) * rho))
        return -lr * r * m / (1 - b1**t) * np.sqrt(1 - b2**t) / (np.sqrt(v) + eps)

    return steps(w, b1, b2, step)


def lion(w, lr, b1, b2, decay):
    """Chen et al., 2023, algorithm 2; lr multiplies the decay, too."""
    m = np.zeros(3)
    while True:
        g = gradient(w)
        w = w - lr * (np.sign(b1 * m + (1 - b1) * g) + decay * w)
        m = b2 * m + (1 - b2) * g
        yield w


def adagrad(w, lr, eps):
    """Duchi et al., 2011, with the diagonal matrix."""
    total = np.zeros(3)
    while True:
        g = gradient(w)
        total = total + g**2
        w = w - lr * g / (np.sqrt(total) + eps)
        yield w


def adadelta(w, lr, rho, eps):
    """Zeiler, 2012, algorithm 1."""
    square, moved = np.zeros(3), np.zeros(3)
    while True:
        g = gradient(w)
        square = rho * square + (1 - rho) * g**2
        step = -np.sqrt(moved + eps) / np.sqrt(square + eps) * g
        moved = rho * moved + (1 - rho) * step**2
        w = w + lr * step
        yield w


def rmsprop(w, lr, decay, eps):
    square = np.zeros(3)
    while True:
        g = gradient(w)
        square = decay * square + (1 - decay) * g**2
        w = w - lr * g / (np.sqrt(square) + eps)
        yield w


def adamax(w, lr, b1, b2, eps):
    """Kingma & Ba, 2015, algorithm 2; torch adds eps to |g|."""
    m, u, t = np.zeros(3), np.zeros(3), 0
    while True:
        t, g = t + 1, gradient(w)
        m, u = b1 * m + (1 - b1) * g, np.maximum(b2 * u, np.abs(g) + eps)
        w = w - lr / (1 - b1**t) * m / u
        yield w


@pytest.mark.parametrize(
    ("paper", "numbers"),
    [
        (adagrad, [0.01, 1e-7]),
        (adadelta, [1.0, 0.95, 1e-6]),
        (rmsprop, [1e-3, 0.9, 1e-7]),
        (adam, [1e-3, 0.9, 0.999, 1e-8]),
        (adam_uncorrected, [1e-3, 0.9, 0.999, 1e-7]),
        (adamw, [1e-3, 0.9, 0.999, 1e-8, 0.01]),
        (adamax, [2e-3, 0.9, 0.999, 1e-8]),
        (nadam, [2e-3, 0.9, 0.999, 1e-8, 4e-3]),
        (radam, [1e-3, 0.9, 0.999, 1e-8]),
        (lion, [1e-4, 0.9, 0.99, 0.1]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_ten_steps_are_the_papers(paper, numbers):
    found = trajectory(paper.__name__, steps=10)
    # NAdam keeps the product of its momenta as a float32 number: 1e-7 of steps of 2e-3.
    close = {"rtol": 0, "atol": 1e-9} if paper is nadam else EXACT
    assert_close(found, np.array(list(islice(paper(START, *numbers), 10))), **close)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e6])
@pytest.mark.parametrize(("name", "multiple"), [("adam", 1.0), ("adam_uncorrected", 0.1 / np.sqrt(0.001))])
def test_adams_first_step_whatever_the_gradients_size(name, multiple, size):
    """The learning rate with the correction, 3.16 times that without."""
    signs = np.array([1.0, -1.0, 1.0])
    first = displacements(name, lambda w: size * signs, steps=1, eps=1e-12)[0]
    assert_close(-first, multiple * 1e-3 * signs, rtol=1e-7, atol=0)  # eps is at most 1e-12 / (0.0316 1e-3) of the root


@pytest.mark.parametrize(
    "name", ["adam", "adam_uncorrected", "adagrad", "adadelta", "rmsprop", "adamax", "nadam", "radam"]
)
def test_weights_do_not_move_while_the_gradient_is_zero(name):
    assert_close(trajectory(name, lambda w: np.zeros(3)), np.tile(START, (STEPS, 1)), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["adam", "adam_uncorrected"])
def test_adams_means_forget_a_large_gradient(name):
    gradients = np.array([[100.0, -2.0, 3.0], [1.0, 0.1, -3.0], [-1.0, 0.1, 3.0]])
    found = displacements(name, replay(gradients), steps=3)
    for t in range(3):
        past, age = gradients[: t + 1], np.arange(t, -1, -1)
        corrected = name == "adam"
        mean, square = (
            np.average(past, axis=0, weights=0.9**age),
            np.average(past**2, axis=0, weights=0.999**age),
        )  # the means, unrolled
        if not corrected:
            mean, square = mean * (1 - 0.9 ** (t + 1)), square * (1 - 0.999 ** (t + 1))
        # Float64 weights near 1.
        assert_close(found[t], -1e-3 * mean / (np.sqrt(square) + settings(name).eps), rtol=1e-10, atol=1e-14)


def test_an_l2_penalty_in_adam_is_not_weight_decay():
    """With no other gradient the penalty moves every weight by lr, and decay in proportion to the weight."""
    penalised = displacements("adam", lambda w: 0.01 * w, steps=1)[0]
    assert_close(penalised, -1e-3 * np.sign(START), rtol=1e-5, atol=0)  # eps is 1e-8 / (0.01 0.5) of the root
    # Differences of float64 weights.
    assert_close(displacements("adamw", lambda w: np.zeros(3), steps=1)[0], -1e-3 * 0.01 * START, rtol=1e-9, atol=0)


def test_adamw_does_not_decay_a_group_of_weight_decay_zero():
    weight, bias = (torch.ones(1, requires_grad=True) for _ in range(2))
    optimizer = make("adamw", [{"params": [weight]}, {"params": [bias], "weight_decay": 0.0}])
    weight.grad, bias.grad = torch.zeros(1), torch.zeros(1)
    optimizer.step()
    assert weight.item() == pytest.approx(1 - 1e-5, abs=1e-7) and bias.item() == 1  # float32 near 1


def test_adagrads_steps_decay_to_zero():
    sizes = np.abs(displacements("adagrad", lambda w: np.ones(3), steps=100))
    # Eps is 1e-7 of the root.
    assert_close(sizes, 0.01 / np.sqrt(np.arange(1, 101))[:, None] * np.ones(3), rtol=1e-6, atol=0)


def test_adagrad_damps_the_steep_direction_and_speeds_up_the_flat_one():
    """On (100 x^2 + y^2) / 2 from (1, 1) both weights take the same path; descent is 100 times as fast along x."""
    curvature = np.array([100.0, 1.0])
    adaptive = displacements("adagrad", lambda w: curvature * w, start=[1.0, 1.0], steps=20)
    plain = displacements("sgd", lambda w: curvature * w, start=[1.0, 1.0], steps=1, lr=1e-3)[0]
    assert plain[0] / plain[1] == pytest.approx(100, rel=1e-9)
    assert_close(adaptive[:, 0], adaptive[:, 1], rtol=1e-5, atol=0)  # but for eps, 1e-7 of the flat root
    assert (adaptive[:, 0] < 0).all()


def test_lion_steps_by_the_sign_of_a_mean_with_a_larger_weight_on_the_new_gradient_than_the_stored_mean():
    gradients, m, signs = np.random.default_rng(4).normal(size=(200, 3)), np.zeros(3), []
    for g in gradients:
        signs.append(-np.sign(0.9 * m + 0.1 * g))
        m = 0.99 * m + 0.01 * g
    found = displacements("lion", replay(gradients), steps=200, weight_decay=0.0)
    assert_close(found, 1e-4 * np.array(signs), rtol=1e-9, atol=0)  # differences of float64 weights near 1


def test_adam_uncorrected_takes_other_means():
    g1, g2 = GRADIENTS[:2]
    second = displacements("adam_uncorrected", replay(GRADIENTS), steps=2, betas=[0.5, 0.75], eps=0.1, lr=0.2)[1]
    expected = -0.2 * (0.25 * g1 + 0.5 * g2) / (np.sqrt(0.1875 * g1**2 + 0.25 * g2**2) + 0.1)
    assert_close(second, expected, **EXACT)


def test_lion_moves_every_weight_by_the_rate():
    # Float64.
    assert_close(
        np.abs(displacements("lion", replay(GRADIENTS), weight_decay=0.0)), np.full((STEPS, 3), 1e-4), rtol=1e-9, atol=0
    )


def test_radam_adapts_from_step_6_on_where_the_paper_would_from_step_5():
    """Until then a step is lr times the corrected mean, of any size; from then on it is bounded by some lr."""
    ahead = [last - 2 * t * 0.999**t / (1 - 0.999**t) for last in [2 / 0.001 - 1] for t in (4, 5, 6)]
    assert ahead[0] < 4 < ahead[1] < 5 < ahead[2]
    moved = np.abs(displacements("radam", lambda w: 1e6 * np.ones(3), steps=6, lr=1e-3))
    assert_close(moved[:5], np.full((5, 3), 1e3), rtol=1e-9, atol=0)
    assert moved[5].max() < 1e-3


@pytest.mark.parametrize(
    ("option", "words"), [("radam", "rho > 5"), ("ranger", "rho > 5"), ("nadam", "beta1 of the step")]
)
def test_an_option_that_is_torchs_and_not_its_papers_says_so(option, words):
    assert words in file("optimizer", option).read_text().splitlines()[0]


WITHOUT_EPS = {  # the first step over lr, of a gradient g, without what keeps the denominator from 0
    "adagrad": np.sign, "adam": np.sign, "adamw": np.sign, "adamax": np.sign,
    "rmsprop": lambda g: np.sign(g) / 0.1**0.5, "adam_uncorrected": lambda g: np.sign(g) * 0.1 / 0.001**0.5,
    "schedule_free": np.sign, "lamb": lambda g: np.sign(g) * np.linalg.norm(START) / 3**0.5,
}  # fmt: skip


@pytest.mark.parametrize("option", WITHOUT_EPS)
def test_eps_0_is_the_formula_without_it_however_small_the_gradient(option):
    changes = {"weight_decay": 0.0} if "weight_decay" in settings(option) else {}
    g = np.array([1e-12, -3e-11, 2e-10])
    (moved,) = displacements(option, lambda w: g, steps=1, lr=1e-2, eps=0.0, **changes)
    assert_close(-moved / 1e-2, WITHOUT_EPS[option](g), rtol=1e-6, atol=0)
