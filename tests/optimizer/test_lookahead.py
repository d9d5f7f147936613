"""Optimizers around others, and those scored at another point than they train at, against the papers in NumPy."""

import numpy as np
import pytest
import torch
from stepping import START, gradient, make, parameter, reloaded, settings, stepper
from torch import nn
from torch.testing import assert_close

from trainer.base.errors import ConfigError
from trainer.config.hydra_context import Invocation
from trainer.engine import build
from trainer.optimizer.lookahead import Lookahead
from trainer.optimizer.newton import Newton
from trainer.optimizer.ranger import Ranger
from trainer.optimizer.sam import Sam

EXACT = {"rtol": 1e-10, "atol": 1e-10}  # both sides in float64, weights near 1
LR, M = 0.05, 0.9


def momentum(params, lr=LR):
    return torch.optim.SGD(params, lr=lr, momentum=M)


def heavy_ball(w, v, g):
    v = M * v + g
    return w - LR * v, v


@pytest.mark.parametrize(("k", "alpha"), [(5, 0.5), (3, 0.8), (1, 0.25)])
def test_lookahead_is_the_papers_algorithm(k, alpha):
    weight = parameter(START)
    optimizer = Lookahead([weight], momentum, k=k, alpha=alpha)
    step = stepper(optimizer, [weight])
    slow = w = START
    v = np.zeros(3)
    for _outer in range(3):
        w = slow
        for _ in range(k):
            assert_close(weight.detach().numpy(), w, **EXACT)
            step()
            optimizer.eval()
            assert_close(
                weight.detach().numpy(),
                slow if len(step.points) % k else slow + alpha * (heavy_ball(w, v, gradient(w))[0] - slow),
                **EXACT,
            )
            optimizer.train()
            w, v = heavy_ball(w, v, gradient(w))
        slow = slow + alpha * (w - slow)
    assert_close(weight.detach().numpy(), slow, **EXACT)


def test_lookaheads_yaml_wraps_the_base_it_names(composed):
    layer = nn.Linear(3, 2)
    optimizer = build.make_optimizer(
        composed("optimizer=lookahead", "optimizer@optimizer.base=adam", "optimizer.base.eps=1e-3"),
        layer,
        64,
        Invocation(),
    )
    assert isinstance(optimizer.base, torch.optim.Adam)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-3] * len(optimizer.param_groups)
    assert optimizer.param_groups[0]["eps"] == 1e-3 and (optimizer.k, optimizer.alpha) == (5, 0.5)


@pytest.mark.parametrize("name", ["lookahead", "sam"])
def test_a_wrappers_rate_is_the_bases_unless_it_is_given(name, composed):
    layer = nn.Linear(3, 2)
    usual = build.make_optimizer(composed(f"optimizer={name}"), layer, 64, Invocation())
    given = build.make_optimizer(composed(f"optimizer={name}", "optimizer.lr=0.3"), layer, 64, Invocation())
    assert usual.base.param_groups[0]["lr"] == settings("momentum").lr and given.base.param_groups[0]["lr"] == 0.3
    with pytest.raises(ConfigError, match="lr must be > 0, got 0.0"):
        build.make_optimizer(composed(f"optimizer={name}", "optimizer.lr=0.0"), layer, 64, Invocation())


@pytest.mark.parametrize(
    "make",
    [Lookahead, Sam, lambda params, base: Lookahead(params, lambda inner: Sam(inner, base))],
    ids=["lookahead", "sam", "both"],
)
def test_a_rate_written_in_a_wrappers_groups_is_the_bases_also_after_loading(make):
    weight = parameter(START)
    optimizer = make([weight], momentum)
    step = stepper(optimizer, [weight], lambda ws: [np.ones(3)])
    for group in optimizer.param_groups:
        group["lr"] = 0.5
    step()
    assert_close(weight.detach().numpy(), START - 0.5, **EXACT)  # the gradient is 1 everywhere
    optimizer.load_state_dict(reloaded(optimizer.state_dict()))
    for group in optimizer.param_groups:
        group["lr"] = 0.25
    step()
    assert_close(weight.detach().numpy(), START - 0.5 - 0.25 * 1.9, **EXACT)


def test_lookahead_goes_on_bit_for_bit_from_a_checkpoint_made_where_it_is_scored():
    weight = parameter(START)
    optimizer = Lookahead([weight], momentum, k=4)
    step = stepper(optimizer, [weight])
    for _ in range(6):
        step()
    kept = weight.detach().clone()
    optimizer.eval()
    scored = weight.detach().clone()
    assert not torch.equal(scored, kept)
    resumed = scored.clone().requires_grad_()
    other = Lookahead([resumed], momentum, k=4)
    other.load_state_dict(reloaded(optimizer.state_dict()))
    optimizer.eval()  # twice is once
    assert torch.equal(weight, scored)
    optimizer.train()
    other.train()
    assert torch.equal(weight, kept) and torch.equal(resumed, kept)
    further = stepper(other, [resumed])
    for _ in range(3):
        step()
        further()
    assert torch.equal(weight, resumed)


