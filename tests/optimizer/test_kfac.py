"""K-FAC against its papers in NumPy."""

import copy

import numpy as np
import pytest
import torch
from stepping import closure_of
from torch import nn
from torch.nn.utils.parametrize import register_parametrization
from torch.testing import assert_close

from trainer.optimizer.kfac import Kfac
from trainer.optimizer.sam import Sam

EXACT = {"rtol": 1e-9, "atol": 1e-10}  # both sides in float64
DRAWS = np.random.default_rng(0)
IMAGES, TARGETS = torch.from_numpy(DRAWS.normal(size=(8, 3))), torch.from_numpy(DRAWS.normal(size=(8, 2)))


def kfac_inverses(a, g, damping):
    p = np.sqrt((np.trace(a) / len(a)) / (np.trace(g) / len(g)))
    return np.linalg.inv(a + p * np.sqrt(damping) * np.eye(len(a))), np.linalg.inv(
        g + np.sqrt(damping) / p * np.eye(len(g))
    )


def mlp_passes(w1, w2, x, t):
    """Return per sample the inputs of each layer and the gradient by its outputs, for tanh and half the MSE."""
    a0 = np.hstack([x, np.ones((len(x), 1))])
    h = np.tanh(a0 @ w1.T)
    g1 = h @ w2.T - t
    return [(a0, (g1 @ w2) * (1 - h**2)), (h, g1)]


@pytest.mark.parametrize("clip", [1e9, 1e-3])
@pytest.mark.parametrize(("update_every", "invert_every"), [(1, 1), (2, 3)])
def test_five_steps_of_kfac_are_the_papers(clip, update_every, invert_every):
    x, t = DRAWS.normal(size=(6, 3)), DRAWS.normal(size=(6, 2))
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2, bias=False)).double()
    lr, m, damping, decay = 0.1, 0.8, 0.02, 0.6
    optimizer = Kfac(
        net.parameters(),
        lr=lr,
        momentum=m,
        damping=damping,
        decay=decay,
        kl_clip=clip,
        update_every=update_every,
        invert_every=invert_every,
    )
    optimizer.watch(net)
    ws = [
        np.hstack([net[0].weight.detach().numpy(), net[0].bias.detach().numpy()[:, None]]),
        net[2].weight.detach().numpy().copy(),
    ]
    vs, factors, inverse, count = [0.0, 0.0], [None, None], [None, None], 0
    images, targets = torch.from_numpy(x), torch.from_numpy(t)
    for step in range(5):
        optimizer.step(
            closure_of(lambda: (net(images) - targets).square().sum() / 2 / len(images), list(net.parameters()))
        )
        passes = mlp_passes(*ws, x, t)
        grads = [g.T @ a / 6 for a, g in passes]
        if step % update_every == 0:
            count += 1
            past = min(1 - 1 / count, decay)
            for i, (a, g) in enumerate(passes):
                new = (a.T @ a / 6, g.T @ g / 6)
                factors[i] = (
                    new
                    if factors[i] is None
                    else tuple(past * old + (1 - past) * one for old, one in zip(factors[i], new))
                )
        if step % invert_every == 0:
            inverse = [kfac_inverses(*pair, damping) for pair in factors]
        us = [gi @ grad @ ai for (ai, gi), grad in zip(inverse, grads)]
        scale = min(1.0, np.sqrt(clip / (lr**2 * sum((u * grad).sum() for u, grad in zip(us, grads)))))
        vs = [m * v + scale * u for v, u in zip(vs, us)]
        ws = [w - lr * v for w, v in zip(ws, vs)]
        assert_close(torch.cat([net[0].weight, net[0].bias[:, None]], dim=1).detach().numpy(), ws[0], **EXACT)
        assert_close(net[2].weight.detach().numpy(), ws[1], **EXACT)


