"""Initialisers: the spread of many weights against the formula, and what they must leave alone."""

import math

import pytest
import torch
from torch import nn

from trainer.init import Default, HeNormal, SmallNormal, XavierNormal, ZeroBias, Zeros
from trainer.norm import Batch, Layer
from trainer.reg.dropconnect import DropConnect

BATCH = (torch.zeros(2, 8, 5, 5), torch.zeros(2, 3))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(8, 40, (3, 5)), Batch(40), nn.ReLU()),
        *(nn.Conv1d(20, 60, 5, groups=2), Layer(60), nn.Flatten()),
        *(nn.Linear(100, 60), nn.Linear(60, 110, bias=False)),
    )


def producers(model):
    return [module for module in model if not isinstance(module, (Batch, Layer, nn.ReLU, nn.Flatten))]


# In, out: a kernel's area times the channels; each of two groups sees half of the channels in.
FANS = [(8 * 15, 40 * 15), (10 * 5, 60 * 5), (100, 60), (60, 110)]

NORMALS = [
    (SmallNormal(std=0.03), lambda fan_in, fan_out: 0.03**2),
    (XavierNormal(), lambda fan_in, fan_out: 2 / (fan_in + fan_out)),
    (HeNormal(), lambda fan_in, fan_out: 2 / fan_in),
]


@pytest.mark.parametrize(("init", "variance"), NORMALS)
@pytest.mark.parametrize("dropped", [False, True])
def test_weights_are_normal_with_the_formulas_variance(init, variance, dropped, model):
    if dropped:
        DropConnect(p=0.5)(model)
    init(model, *BATCH, nn.ReLU)
    for layer, fans in zip(producers(model.eval()), FANS, strict=True):
        weight, n = layer.weight.detach().flatten().double(), layer.weight.numel()
        z = weight / math.sqrt(variance(*fans))
        # Means of z, z^2, z^4 over n normal draws: 0, 1, 3 with deviations sqrt(1/n), sqrt(2/n), sqrt(96/n); five of them, once in 10^6.
        assert abs(z.mean()) < 5 * math.sqrt(1 / n)
        assert abs(z.square().mean() - 1) < 5 * math.sqrt(2 / n)
        assert abs(z.pow(4).mean() - 3) < 5 * math.sqrt(96 / n)


def test_default_leaves_torchs_uniform_draw(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Default()(model, *BATCH, nn.ReLU)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    for layer, (fan_in, _) in zip(producers(model), FANS, strict=True):
        bound = 1 / math.sqrt(fan_in)
        assert 0.95 * bound < layer.weight.abs().max() <= bound  # the largest of 6000 lies below 0.95 with odds 0.95^6000


@pytest.mark.parametrize("dropped", [False, True])
def test_zeros_makes_every_weight_zero(dropped, model):
    if dropped:
        DropConnect(p=0.5)(model)
    Zeros()(model, *BATCH, nn.ReLU)
    assert not any(layer.weight.any() for layer in producers(model))


def test_zero_bias_makes_every_bias_of_a_producer_zero_and_nothing_else(model):
    with torch.no_grad():
        for norm in (model[1], model[4]):
            norm.bias.fill_(0.5)
    weights = [layer.weight.clone() for layer in producers(model)]
    ZeroBias()(model, *BATCH, nn.ReLU)
    assert [layer.bias is None or not layer.bias.any().item() for layer in producers(model)] == [True] * 4
    assert all(torch.equal(layer.weight, weight) for layer, weight in zip(producers(model), weights))
    assert (model[1].bias == 0.5).all() and (model[4].bias == 0.5).all()


@pytest.mark.parametrize("init", [Default(), Zeros(), *(init for init, _ in NORMALS)])
def test_initialisers_leave_norms_and_biases_alone(init, model):
    kept = {name: value.clone() for name, value in model.state_dict().items() if name.endswith("bias") or name[0] in "14"}
    init(model, *BATCH, nn.ReLU)
    after = model.state_dict()
    assert len(kept) == 5 + 2 + 3 and all(torch.equal(after[name], value) for name, value in kept.items())


@pytest.mark.parametrize(("init", "variance"), NORMALS)
def test_the_same_seed_draws_the_same_weights(init, variance, model):
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        init(model, *BATCH, nn.ReLU)
        drawn.append(model[6].weight.detach().clone())
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("std", [0.0, -0.01, math.nan])
def test_small_normal_refuses_a_deviation_that_is_not_positive(std):
    with pytest.raises(ValueError, match=f"std must be > 0, got {std}"):
        SmallNormal(std=std)
