"""Lessons of the lectures: units that stay alike, signals that die or saturate."""

import math

import pytest
import torch
from nets import ROOT2, chain, mean_square
from torch import nn

from trainer.init.fixed_scale import Constant, LargeNormal, Normal, Ones, SmallNormal, Zeros
from trainer.init.variance_scaling import HeNormal, HeUniform, LecunNormal


@pytest.mark.parametrize(
    ("init", "alike"), [(Zeros(), True), (Ones(), True), (Constant(value=0.02), True), (SmallNormal(), False)]
)
def test_units_that_begin_alike_stay_alike(init, alike):
    torch.manual_seed(0)
    model, images, targets = chain(8, 2, nn.Sigmoid, inputs=5), torch.randn(32, 5), torch.randint(10, (32,))
    init(model, images, None, nn.Sigmoid)
    for layer in model[::2]:
        nn.init.zeros_(layer.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    before = model[2].weight.detach().clone()
    for _ in range(10):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), targets).backward()
        optimizer.step()
    assert not torch.equal(before, model[2].weight)
    units = model[2].weight
    # Kernels may add a row's terms in another order: float32 rounding apart.
    assert torch.allclose(units, units[:1].expand_as(units), rtol=1e-4, atol=1e-6) == alike


WIDTH = 1024
# The lecture's deviations at 4096 inputs, as the same factor std sqrt(fan_in): 0.05 sqrt(4096) = 3.2 is 0.1 at 1024.
CASES = {
    "small_tanh": (SmallNormal(), nn.Tanh, 0.01 * 32),
    "large_tanh": (LargeNormal(std=0.1), nn.Tanh, 3.2),
    "lecun_tanh": (LecunNormal(), nn.Tanh, 1.0),
    "he_relu": (HeNormal(), nn.ReLU, ROOT2),
    "lecun_relu": (LecunNormal(), nn.ReLU, 1.0),
    "unit_tanh": (Normal(), nn.Tanh, 32.0),
}


@pytest.mark.parametrize("case", CASES)
def test_six_starts_of_a_net_of_seven_wide_layers(case):
    """The spread behind each of six layers follows q <- E[f(s sqrt(q) z)^2]: signals die, saturate or live by it."""
    init, act, factor = CASES[case]
    torch.manual_seed(0)
    x, f = torch.randn(16, WIDTH), {nn.Tanh: math.tanh, nn.ReLU: lambda z: max(z, 0)}[act]
    model = nn.Sequential(*(nn.Sequential(nn.Linear(WIDTH, WIDTH, bias=False), act()) for _ in range(6)))
    init(model, x, None, act)
    q, spreads, saturated = 1.0, [], []
    with torch.no_grad():
        for layer in model:
            x, scale = layer(x), factor * math.sqrt(q)
            q = mean_square(lambda z, scale=scale: f(scale * z))
            spreads.append(x.square().mean().sqrt().item())
            saturated.append((x.abs() > 0.95).float().mean().item())
            # Var(log-norm) is at most 5/(4 * 1024) a layer: after six, 0.085; four of them.
            assert abs(math.log(spreads[-1]) - math.log(q) / 2) < 4 * 0.085 * math.sqrt(len(spreads) / 6)
    assert {
        "small_tanh": spreads[-1] < 1.5 * 0.32**6,  # tanh only shrinks, so 0.32 a layer bounds it
        "large_tanh": min(saturated) > 0.4,  # sqrt(q) >= 0.8: P(|z| > atanh(0.95) / (3.2 * 0.8)) = 0.47
        "lecun_tanh": 0.25 < spreads[-1] and max(saturated) < 0.1,  # q falls like 1 / (2 * 6 + 1) from 1: 0.28 and more
        "he_relu": all(0.7 < spread < 1.4 for spread in spreads),  # 2 fan_in / fan_in / 2 = 1, within the walk above
        "lecun_relu": spreads[-1] < 0.125 * 1.4,  # half of the mean square a layer: 2^-3
        "unit_tanh": min(saturated) > 0.9,  # P(|z| > atanh(0.95) / 32) = 0.954
    }[case]


