"""Parameter norm penalties against NumPy and closed forms."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from trainer.norm import Batch
from trainer.reg.penalties import L1, L2, ElasticNet, WeightPenalty

PENALTIES = [  # the penalty, its value at one weight, its slope there
    (L2(strength=0.3), lambda w: 0.15 * w**2, lambda w: 0.3 * w),
    (L1(strength=0.3), lambda w: 0.3 * np.abs(w), lambda w: 0.3 * np.sign(w)),
    (ElasticNet(strength=0.3, beta=2.0), lambda w: 0.3 * (2 * w**2 + np.abs(w)), lambda w: 0.3 * (4 * w + np.sign(w))),
    (ElasticNet(strength=0.3, beta=0.0), lambda w: 0.3 * np.abs(w), lambda w: 0.3 * np.sign(w)),
]


@pytest.fixture
def model():
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(2, 4, 3), Batch()(4), nn.PReLU(), nn.Flatten(), nn.Linear(16, 5), nn.Linear(5, 3))
    with torch.no_grad():
        made[4].weight[0] = 0  # numpy's sign(0) is 0, too
    return made


def matrices(model):
    return [model[0].weight, model[4].weight, model[5].weight]


@pytest.mark.parametrize(("penalty", "value", "slope"), PENALTIES)
def test_a_penalty_is_the_sum_over_matrices_and_kernels_alone(penalty, value, slope, model):
    expected = sum(value(weight.detach().double().numpy()).sum() for weight in matrices(model))
    assert penalty(model, None, None, None).item() == pytest.approx(expected, rel=1e-5)  # float32 sums of 167 terms


@pytest.mark.parametrize("factor", [1.0, 0.25])  # the loop weighs a penalty by the fraction of a micro-batch
@pytest.mark.parametrize(("penalty", "value", "slope"), PENALTIES)
def test_the_gradient_of_a_penalty_is_its_slope_also_at_zero(penalty, value, slope, factor, model):
    (penalty(model, None, None, None) * factor).backward()
    for weight in matrices(model):
        assert_close(weight.grad, torch.from_numpy(factor * slope(weight.detach().numpy())))
    others = [weight for weight in model.parameters() if weight.dim() == 1]
    assert len(others) == 6 and all(weight.grad is None for weight in others)


def test_a_frozen_weight_is_not_counted(model):
    before = L2(strength=1.0)(model, None, None, None).item()
    part = model[5].weight.detach().square().sum().item() / 2
    model[5].weight.requires_grad_(False)
    assert L2(strength=1.0)(model, None, None, None).item() == pytest.approx(before - part, rel=1e-5)


@pytest.mark.parametrize("factors", [(0.7, 0.0), (0.0, 0.7), (0.5, 0.3)])
def test_penalties_can_be_differentiated_twice_as_second_order_methods_do(factors):
    weights = [
        torch.tensor(values, dtype=torch.float64, requires_grad=True) for values in ([[1.0, -2.0]], [[0.5], [-3.0]])
    ]
    assert torch.autograd.gradcheck(lambda *weights: WeightPenalty.apply(*factors, *weights), weights)
    assert torch.autograd.gradgradcheck(lambda *weights: WeightPenalty.apply(*factors, *weights), weights)


@pytest.mark.parametrize(
    ("penalty", "after"),
    [
        (L2(strength=0.5), 2 * (1 - 0.1 * 0.5)),  # the factor 1/2: the decay of a step is lr strength
        (L1(strength=0.5), 2 - 0.1 * 0.5),
        (ElasticNet(strength=0.5, beta=3.0), 2 - 0.1 * 0.5 * (2 * 3 * 2 + 1)),
    ],
)
def test_one_step_of_sgd_shrinks_the_weight_as_stated(penalty, after):
    layer = nn.Linear(1, 1)
    nn.init.constant_(layer.weight, 2.0)
    penalty(layer, None, None, None).backward()
    torch.optim.SGD(layer.parameters(), lr=0.1).step()
    assert layer.weight.item() == pytest.approx(after)


@pytest.mark.parametrize("penalty", [L1(strength=0.05), ElasticNet(strength=0.05)])
def test_gradient_steps_jump_across_zero_and_do_not_land_on_it(penalty):
    layer = nn.Linear(50, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(-0.1, 0.1, 50))
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        penalty(layer, None, None, None).backward()
        optimizer.step()
    assert layer.weight.abs().max() <= 0.1 * 0.05 * 1.1 and (layer.weight != 0).all()


@pytest.mark.parametrize(("penalty", "value", "slope"), PENALTIES)
def test_the_gradient_in_closed_form_is_added_to_the_gradient_that_is_there(penalty, value, slope, model):
    weights = matrices(model)
    weights[0].grad = torch.full_like(weights[0], 0.5)
    weights[2].grad = torch.full_like(weights[2], -2.0)  # the one between has none
    total = penalty.add_gradient(weights)
    arrays = [weight.detach().double().numpy() for weight in weights]
    assert total.item() == pytest.approx(sum(value(array).sum() for array in arrays), rel=1e-5)  # float32, 167 terms
    for weight, array, before in zip(weights, arrays, (0.5, 0.0, -2.0)):
        assert_close(weight.grad.double(), torch.from_numpy(before + slope(array)), rtol=1e-6, atol=1e-7)  # float32
