"""Newton's method, BFGS, L-BFGS and K-FAC, against their textbooks and papers in NumPy."""

import copy
import math

import numpy as np
import pytest
import torch
from stepping import closure_of, make, parameter
from torch import nn
from torch.nn.utils.parametrize import register_parametrization
from torch.testing import assert_close

from trainer.base.errors import ConfigError
from trainer.engine.build import build_run
from trainer.optimizer.bfgs import Bfgs
from trainer.optimizer.kfac import Kfac
from trainer.optimizer.lbfgs import Lbfgs
from trainer.optimizer.newton import Newton
from trainer.optimizer.sam import Sam

EXACT = {"rtol": 1e-9, "atol": 1e-10}  # both sides in float64
DRAWS = np.random.default_rng(0)
ROOT = DRAWS.normal(size=(5, 5))
A, B = ROOT @ ROOT.T + np.eye(5), DRAWS.normal(size=5)
SOLUTION = np.linalg.solve(A, B)


def quadratic(w):
    return w @ torch.from_numpy(A) @ w / 2 - torch.from_numpy(B) @ w


def quartic(w):
    """With a Hessian that no two points share."""
    return quadratic(w) + w.pow(4).sum() / 4


def quartic_gradient(w):
    return A @ w - B + w**3


START = np.array([1.0, -1.0, 2.0, 0.5, -2.0])


def test_newton_finds_the_minimum_of_a_quadratic_in_one_step():
    w = parameter(START)
    Newton([w], damping=0.0).step(closure_of(lambda: quadratic(w), [w]))
    assert_close(w.detach().numpy(), SOLUTION, **EXACT)


def test_five_steps_of_newton_over_two_groups_are_the_formula():
    a, b = parameter(START[:2]), parameter(START[2:].reshape(3, 1))
    optimizer = Newton([{"params": [b]}, {"params": [a], "lr": 0.5}], lr=0.8, damping=0.3)
    w, rate = START, np.array([0.5, 0.5, 0.8, 0.8, 0.8])
    for _ in range(5):
        optimizer.step(closure_of(lambda: quartic(torch.cat([a, b.flatten()])), [a, b]))
        w = w - rate * np.linalg.solve(A + np.diag(3 * w**2) + 0.3 * np.eye(5), quartic_gradient(w))
        assert_close(torch.cat([a, b.flatten()]).detach().numpy(), w, **EXACT)
    assert a.grad is None and b.grad is None  # the graph is gone with them


def test_newton_of_a_dense_layer_is_reweighted_least_squares():
    """Logistic regression: H = X^T diag(p (1 - p)) X / n, the gradient X^T (p - t) / n."""
    x, t = DRAWS.normal(size=(20, 3)), DRAWS.integers(0, 2, size=20).astype(float)
    layer = nn.Linear(3, 1, dtype=torch.float64)
    theta, full = np.zeros(4), np.hstack([x, np.ones((20, 1))])
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    images, targets = torch.from_numpy(x), torch.from_numpy(t)[:, None]
    optimizer = Newton([{"params": [layer.weight]}, {"params": [layer.bias]}], damping=1e-3)
    for _ in range(4):
        optimizer.step(
            closure_of(
                lambda: nn.functional.binary_cross_entropy_with_logits(layer(images), targets), list(layer.parameters())
            )
        )
        p = 1 / (1 + np.exp(-full @ theta))
        theta = theta - np.linalg.solve(full.T * (p * (1 - p)) @ full / 20 + 1e-3 * np.eye(4), full.T @ (p - t) / 20)
        assert_close(torch.cat([layer.weight[0], layer.bias]).detach().numpy(), theta, **EXACT)


@pytest.mark.parametrize(("absolute", "after"), [(False, [0.0, 0.0]), (True, [0.0, 2.0])])
def test_newton_goes_to_a_saddle_and_its_absolute_form_away(absolute, after):
    w = parameter([1.0, 1.0])  # of x^2 - y^2: the step is -(1, 1), with |H| it is (-1, 1)
    Newton([w], damping=0.0, absolute=absolute).step(closure_of(lambda: w[0].square() - w[1].square(), [w]))
    assert_close(w.detach().numpy(), np.array(after), **EXACT)


def test_newton_without_damping_leaves_a_flat_direction():
    w = parameter([3.0, 5.0])
    Newton([w], damping=0.0).step(closure_of(lambda: (w[0] + w[1]).square(), [w]))
    assert_close(w.detach().numpy(), np.array([-1.0, 1.0]), **EXACT)  # the nearest point with sum 0


