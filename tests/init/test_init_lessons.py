"""Lessons of the lectures: units that stay alike, signals that die or saturate."""

import math

import pytest
import torch
from nets import ROOT2, chain, mean_square
from torch import nn

from trainer.init.fixed_scale import Constant, LargeNormal, Normal, Ones, SmallNormal, Zeros
from trainer.init.variance_scaling import HeNormal, LecunNormal


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