def test_kfac_of_one_layer_and_little_damping_is_the_natural_gradient():
    """The same function of the inputs comes out whatever basis the inputs are written in."""
    x, t, basis = DRAWS.normal(size=(12, 3)), DRAWS.normal(size=(12, 2)), DRAWS.normal(size=(3, 3)) + 2 * np.eye(3)
    outputs = []
    for mixed, start in ((x, np.eye(2, 3)), (x @ basis, np.eye(2, 3) @ np.linalg.inv(basis).T)):
        layer = nn.Linear(3, 2, bias=False, dtype=torch.float64)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(start))
        optimizer = Kfac(layer.parameters(), lr=0.5, damping=1e-14, kl_clip=1e9, invert_every=1)
        optimizer.watch(layer)
        images, targets = torch.from_numpy(mixed), torch.from_numpy(t)

        def loss(layer=layer, images=images, targets=targets):
            return (layer(images) - targets).square().sum() / 12

        for _ in range(3):
            optimizer.step(closure_of(loss, list(layer.parameters())))
        outputs.append(layer(images).detach().numpy())
    assert np.abs(outputs[0] - x @ np.eye(2, 3).T).max() > 0.1
    assert_close(outputs[0], outputs[1], rtol=0, atol=1e-5)  # sqrt(damping) = 1e-7 beside factors near 1


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # its even kernel costs a copy
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "mode"),
    [(1, 0, 1, "zeros"), (2, 1, 1, "zeros"), (1, "same", 1, "zeros"), (1, 1, 2, "reflect")],
)
def test_kfacs_factors_of_a_convolution_are_sums_over_its_places(bias, stride, padding, dilation, mode):
    layer = nn.Conv2d(2, 3, (3, 2), stride, padding, dilation, bias=bias, padding_mode=mode, dtype=torch.float64)
    images = torch.from_numpy(DRAWS.normal(size=(4, 2, 6, 5)))
    weights, start = list(layer.parameters()), layer.weight.detach().numpy().copy()
    optimizer = Kfac(weights, lr=0.1, damping=0.05, kl_clip=1e9)
    optimizer.watch(layer)
    chosen = []

    def loss():
        out = layer(images)
        chosen.append(torch.from_numpy(np.random.default_rng(1).normal(size=out.shape)))
        return (out * chosen[-1]).sum() / len(images)  # a sample's own gradient by its outputs is what was chosen

    optimizer.step(closure_of(loss, weights))
    given = chosen[0].numpy()
    if padding == "same":
        frame = ((1, 1), (0, 1))  # torch puts the odd one behind
    else:
        frame = ((padding, padding),) * 2
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), *frame), mode="reflect" if mode == "reflect" else "constant")
    a, g, grad = 0.0, 0.0, 0.0
    places = given.shape[2] * given.shape[3]
    for n in range(4):
        for i in range(given.shape[2]):
            for j in range(given.shape[3]):
                rows, columns = i * stride + dilation * np.arange(3), j * stride + dilation * np.arange(2)
                patch = padded[n][:, rows][:, :, columns].ravel()
                patch = np.append(patch, 1.0) if bias else patch
                a = a + np.outer(patch, patch) / 4
                g = g + np.outer(given[n, :, i, j], given[n, :, i, j]) / 4 / places
                grad = grad + np.outer(given[n, :, i, j], patch) / 4
    assert_close(optimizer.state[layer.weight]["inputs"].numpy(), a, **EXACT)
    assert_close(optimizer.state[layer.weight]["outputs"].numpy(), g, **EXACT)
    ai, gi = kfac_inverses(a, g, 0.05)
    update = gi @ grad @ ai
    assert_close(
        layer.weight.detach().numpy(), start - 0.1 * (update[:, :-1] if bias else update).reshape(start.shape), **EXACT
    )


def dense(**keys):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).double()
    optimizer = Kfac(net.parameters(), **keys)
    optimizer.watch(net)
    return net, optimizer


def test_kfac_of_accumulated_micro_batches_is_that_of_the_whole_batch():
    layers, optimizers = zip(*(dense() for _ in range(2)))
    for net in layers:
        net[1].eval()  # its statistics would differ between the parts
    optimizers[0].step(
        closure_of(lambda: (layers[0](IMAGES) - TARGETS).square().sum() / 8, list(layers[0].parameters()))
    )

    def accumulated():
        layers[1].zero_grad()
        for part in ([0, 1, 2], [3, 4, 5, 6, 7]):
            ((layers[1](IMAGES[part]) - TARGETS[part]).square().sum() / 8).backward()
        return torch.zeros(())

    optimizers[1].step(accumulated)
    for one, other in zip(layers[0].parameters(), layers[1].parameters()):
        assert_close(one, other, **EXACT)


def test_kfac_captures_only_the_batch_of_its_step():
    (net, optimizer), (alone, other) = dense(), dense()
    for each in (net, alone):
        each[1].eval()
    net(100 * IMAGES)  # outside of a step
    twin = copy.deepcopy(net)
    twin(100 * IMAGES)
    assert not optimizer.captured

    def closure():
        net.eval()
        net(100 * IMAGES)  # while evaluating
        net.train()
        net[1].eval()
        with torch.no_grad():
            net(100 * IMAGES)
        net.zero_grad()
        (net(IMAGES) - TARGETS).square().sum().div(8).backward()
        return torch.zeros(())

    optimizer.step(closure)
    other.step(closure_of(lambda: (alone(IMAGES) - TARGETS).square().sum() / 8, list(alone.parameters())))
    for one, two in zip(net.parameters(), alone.parameters()):
        assert_close(one, two, rtol=0, atol=0)
    for one, two in zip(twin.parameters(), dense()[0].parameters()):
        assert torch.equal(one, two)