def test_newton_with_a_linear_loss_steps_by_the_damping_alone():
    w = parameter([3.0, 5.0])
    Newton([w], damping=0.5).step(closure_of(lambda: w[0] - 2 * w[1], [w]))
    assert_close(w.detach().numpy(), np.array([1.0, 9.0]), **EXACT)


def test_newton_shows_numbers_that_are_not_finite():
    w = parameter([0.0])
    Newton([w]).step(closure_of(lambda: w.log().sum(), [w]))
    assert not w.isfinite().all()


@pytest.mark.parametrize(
    ("make", "limit", "need"), [(Newton, 2000, "newton needs a Hessian"), (Bfgs, 5000, "bfgs needs an inverse Hessian")]
)
def test_what_a_matrix_cannot_hold_is_refused(make, limit, need):
    make([torch.zeros(limit, requires_grad=True)])
    message = (
        f"{need} of N x N numbers: at most {limit} parameters, the model has {limit + 1}; "
        "try optimizer=lbfgs or model=linear"
    )
    with pytest.raises(ValueError, match=message):
        make([torch.zeros(limit, requires_grad=True), torch.zeros(1, requires_grad=True)])


@pytest.mark.parametrize("name", ["newton", "bfgs"])
def test_the_default_model_is_refused_by_name_and_the_linear_one_fits(name, composed):
    with pytest.raises(ConfigError, match=f"{name} needs .* the model has"):
        build_run(composed(f"optimizer={name}"))
    run = build_run(composed(f"optimizer={name}", "model=linear"))
    assert run.batch_size == len(run.train)


def wolfe(f, df, w, d, t, most=25):
    """Bisection for the weak Wolfe conditions (Nocedal & Wright, 2006, eq. 3.6)."""
    low, high, slope = 0.0, math.inf, df(w) @ d
    for _ in range(most):
        if f(w + t * d) > f(w) + 1e-4 * t * slope:
            high = t
        elif df(w + t * d) @ d < 0.9 * slope:
            low = t
        else:
            return t
        t = 2 * low if high == math.inf else (low + high) / 2
    return low


def bfgs(f, df, w, steps):
    """Nocedal & Wright, 2006, algorithm 6.1, the update as it is printed there (eq.

    6.17) and the first matrix of eq. (6.20).
    """
    h, eye = None, np.eye(len(w))
    for _ in range(steps):
        g = df(w)
        d = -g if h is None else -h @ g
        t = wolfe(f, df, w, d, min(1.0, 1 / np.abs(g).sum()) if h is None else 1.0)
        s, y = t * d, df(w + t * d) - g
        if h is None:
            h = y @ s / (y @ y) * eye
        rho = 1 / (y @ s)
        h = (eye - rho * np.outer(s, y)) @ h @ (eye - rho * np.outer(y, s)) + rho * np.outer(s, s)
        w = w + s
        yield w, h, s, y


