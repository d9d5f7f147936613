"""Muon against its source in NumPy."""

import numpy as np
import pytest
import torch
from stepping import draws, make, walk
from torch import nn
from torch.testing import assert_close

from trainer.base.layers import parameter_groups
from trainer.optimizer.muon import orthogonalized

EXACT = {"rtol": 1e-9, "atol": 1e-10}  # both sides in float64
STEPS = 5


def tensors(arrays):
    return [torch.tensor(array, requires_grad=True) for array in arrays]


def newton_schulz(g):
    """Jordan et al., 2024: five iterations of the quintic on the singular values, here through an SVD."""
    u, s, vt = np.linalg.svd(g, full_matrices=False)
    s = s / (np.sqrt((s**2).sum()) + 1e-7)
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return u * s @ vt


def muon(w, gradients, lr, decay, m=0.95, nesterov=True):
    b = np.zeros_like(w)
    for g in gradients:
        b = m * b + (1 - m) * g
        u = (1 - m) * g + m * b if nesterov else b
        rows, columns = len(w), w[0].size
        w = (
            w
            - lr * decay * w
            - lr * np.sqrt(max(1, rows / columns)) * newton_schulz(u.reshape(rows, columns)).reshape(w.shape)
        )
        yield w


# Two of one shape, a tall one, a kernel and a bias; the last matrix is the head.
SHAPES = [(3, 5), (3,), (6, 2), (4, 2, 3, 3), (3, 5), (2, 4)]


@pytest.mark.parametrize("nesterov", [True, False])
def test_muon_is_its_authors_on_hidden_matrices_and_adamw_on_the_rest(nesterov):
    starts, series = draws(*SHAPES), [draws(*SHAPES, seed=seed) for seed in range(1, STEPS + 1)]
    weights = tensors(starts)
    groups = [
        {"params": [w for w in weights if w.dim() > 1]},
        {"params": [w for w in weights if w.dim() == 1], "weight_decay": 0.0},
    ]
    path = walk(make("muon", groups, lr=0.1, weight_decay=0.3, adamw_lr=0.01, nesterov=nesterov), weights, series)
    rest = tensors([starts[1], starts[5]])
    adamw = torch.optim.AdamW(
        [{"params": rest[1:], "weight_decay": 0.3}, {"params": rest[:1], "weight_decay": 0.0}],
        lr=0.01,
        betas=(0.9, 0.95),
        eps=1e-10,
    )
    usual = walk(adamw, rest, [[row[1], row[5]] for row in series])
    for index in (0, 2, 3, 4):
        paper = list(muon(starts[index], [row[index] for row in series], 0.1, 0.3, nesterov=nesterov))
        assert_close(np.array([row[index] for row in path]), np.array(paper), **EXACT)
    for place, index in enumerate((1, 5)):
        assert_close(np.array([row[index] for row in path]), np.array([row[place] for row in usual]), **EXACT)


def test_muon_is_torchs_on_matrices():
    starts, series = draws((6, 4), (2, 3)), [draws((6, 4), (2, 3), seed=seed) for seed in range(1, STEPS + 1)]
    ours, theirs = tensors(starts), tensors(starts)
    ours, theirs = (
        walk(make("muon", ours, lr=0.1), ours, series),
        walk(torch.optim.Muon(theirs[:1], lr=0.1, weight_decay=0.0), theirs[:1], series),
    )
    # torch iterates in bfloat16: errors of 2^-9 times the quintic's slope (<= 3.4) ^ 5, in steps of 0.1 * 1.2
    assert_close(np.array([row[0] for row in ours]), np.array([row[0] for row in theirs]), rtol=0, atol=0.05)
    moved = np.linalg.norm(ours[-1][0] - starts[0])
    assert np.linalg.norm(ours[-1][0] - theirs[-1][0]) < 0.05 * moved


def test_newton_schulz_brings_singular_values_near_one_and_keeps_the_vectors():
    matrices = np.stack(draws((5, 8), (5, 8)))
    found = orthogonalized(torch.from_numpy(matrices), 5).numpy()
    for matrix, result in zip(matrices, found):
        u, s, vt = np.linalg.svd(matrix, full_matrices=False)
        core = u.T @ result @ vt.T
        assert_close(core, np.diag(np.diag(core)), rtol=0, atol=1e-10)
        assert (np.abs(np.diag(core) - 1) < 0.35).all()  # the quintic sends what does not start near 0 to 0.7 .. 1.2


def test_muon_does_not_move_while_the_gradient_is_zero():
    starts = draws((3, 2), (2, 2))
    weights = tensors(starts)
    path = walk(make("muon", weights), weights, [[np.zeros((3, 2)), np.zeros((2, 2))]])
    for before, after in zip(starts, path[0]):
        assert_close(after, before, rtol=0, atol=0)


def test_muons_parts_have_rates_of_their_own_and_the_last_layer_is_adamws():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 8), nn.Linear(8, 3))
    net.class_token = nn.Parameter(torch.zeros(1, 1, 8))  # of two dimensions and more, but no matrix
    optimizer = make("muon", parameter_groups(net))
    rates = {id(weight): group["lr"] for group in optimizer.param_groups for weight in group["params"]}
    hidden = {id(net[0].weight), id(net[3].weight)}
    assert rates == {id(weight): 0.02 if id(weight) in hidden else 3e-4 for weight in net.parameters()}


def test_muon_gives_a_single_layer_to_adamw():
    starts, series = draws((2, 3), (2,)), [draws((2, 3), (2,), seed=seed) for seed in range(1, 4)]
    ours, theirs = tensors(starts), tensors(starts)
    ours = walk(make("muon", ours, adamw_lr=0.01), ours, series)
    theirs = walk(torch.optim.AdamW(theirs, lr=0.01, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0), theirs, series)
    for a, b in zip(ours[-1], theirs[-1]):
        assert_close(a, b, **EXACT)
