"""Optimizers that see a weight as a matrix: Muon, Shampoo and SOAP, against their papers in NumPy."""

import numpy as np
import pytest
import torch
from scipy.linalg import fractional_matrix_power
from stepping import draws, make, walk
from torch import nn
from torch.testing import assert_close

from trainer.config.hydra_context import Invocation
from trainer.engine import build
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


SHAPES = [
    (3, 5),
    (3,),
    (6, 2),
    (4, 2, 3, 3),
    (3, 5),
    (2, 4),
]  # two alike, a tall one, a kernel, a bias; the last matrix is the head


@pytest.mark.parametrize("nesterov", [True, False])
def test_muon_is_its_authors_on_hidden_matrices_and_adamw_on_the_rest(nesterov):
    starts, series = draws(*SHAPES), [draws(*SHAPES, seed=seed) for seed in range(1, STEPS + 1)]
    weights = tensors(starts)
    groups = [
        {"params": [w for w in weights if w.dim() > 1]},
        {"params": [w for w in weights if w.dim() == 1], "weight_decay": 0.0},
    ]
    seen = walk(make("muon", groups, lr=0.1, weight_decay=0.3, adamw_lr=0.01, nesterov=nesterov), weights, series)
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
        assert_close(np.array([row[index] for row in seen]), np.array(paper), **EXACT)
    for place, index in enumerate((1, 5)):
        assert_close(np.array([row[index] for row in seen]), np.array([row[place] for row in usual]), **EXACT)


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


def test_muon_of_a_zero_gradient_stands_still():
    starts = draws((3, 2), (2, 2))
    weights = tensors(starts)
    seen = walk(make("muon", weights), weights, [[np.zeros((3, 2)), np.zeros((2, 2))]])
    for before, after in zip(starts, seen[0]):
        assert_close(after, before, rtol=0, atol=0)


def test_muons_parts_keep_rates_of_their_own_and_the_last_layer_is_adamws(composed):
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 8), nn.Linear(8, 3))
    optimizer = build.make_optimizer(composed("optimizer=muon"), net, 64, Invocation())
    rates = {id(weight): group["base_lr"] for group in optimizer.param_groups for weight in group["params"]}
    hidden = {id(net[0].weight), id(net[3].weight)}
    assert rates == {id(weight): 0.02 if id(weight) in hidden else 3e-4 for weight in net.parameters()}


def test_muon_gives_a_single_layer_to_adamw():
    starts, series = draws((2, 3), (2,)), [draws((2, 3), (2,), seed=seed) for seed in range(1, 4)]
    ours, theirs = tensors(starts), tensors(starts)
    ours = walk(make("muon", ours, adamw_lr=0.01), ours, series)
    theirs = walk(torch.optim.AdamW(theirs, lr=0.01, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0), theirs, series)
    for a, b in zip(ours[-1], theirs[-1]):
        assert_close(a, b, **EXACT)


def unfold(g, side):
    return np.moveaxis(g, side, 0).reshape(g.shape[side], -1)


def shampoo(w, gradients, lr, m, eps, every, sides):
    """Gupta et al., 2018, algorithm 2, with roots that are renewed every few steps."""
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
    seen = walk(
        make("shampoo", weights, lr=0.1, momentum=0.7, eps=1e-2, update_every=every, max_size=6), weights, series
    )
    paper = shampoo(start, [row[0] for row in series], 0.1, 0.7, 1e-2, every, sides)
    assert_close(
        np.array([row[0] for row in seen]), np.array(list(paper)), rtol=1e-8, atol=1e-8
    )  # fractional_matrix_power is good to 1e-10 or so


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
    yield w  # the first step only looks
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
    seen = walk(
        make("soap", weights, lr=0.05, betas=[0.8, 0.9], weight_decay=0.1, precondition_frequency=every),
        weights,
        series,
    )
    paper = soap(start, [row[0] for row in series], 0.05, (0.8, 0.9), 0.1, every)
    assert_close(
        np.array([row[0] for row in seen]), np.array(list(paper)), rtol=0, atol=1e-5
    )  # the library's QR is in float32


def test_soap_is_adam_on_vectors_after_its_first_look():
    (start,), series = draws((4,)), [draws((4,), seed=seed) for seed in range(1, 5)]
    ours, theirs = tensors([start]), tensors([start])
    ours = walk(make("soap", ours, lr=0.05), ours, series)
    theirs = walk(torch.optim.Adam(theirs, lr=0.05, betas=(0.95, 0.95), eps=1e-8), theirs, series[1:])
    assert_close(ours[0][0], start, rtol=0, atol=0)
    # eps stands beside the root of the uncorrected mean square: 1e-8 of 0.2
    assert_close(np.array([row[0] for row in ours[1:]]), np.array([row[0] for row in theirs]), rtol=0, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["muon", "shampoo", "soap", "kfac", "schedule_free", "ranger", "lbfgs", "bfgs"])
def test_a_gpu_steps_as_the_processor_does(name):
    shapes, found = [(6, 4), (4,), (3, 6)], []
    for device in ("cpu", "cuda"):
        weights = [
            torch.tensor(start, dtype=torch.float32, device=device, requires_grad=True) for start in draws(*shapes)
        ]
        targets = [torch.tensor(target, dtype=torch.float32, device=device) for target in draws(*shapes, seed=1)]
        optimizer = make(name, weights)

        def closure(optimizer=optimizer, weights=weights, targets=targets):
            optimizer.zero_grad()
            loss = sum((weight - target).square().sum() for weight, target in zip(weights, targets)) / 4
            loss.backward()
            return loss.detach()

        for _ in range(3):
            optimizer.step(closure)
        found.append([weight.detach().cpu() for weight in weights])
    for start, one, other in zip(draws(*shapes), *found):
        moved = (one - torch.from_numpy(start).float()).norm().item()
        assert (
            moved > 0 and (one - other).norm().item() <= (0.05 if name == "muon" else 1e-3) * moved
        )  # bfloat16 in Muon's iteration on CUDA, else float32