def rosenbrock(w):
    return (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2


def rosenbrock_gradient(w):
    return np.array([2 * (w[0] - 1) - 400 * w[0] * (w[1] - w[0] ** 2), 200 * (w[1] - w[0] ** 2)])


@pytest.mark.parametrize(
    ("loss", "f", "df", "start"),
    [
        (quartic, lambda w: w @ A @ w / 2 - B @ w + (w**4).sum() / 4, quartic_gradient, START),
        (rosenbrock, rosenbrock, rosenbrock_gradient, np.array([-1.2, 1.0])),
    ],
    ids=["quartic", "rosenbrock"],
)
def test_steps_of_bfgs_are_the_textbooks(loss, f, df, start):
    w = parameter(start)
    optimizer = Bfgs([w])
    for after, h, s, y in bfgs(f, df, start, 8):
        before = f(w.detach().numpy())
        assert_close(
            optimizer.step(closure_of(lambda: loss(w), [w])).item(), before, **EXACT
        )  # the loss it started from
        assert_close(
            w.detach().numpy(), after, rtol=1e-7, atol=1e-8
        )  # eight steps of a method that divides by small differences
        inverse = optimizer.state[w]["inverse"].numpy()
        assert_close(inverse, h, rtol=1e-5, atol=1e-7)
        assert_close(inverse @ y, s, rtol=1e-6, atol=1e-8)  # the secant equation
        assert f(after) < before


def test_bfgs_finds_the_minimum_of_rosenbrocks_valley_and_the_inverse_hessian_there():
    w = parameter([-1.2, 1.0])
    optimizer = Bfgs([w])
    for _ in range(60):
        optimizer.step(closure_of(lambda: rosenbrock(w), [w]))
        if "inverse" in optimizer.state[w]:
            inverse = optimizer.state[w]["inverse"].clone()
    assert_close(w.detach().numpy(), np.ones(2), rtol=0, atol=1e-7)
    # H = [[802, -400], [-400, 200]]; the estimate is within some percent of it at the end
    assert_close(inverse.numpy(), np.array([[200.0, 400.0], [400.0, 802.0]]) / 400, rtol=0.1, atol=0)


def test_an_update_of_bfgs_is_of_rank_two():
    w = parameter(START)
    optimizer = Bfgs([w])
    estimates = []
    for _ in range(4):
        optimizer.step(closure_of(lambda: quartic(w), [w]))
        estimates.append(optimizer.state[w]["inverse"].numpy().copy())
    for before, after in zip(estimates, estimates[1:]):
        assert np.linalg.matrix_rank(after - before, tol=1e-10) == 2


def test_bfgs_stays_where_nothing_is_lower_and_forgets_its_estimate():
    w = parameter(START)
    optimizer = Bfgs([w], max_eval=5)
    for _ in range(2):
        optimizer.step(closure_of(lambda: quartic(w), [w]))
    before, asked = w.detach().clone(), []
    optimizer.step(
        closure_of(lambda: quartic(w) + w.detach().sub(before).abs().sum() * 1e6, [w], asked)
    )  # a wall that the gradient does not show
    assert torch.equal(w, before) and "inverse" not in optimizer.state[w] and len(asked) == 6
    optimizer.step(closure_of(lambda: 0 * w.sum(), [w]))
    assert torch.equal(w, before)


@pytest.mark.parametrize("search", ["strong_wolfe", None])
def test_lbfgs_takes_groups_as_one_and_is_torchs(search):
    a, b, whole = parameter([-1.2]), parameter([1.0]), parameter([-1.2, 1.0])
    keys = {"max_iter": 7, "max_eval": 12, "history_size": 2, "line_search_fn": search}
    ours = make("lbfgs", [{"params": [a]}, {"params": [b]}], **keys)
    theirs = torch.optim.LBFGS([whole], **keys)
    for _ in range(2):
        ours.step(closure_of(lambda: rosenbrock(torch.cat([a, b])) / 1000, [a, b]))
        theirs.step(closure_of(lambda: rosenbrock(whole) / 1000, [whole]))
        assert_close(torch.cat([a, b]).detach(), whole.detach(), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda w: Lbfgs([w], line_search_fn="armijo"), "line_search_fn must be strong_wolfe or null, got armijo"),
        (lambda w: Lbfgs([w], max_eval=0), "max_eval must be >= 1, got 0"),
        (
            lambda w: Kfac([w]).watch(nn.BatchNorm1d(3)),
            "kfac needs a dense layer or a convolution.*try optimizer=momentum",
        ),
    ],
)
def test_what_cannot_work_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(parameter(START))


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


IMAGES, TARGETS = torch.from_numpy(DRAWS.normal(size=(8, 3))), torch.from_numpy(DRAWS.normal(size=(8, 2)))


def test_kfac_of_a_batch_in_parts_is_that_of_the_whole():
    layers, optimizers = zip(*(dense() for _ in range(2)))
    for net in layers:
        net[1].eval()  # its statistics would differ between the parts
    optimizers[0].step(
        closure_of(lambda: (layers[0](IMAGES) - TARGETS).square().sum() / 8, list(layers[0].parameters()))
    )

    def in_parts():
        layers[1].zero_grad()
        for part in ([0, 1, 2], [3, 4, 5, 6, 7]):
            ((layers[1](IMAGES[part]) - TARGETS[part]).square().sum() / 8).backward()
        return torch.zeros(())

    optimizers[1].step(in_parts)
    for one, other in zip(layers[0].parameters(), layers[1].parameters()):
        assert_close(one, other, **EXACT)


def test_kfac_sees_only_the_batch_of_its_step():
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


def test_kfac_shows_numbers_that_are_not_finite():
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