def test_kfac_inside_sam_takes_its_factors_at_the_worst_point():
    layer = nn.Linear(3, 2, bias=False, dtype=torch.float64)
    start = layer.weight.detach().numpy().copy()
    optimizer = Sam(layer.parameters(), Kfac, rho=0.5)
    optimizer.watch(layer)
    optimizer.step(closure_of(lambda: (layer(IMAGES) - TARGETS).square().sum() / 2 / 8, list(layer.parameters())))
    x, t = IMAGES.numpy(), TARGETS.numpy()
    g = (x @ start.T - t).T @ x / 8
    near = start + 0.5 * g / np.sqrt((g**2).sum())
    own = x @ near.T - t
    assert_close(optimizer.base.state[layer.weight]["inputs"].numpy(), x.T @ x / 8, **EXACT)
    assert_close(optimizer.base.state[layer.weight]["outputs"].numpy(), own.T @ own / 8, **EXACT)


def test_kfac_is_momentum_for_what_it_has_no_factors_of():
    net = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2)).double()
    images, rest = torch.from_numpy(DRAWS.normal(size=(5, 4, 4, 4))), [0, 1, 2, 3]
    optimizer = Kfac(net.parameters(), lr=0.1, momentum=0.9)
    optimizer.watch(net)
    assert optimizer.layers == [net[3]]
    before = [weight.detach().clone() for weight in net.parameters()]
    optimizer.step(closure_of(lambda: net(images).square().mean(), list(net.parameters())))
    for index, weight in enumerate(net.parameters()):
        plain = torch.allclose(weight, before[index] - 0.1 * weight.grad, rtol=1e-10, atol=1e-12)
        assert plain == (index in rest)


def test_kfac_preconditions_the_weight_behind_a_parametrization():
    class Half(nn.Module):
        def forward(self, weight):
            return weight / 2

    layer = nn.Linear(3, 2, bias=False, dtype=torch.float64)
    register_parametrization(layer, "weight", Half())
    weight = layer.parametrizations.weight.original
    start = weight.detach().numpy().copy()
    optimizer = Kfac(layer.parameters(), lr=0.1, damping=0.1, kl_clip=1e9)
    optimizer.watch(layer)
    optimizer.step(closure_of(lambda: (layer(IMAGES) - TARGETS).square().sum() / 2 / 8, [weight]))
    x = IMAGES.numpy()
    own = x @ start.T / 2 - TARGETS.numpy()
    ai, gi = kfac_inverses(x.T @ x / 8, own.T @ own / 8, 0.1)
    assert_close(weight.detach().numpy(), start - 0.1 * gi @ (own.T @ x / 8 / 2) @ ai, **EXACT)


def test_kfac_passes_on_what_is_not_finite():
    net, optimizer = dense()
    optimizer.step(closure_of(lambda: net(IMAGES / 0).sum(), list(net.parameters())))
    assert not net[0].weight.isfinite().all()


def test_kfac_shrinks_a_step_until_its_change_is_the_bound():
    layer = nn.Linear(3, 2, bias=False, dtype=torch.float64)
    start = layer.weight.detach().clone()
    optimizer = Kfac(layer.parameters(), lr=0.5, damping=0.1, kl_clip=1e-4)
    optimizer.watch(layer)
    optimizer.step(closure_of(lambda: (layer(IMAGES) - TARGETS).square().sum() / 2 / 8, list(layer.parameters())))
    x = IMAGES.numpy()
    own = x @ start.numpy().T - TARGETS.numpy()
    grad = own.T @ x / 8
    ai, gi = kfac_inverses(x.T @ x / 8, own.T @ own / 8, 0.1)
    step = (start - layer.weight.detach()).numpy()
    full = 0.5 * gi @ grad @ ai
    shrunk = np.sqrt(1e-4 / (0.5 * (full * grad).sum()))  # lr^2 u . grad, with full = lr u
    assert shrunk < 1
    assert_close(step, shrunk * full, **EXACT)


def test_kfac_captures_nothing_after_a_step_that_its_closure_skips():
    net, optimizer = dense()

    def closure():
        (net(IMAGES) - TARGETS).square().sum().div(8).backward()
        raise StopIteration

    with pytest.raises(StopIteration):
        optimizer.step(closure)
    net(100 * IMAGES)
    assert not optimizer.captured


def test_kfac_refuses_a_model_without_a_layer_to_precondition():
    norm = nn.BatchNorm1d(3)
    with pytest.raises(ValueError, match="kfac needs a dense layer or a convolution.*try optimizer=momentum"):
        Kfac(norm.parameters()).watch(norm)
