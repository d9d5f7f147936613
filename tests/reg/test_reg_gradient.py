"""Regularisers that edit the gradient."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from trainer.base.clock import Clock
from trainer.reg.grad_clip import GradClip
from trainer.reg.grad_noise import GradNoise

NOW = Clock(total_steps=100, steps_per_epoch=5)


@pytest.mark.parametrize(("limit", "scale"), [(1.0, 1 / 13), (6.5, 0.5), (13.1, 1.0), (100.0, 1.0)])
def test_grad_clip_scales_the_whole_gradient_to_the_limit(limit, scale):
    layer = nn.Linear(2, 1)
    layer.weight.grad, layer.bias.grad = torch.tensor([[3.0, 4.0]]), torch.tensor([12.0])  # the norm is 13
    GradClip(limit=limit)(layer, NOW)
    assert_close(layer.weight.grad, scale * torch.tensor([[3.0, 4.0]]))
    assert_close(layer.bias.grad, scale * torch.tensor([12.0]))


@pytest.mark.parametrize("limit", [0.1, 3.0, 1e6])
def test_grad_clip_is_torchs(limit):
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(4, 5), nn.PReLU(), nn.Linear(5, 3))
    theirs, images = copy.deepcopy(ours), torch.randn(9, 4)
    for model in (ours, theirs):
        model(images).square().sum().backward()
    GradClip(limit=limit)(ours, NOW)
    nn.utils.clip_grad_norm_(theirs.parameters(), limit)
    for mine, other in zip(ours.parameters(), theirs.parameters()):
        assert_close(mine.grad, other.grad)


def test_grad_clip_passes_over_weights_without_gradient():
    layer = nn.Linear(2, 1)
    layer.weight.grad = torch.tensor([[3.0, 4.0]])
    GradClip(limit=1.0)(layer, NOW)
    assert_close(layer.weight.grad, torch.tensor([[0.6, 0.8]]))
    assert layer.bias.grad is None


def noise(eta, gamma, step, seed=0):
    layer = nn.Linear(300, 200)
    layer.weight.grad, layer.bias.grad = torch.full_like(layer.weight, 5.0), None
    torch.manual_seed(seed)
    GradNoise(eta=eta, gamma=gamma)(layer, NOW.at(step))
    assert layer.bias.grad is None
    return layer.weight.grad - 5


@pytest.mark.parametrize(("step", "variance"), [(0, 0.3), (3, 0.15), (99, 0.03)])  # 0.3 / (1 + t)^0.5
def test_grad_noise_has_the_papers_variance_at_every_step(step, variance):
    draws = noise(0.3, 0.5, step).double().flatten()
    n = len(draws)
    assert abs(draws.mean()) < 5 * math.sqrt(variance / n)  # five deviations of a mean
    assert abs(draws.square().mean() / variance - 1) < 5 * math.sqrt(2 / n)  # and of a mean of squares of normal draws
    within_one = (draws.abs() < math.sqrt(variance)).double().mean()
    assert abs(within_one - 0.6827) < 5 * math.sqrt(0.6827 * 0.3173 / n)  # normal: 68 % within one deviation


def test_grad_noise_is_the_same_for_the_same_seed_and_another_in_each_tensor():
    first, again, other = noise(0.3, 0.5, 0), noise(0.3, 0.5, 0), noise(0.3, 0.5, 0, seed=1)
    assert torch.equal(first, again) and not torch.equal(first, other)
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    for layer in model:
        layer.weight.grad = torch.zeros(4, 4)
    GradNoise()(model, NOW)
    assert not torch.equal(model[0].weight.grad, model[1].weight.grad)