@pytest.mark.parametrize("std", [0.5, 1.0, 2.0])
def test_larger_weights_break_symmetry_more_and_carry_more_signal(std):
    """Of weights of deviation s / sqrt(n) two units differ by s sqrt(2), and five linear layers multiply by s^5."""
    torch.manual_seed(0)
    model, x = nn.Sequential(*(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(5))), torch.randn(16, WIDTH)
    Normal(std=std / math.sqrt(WIDTH))(model, x, None, nn.Identity)
    apart = torch.pdist(model[0].weight.detach()[:50])
    # A length over n draws is off by 1 / sqrt(2 n) = 0.022 of itself; of 1,225 pairs the largest by five of them.
    assert (apart / (std * math.sqrt(2)) - 1).abs().max() < 5 * 0.022
    with torch.no_grad():
        carried = model(x).square().mean().sqrt().item()
    # Var(log-norm) is 2 / (4 * 1024) a layer, of one sample: after five, 0.05; four of them.
    assert abs(math.log(carried) - 5 * math.log(std)) < 0.2


@pytest.mark.parametrize("init", [HeNormal(), HeUniform()])
def test_gaussian_and_uniform_weights_of_one_variance_carry_signals_alike(init):
    """By the central limit theorem: both keep the mean square through six layers, and that of the gradient."""
    torch.manual_seed(0)
    x = torch.randn(16, WIDTH, requires_grad=True)
    model = nn.Sequential(*(nn.Sequential(nn.Linear(WIDTH, WIDTH, bias=False), nn.ReLU()) for _ in range(6)))
    init(model, x, None, nn.ReLU)
    outputs = model(x)
    seeds = torch.randn(16, WIDTH)
    (gradient,) = torch.autograd.grad(outputs, x, seeds)
    for ends in (outputs.detach() / x.detach().square().mean().sqrt(), gradient / seeds.square().mean().sqrt()):
        assert abs(math.log(ends.square().mean().sqrt().item())) < 4 * 0.085  # as above


CUBIC = ("data=polynomial", "model=linear", "preprocess=polynomial", "batch_size=full", "threads=1", "device=cpu")


def test_problems_without_iterations_of_any_start_and_sensitive_to_it(fitted):
    """SDU: least squares by one step of Newton, by many of gradient descent, and a network with hidden units."""

    def ends(*words, starts):
        runs = [fitted(*words, *start)[0] for start in starts]
        with torch.no_grad():
            return [run.model.eval()(run.test.images) for run in runs]

    seeds = [("seed=0", "init=normal"), ("seed=1", "init=normal")]
    newton = ("optimizer=newton", "optimizer.damping=0", "sched=constant", "epochs=1")
    one, other = ends(*CUBIC, "preprocess.degree=3", *newton, starts=seeds)
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)  # float32, condition near 100
    descent = ("optimizer=gd", "optimizer.lr=0.4", "sched=constant")
    early = ends(*CUBIC, "preprocess.degree=1", *descent, "epochs=1", starts=seeds)
    late = ends(*CUBIC, "preprocess.degree=1", *descent, "epochs=40", starts=seeds)  # |1 - 0.8|^40 is 0 in float32
    assert (early[0] - early[1]).abs().max() > 0.01
    torch.testing.assert_close(*late, rtol=1e-4, atol=1e-4)
    network = ("data=spirals", "model=mlp", "model.hidden=[16]", "optimizer=adam", "optimizer.lr=0.01", "epochs=10")
    constant, drawn = ends(*network, "threads=1", starts=[("init=zeros",), ("init=he_normal",)])
    assert constant.std(0).max() < 1e-6 < 0.1 < drawn.std(0).max()  # the outputs of the one stay constant