def test_lookahead_before_its_first_step_is_scored_where_it_stands():
    weight = parameter(START)
    optimizer = Lookahead([weight], momentum)
    optimizer.eval()
    optimizer.train()
    assert_close(weight.detach().numpy(), START, rtol=0, atol=0)


def sam(ws, vs, rho):
    """Foret et al., 2021, algorithm 1, over a heavy ball; the norm is over all tensors."""
    gs = [gradient(w) for w in ws]
    norm = np.sqrt(sum((g**2).sum() for g in gs))
    near = [w + rho * g / norm for w, g in zip(ws, gs)]
    pairs = [heavy_ball(w, v, gradient(point)) for w, v, point in zip(ws, vs, near)]
    return near, [w for w, _ in pairs], [v for _, v in pairs]


def test_five_steps_of_sam_are_the_papers():
    ws, vs = [START, 2 * START + 1], [np.zeros(3), np.zeros(3)]
    weights = [parameter(w) for w in ws]
    step = stepper(Sam(weights, momentum, rho=0.3), weights)
    for index in range(5):
        near, after, vs = sam(ws, vs, 0.3)
        assert step().item() == 2 * index + 1  # the loss of the first of the two passes
        assert len(step.points) == 2 * index + 2
        assert_close(np.array(step.points[-2]), np.array(ws), **EXACT)
        assert_close(np.array(step.points[-1]), np.array(near), **EXACT)
        assert_close(np.array([weight.detach().numpy() for weight in weights]), np.array(after), **EXACT)
        ws = after


def test_lookahead_around_sam_is_both():
    ws, vs = [START], [np.zeros(3)]
    weight = parameter(START)
    optimizer = Lookahead([weight], lambda params: Sam(params, momentum, rho=0.1), k=2)
    step = stepper(optimizer, [weight])
    for _ in range(4):
        step()
    for _ in range(2):
        slow = ws[0]
        for _ in range(2):
            _, ws, vs = sam(ws, vs, 0.1)
        ws = [slow + 0.5 * (ws[0] - slow)]
    assert_close(weight.detach().numpy(), ws[0], **EXACT)


def test_sam_stands_still_where_the_gradient_is_zero():
    weight = parameter(START)
    stepper(Sam([weight], momentum), [weight], lambda ws: [np.zeros(3)])()
    assert_close(weight.detach().numpy(), START, rtol=0, atol=0)


def test_sam_asks_a_base_with_a_line_search_at_the_worst_point_each_time():
    weight = parameter([3.0, -2.0])

    def closure():
        weight.grad = None
        loss = weight.square().sum() / 2
        loss.backward()
        return loss.detach()

    Sam([weight], lambda params: torch.optim.LBFGS(params, lr=1.0, max_iter=1), rho=0.5).step(closure)
    # The gradient at w + 0.5 w / |w| is that point; L-BFGS steps first by min(1, 1 / sum |g|) of it.
    g = np.array([3.0, -2.0]) * (1 + 0.5 / np.sqrt(13))
    assert_close(weight.detach().numpy(), np.array([3.0, -2.0]) - g / np.abs(g).sum(), rtol=1e-10, atol=1e-10)


def test_sam_refuses_a_base_that_differentiates_the_gradient_and_lookahead_passes_the_wish_on():
    with pytest.raises(ValueError, match="base=Newton differentiates the gradient.*try optimizer.base=momentum"):
        Sam([parameter(START)], Newton)
    assert (
        Lookahead([parameter(START)], Newton).create_graph and not Lookahead([parameter(START)], momentum).create_graph
    )


