"""Shampoo and SOAP against their papers in NumPy."""

import numpy as np
import pytest
import torch
from scipy.linalg import fractional_matrix_power
from stepping import draws, make, walk
from torch.testing import assert_close

EXACT = {"rtol": 1e-9, "atol": 1e-10}  # both sides in float64
STEPS = 5


def tensors(arrays):
    return [torch.tensor(array, requires_grad=True) for array in arrays]


def unfold(g, side):
    return np.moveaxis(g, side, 0).reshape(g.shape[side], -1)


def shampoo(w, gradients, lr, m, eps, every, sides):
    """Gupta et al., 2018, algorithm 2, with roots computed every few steps."""
    second, roots, v = {side: eps * np.eye(w.shape[side]) for side in sides}, {}, np.zeros_like(w)
    for t, g in enumerate(gradients):
        u = g
        for side in sides:
            second[side] = second[side] + unfold(g, side) @ unfold(g, side).T
            if t % every == 0:
                roots[side] = fractional_matrix_power(second[side], -1 / (2 * len(sides))).real
            u = np.moveaxis(np.tensordot(roots[side], u, axes=([1], [side])), 0, side)
        v = m * v + u
        w = w - lr * v
        yield w


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize(
    ("shape", "sides"),
    [
        ((4,), [0]),
        ((3, 4), [0, 1]),
        ((2, 3, 4), [0, 1, 2]),
        ((2, 3, 2, 2), [0, 1, 2, 3]),
        ((3, 7), [0]),
        ((7, 3), [1]),
        ((7,), []),
    ],
    ids=str,
)
def test_five_steps_of_shampoo_are_the_papers(shape, sides, every):
    (start,), series = draws(shape), [draws(shape, seed=seed) for seed in range(1, STEPS + 1)]
    weights = tensors([start])
    path = walk(
        make("shampoo", weights, lr=0.1, momentum=0.7, eps=1e-2, update_every=every, max_size=6), weights, series
    )
    paper = shampoo(start, [row[0] for row in series], 0.1, 0.7, 1e-2, every, sides)
    # Fractional_matrix_power is good to 1e-10 or so.
    assert_close(np.array([row[0] for row in path]), np.array(list(paper)), rtol=1e-8, atol=1e-8)


def test_shampoos_first_step_is_the_gradients_orthogonal_part():
    """L^(-1/4) G R^(-1/4) with L = G G^T and R = G^T G is U V^T."""
    (g,) = draws((4, 4))
    weights = tensors([np.zeros((4, 4))])
    after = walk(make("shampoo", weights, lr=1.0, eps=1e-12), weights, [[g]])[0][0]
    u, _, vt = np.linalg.svd(g)
    assert_close(after, -u @ vt, rtol=0, atol=1e-6)  # eps = 1e-12 beside squared singular values above 1e-3


def soap(w, gradients, lr, betas, decay, every, eps=1e-8):
    """Vyas et al., 2024, algorithm 3: Adam in the eigenbasis of L and R, refreshed by a power iteration and a QR."""
    left = (1 - betas[1]) * gradients[0] @ gradients[0].T
    right = (1 - betas[1]) * gradients[0].T @ gradients[0]
    ql, qr = np.linalg.eigh(left)[1][:, ::-1], np.linalg.eigh(right)[1][:, ::-1]
    m, v = np.zeros_like(w), np.zeros_like(w)
    yield w  # the first step only initialises the preconditioners
    for t, g in enumerate(gradients[1:], start=1):
        m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * (ql.T @ g @ qr) ** 2
        n = (ql.T @ m @ qr) / (1 - betas[0] ** t) / ((np.sqrt(v) + eps) / np.sqrt(1 - betas[1] ** t))
        w = (w - lr * ql @ n @ qr.T) * (1 - lr * decay)
        left, right = betas[1] * left + (1 - betas[1]) * g @ g.T, betas[1] * right + (1 - betas[1]) * g.T @ g
        if t % every == 0:
            up, across = np.argsort(-np.diag(ql.T @ left @ ql)), np.argsort(-np.diag(qr.T @ right @ qr))
            ql, qr, v = np.linalg.qr(left @ ql[:, up])[0], np.linalg.qr(right @ qr[:, across])[0], v[up][:, across]
        yield w


@pytest.mark.parametrize("every", [1, 2, 10])
def test_six_steps_of_soap_are_the_papers(every):
    (start,), series = draws((3, 4)), [draws((3, 4), seed=seed) for seed in range(1, 7)]
    weights = tensors([start])
    path = walk(
        make("soap", weights, lr=0.05, betas=[0.8, 0.9], weight_decay=0.1, precondition_frequency=every),
        weights,
        series,
    )
    paper = soap(start, [row[0] for row in series], 0.05, (0.8, 0.9), 0.1, every)
    # The library's QR is in float32.
    assert_close(np.array([row[0] for row in path]), np.array(list(paper)), rtol=0, atol=1e-5)


def test_soap_is_adam_on_vectors_after_its_first_step():
    (start,), series = draws((4,)), [draws((4,), seed=seed) for seed in range(1, 5)]
    ours, theirs = tensors([start]), tensors([start])
    ours = walk(make("soap", ours, lr=0.05), ours, series)
    theirs = walk(torch.optim.Adam(theirs, lr=0.05, betas=(0.95, 0.95), eps=1e-8), theirs, series[1:])
    assert_close(ours[0][0], start, rtol=0, atol=0)
    # eps is added to the root of the uncorrected mean square: 1e-8 of 0.2
    assert_close(np.array([row[0] for row in ours[1:]]), np.array([row[0] for row in theirs]), rtol=0, atol=1e-6)
