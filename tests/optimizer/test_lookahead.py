"""Lookahead and Ranger against their papers in NumPy, and what all wrappers share."""

import numpy as np
import pytest
import torch
from stepping import LR, START, gradient, heavy_ball, make, momentum, parameter, reloaded, settings, stepper
from torch import nn
from torch.testing import assert_close

from trainer.base.layers import parameter_groups
from trainer.config import catalog
from trainer.config.hydra_context import Invocation
from trainer.engine import build
from trainer.optimizer.cautious import Cautious
from trainer.optimizer.grokfast import Grokfast
from trainer.optimizer.kfac import Kfac
from trainer.optimizer.lookahead import Lookahead
from trainer.optimizer.ranger import Ranger
from trainer.optimizer.sam import Sam

EXACT = {"rtol": 1e-10, "atol": 1e-10}  # both sides in float64, weights near 1


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


@pytest.mark.parametrize("wrapper", [Lookahead, Sam, Cautious, Grokfast])
def test_a_wrappers_rate_is_the_bases_unless_it_is_given(wrapper):
    assert wrapper([parameter(START)], momentum).base.param_groups[0]["lr"] == LR
    assert wrapper([parameter(START)], momentum, lr=0.3).base.param_groups[0]["lr"] == 0.3
    with pytest.raises(ValueError, match="lr must be > 0, got 0.0"):
        wrapper([parameter(START)], momentum, lr=0.0)


@pytest.mark.parametrize(
    "make",
    [Lookahead, Sam, Cautious, lambda params, base: Lookahead(params, lambda inner: Sam(inner, base))],
    ids=["lookahead", "sam", "cautious", "both"],
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


def test_lookahead_resumes_bit_for_bit_from_a_checkpoint_at_its_evaluation_point():
    weight = parameter(START)
    optimizer = Lookahead([weight], momentum, k=4)
    step = stepper(optimizer, [weight])
    for _ in range(6):
        step()
    kept = weight.detach().clone()
    optimizer.eval()
    evaluated = weight.detach().clone()
    assert not torch.equal(evaluated, kept)
    resumed = evaluated.clone().requires_grad_()
    other = Lookahead([resumed], momentum, k=4)
    other.load_state_dict(reloaded(optimizer.state_dict()))
    optimizer.eval()  # twice is once
    assert torch.equal(weight, evaluated)
    optimizer.train()
    other.train()
    assert torch.equal(weight, kept) and torch.equal(resumed, kept)
    further = stepper(other, [resumed])
    for _ in range(3):
        step()
        further()
    assert torch.equal(weight, resumed)


def test_lookahead_before_its_first_step_is_evaluated_at_the_initial_weights():
    weight = parameter(START)
    optimizer = Lookahead([weight], momentum)
    optimizer.eval()
    optimizer.train()
    assert_close(weight.detach().numpy(), START, rtol=0, atol=0)


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


def test_ranger_is_evaluated_at_its_slow_weights_and_resumes_from_a_checkpoint():
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


def test_lookahead_around_schedule_free_evaluates_the_slow_weights_and_comes_back():
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


@pytest.mark.parametrize("wrapper", [Lookahead, Sam, Cautious, Grokfast])
def test_a_wrapper_lets_its_base_watch_the_model(wrapper):
    layer = nn.Linear(3, 2)
    optimizer = wrapper(layer.parameters(), Kfac)
    optimizer.watch(layer)
    assert optimizer.base.layers == [layer]
    wrapper(layer.parameters(), momentum).watch(layer)  # a base without the hook


DECAYING = [name for name in catalog.options("optimizer") if "weight_decay" in settings(name)]
DECAYING.remove("prodigy")  # estimates its step from the gradients: while they are 0 it does nothing
INSIDE = [
    "optimizer={}",
    "optimizer=lookahead optimizer@optimizer.base={}",
    "optimizer=sam optimizer@optimizer.base={}",
    "optimizer=grokfast optimizer@optimizer.base={}",
]


@pytest.mark.parametrize("around", INSIDE)
@pytest.mark.parametrize("option", DECAYING)
def test_weight_decay_spares_all_but_matrices_within_a_wrapper_too(option, around, composed):
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.PReLU(), nn.Flatten(), nn.Linear(16, 3))
    key = "optimizer.base.weight_decay" if "base" in around else "optimizer.weight_decay"
    optimizer = build.make_optimizer(composed(*around.format(option).split(), f"{key}=20"), net, 64, Invocation())
    before = {name: weight.detach().clone() for name, weight in net.named_parameters()}

    def closure():  # the gradient is 0: nothing but the decay moves a weight
        for weight in net.parameters():
            weight.grad = torch.zeros_like(weight)
        return torch.zeros(())

    for _ in range(10):
        optimizer.step(closure)
    for name, weight in net.named_parameters():
        if name in ("0.weight", "4.weight"):
            assert weight.norm() < 0.999 * before[name].norm()
        else:
            assert torch.equal(weight, before[name]), name


def test_ranger_centralises_matrices_and_no_scale_of_a_layer():
    class Scaled(nn.Linear):
        def __init__(self):
            super().__init__(2, 3)
            self.layer_scale = nn.Parameter(torch.ones(3, 1, 1))

    net = Scaled()
    optimizer = make("ranger", parameter_groups(net))

    def closure():
        net.weight.grad = torch.tensor([[1.0, 3.0], [0.0, 2.0], [5.0, 5.0]])
        net.bias.grad, net.layer_scale.grad = torch.ones(3), torch.full((3, 1, 1), 2.0)
        return torch.zeros(())

    optimizer.step(closure)
    assert net.weight.grad.tolist() == [[-1.0, 1.0], [-1.0, 1.0], [0.0, 0.0]]  # less the mean over the inputs
    assert (net.layer_scale.grad == 2).all() and (net.bias.grad == 1).all()