def radam(w, gradients, lr, b1=0.95, b2=0.999, eps=1e-5):
    """Liu et al., 2020, algorithm 2, rectified from rho_t > 5 on as in the authors' code (the paper's text: 4)."""
    m, v, last = np.zeros_like(w), np.zeros_like(w), 2 / (1 - b2) - 1
    for t, g in enumerate(gradients, start=1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        rho = last - 2 * t * b2**t / (1 - b2**t)
        step = m / (1 - b1**t)
        if rho > 5:
            r = np.sqrt((rho - 4) * (rho - 2) * last / ((last - 4) * (last - 2) * rho))
            step = r * step * np.sqrt(1 - b2**t) / (np.sqrt(v) + eps)
        w = w - lr * step
        yield w


@pytest.mark.parametrize("centralize", [True, False])
def test_ranger_is_radam_on_centralised_gradients_with_lookahead(centralize):
    draws = np.random.default_rng(3)
    shapes, decay, lr = [(3, 4), (2, 3, 2, 2), (5,)], 0.1, 0.01
    starts, series = (
        [draws.normal(size=shape) for shape in shapes],
        [[draws.normal(size=shape) for shape in shapes] for _ in range(11)],
    )
    weights = [parameter(w) for w in starts]
    arriving = iter(series)
    optimizer = make("ranger", weights, lr=lr, weight_decay=decay, centralize=centralize)
    step = stepper(optimizer, weights, lambda ws: next(arriving))
    for _ in series:
        step()
    for index, start in enumerate(starts):
        gs = [row[index] for row in series]
        if centralize and start.ndim > 1:
            gs = [g - g.reshape(len(g), -1).mean(1).reshape(-1, *[1] * (g.ndim - 1)) for g in gs]
        # RAdam's step depends on the gradients alone: it adds, the decay multiplies, and k = 6 occurs once.
        steps = np.diff(np.array([np.zeros_like(start), *radam(np.zeros_like(start), gs, lr)]), axis=0)
        w = start
        for t, change in enumerate(steps, start=1):
            w = (1 - lr * decay) * w + change
            w = start + 0.5 * (w - start) if t == 6 else w
        assert_close(weights[index].detach().numpy(), w, **EXACT)


def test_ranger_is_scored_at_its_slow_weights_and_goes_on_from_a_checkpoint():
    weight = parameter(START)
    optimizer = Ranger([weight], lr=0.1)
    step = stepper(optimizer, [weight])
    for _ in range(5):
        step()
    kept = weight.detach().clone()
    optimizer.eval()
    assert_close(weight.detach().numpy(), START, rtol=0, atol=0)  # k = 6: the slow weights have not moved
    other = Ranger([resumed := weight.detach().clone().requires_grad_()], lr=0.1)
    other.load_state_dict(reloaded(optimizer.state_dict()))
    for each in (optimizer, other):
        each.train()
    assert torch.equal(weight, kept) and torch.equal(resumed, kept)
    step()
    stepper(other, [resumed])()
    assert torch.equal(weight, resumed)


def schedule_free(w, lrs, betas, eps, decay):
    """Defazio et al., 2024, algorithm 1, with its three sequences; yields the next y, z and x."""
    x = z = y = w
    v, total = np.zeros_like(w), 0.0
    for t, lr in enumerate(lrs, start=1):
        g = gradient(y)
        v = betas[1] * v + (1 - betas[1]) * g**2
        z = z - lr * g / (np.sqrt(v / (1 - betas[1] ** t)) + eps) - lr * decay * y
        total += lr**2
        c = lr**2 / total
        x = (1 - c) * x + c * z
        y = (1 - betas[0]) * z + betas[0] * x
        yield y, z, x


def test_schedule_free_trains_at_y_and_is_scored_at_x():
    lrs = [0.02, 0.05, 0.1, 0.1, 0.08]
    weight = parameter(START)
    optimizer = make("schedule_free", [weight], betas=[0.8, 0.99], weight_decay=0.2)
    step = stepper(optimizer, [weight])
    zs = []
    for lr, (y, z, x) in zip(lrs, schedule_free(START, lrs, (0.8, 0.99), 1e-8, 0.2)):
        optimizer.param_groups[0]["lr"] = lr
        step()
        zs.append(z)
        assert_close(weight.detach().numpy(), y, **EXACT)
        kept = weight.detach().clone()
        optimizer.eval()
        optimizer.eval()
        assert_close(weight.detach().numpy(), x, **EXACT)
        assert_close(x, np.average(zs, axis=0, weights=np.square(lrs[: len(zs)])), **EXACT)  # what x is for
        optimizer.train()
        assert torch.equal(weight, kept)


def test_schedule_free_goes_on_bit_for_bit_from_a_checkpoint_made_where_it_is_scored():
    weight = parameter(START)
    optimizer = make("schedule_free", [weight])
    step = stepper(optimizer, [weight])
    for _ in range(4):
        step()
    optimizer.eval()
    other = make("schedule_free", [resumed := weight.detach().clone().requires_grad_()])
    other.load_state_dict(reloaded(optimizer.state_dict()))
    for each in (optimizer, other):
        each.train()
    step()
    stepper(other, [resumed])()
    assert torch.equal(weight, resumed)


def test_schedule_free_leaves_the_weights_of_an_update_without_a_rate():
    weight = parameter(START)
    optimizer = make("schedule_free", [weight])
    optimizer.param_groups[0]["lr"] = 0.0
    stepper(optimizer, [weight])()
    optimizer.eval()
    assert_close(weight.detach().numpy(), START, rtol=0, atol=0)


def test_lookahead_around_schedule_free_rests_and_comes_back():
    weight = parameter(START)
    optimizer = Lookahead([weight], lambda params: make("schedule_free", params), k=2)
    step = stepper(optimizer, [weight])
    for _ in range(3):
        step()
    kept = weight.detach().clone()
    optimizer.eval()
    assert torch.equal(weight, optimizer.slow[0]) and not torch.equal(weight, kept)
    optimizer.train()
    assert torch.equal(weight, kept)


def test_wrappers_let_their_base_look_at_the_model(composed):
    for words in (["optimizer=lookahead"], ["optimizer=sam"]):
        layer = nn.Linear(3, 2)
        optimizer = build.make_optimizer(composed(*words, "optimizer@optimizer.base=kfac"), layer, 64, Invocation())
        assert optimizer.base.layers == [layer]
