"""Data-dependent initialisation: the promise of each paper, on a network that shows it."""

import math

import pytest
import torch
from nets import RELU, ROOT2, chain, make_kit, mean_square, option
from torch import nn

from trainer.base.layers import Residual
from trainer.init.data_dependent import DataDependent, Lsuv, RandomWalk
from trainer.norm import Layer
from trainer.reg.dropconnect import DropConnect


def gradient_drift(model, x):
    """Return the mean log-ratio of the gradient's lengths at the outputs of the first and the last hidden layer."""
    first = x = model[0](x)
    for part in model[1:-2]:
        x = part(x)
    last, top = x, torch.randn(200, len(x), 10)
    final = model[-1](model[-2](last))
    ratios = []
    for row in top:
        ends = torch.autograd.grad(final, (first, last), row, retain_graph=True)
        ratios.append((ends[0].norm(dim=1).log() - ends[1].norm(dim=1).log()).mean())
    return torch.stack(ratios).mean().item()


@pytest.mark.parametrize(
    ("act", "formula"), [(nn.ReLU, ROOT2 * math.exp(1.2 / 197.6)), (nn.Identity, math.exp(1 / 400))]
)
def test_random_walk_finds_the_papers_gain_and_takes_the_drift_away(act, formula):
    torch.manual_seed(0)
    model, images = chain(200, 24, act), torch.randn(64, 200)
    RandomWalk()(model, images, None, act)
    g = model[4].weight.std().item() * math.sqrt(200)
    # Var(log-norm) a layer is 5/(4N) at most, so log g, their mean over 23 layers, deviates by sqrt(5 / (4 * 200 * 23))
    # = 0.0165; five of them.
    assert abs(math.log(g / formula)) < 5 * 0.0165
    # Another random top gradient: the part of the walk that depends on it is one layer's, sqrt(5/(4*10)) at the narrow
    # head, mean of 200.
    assert abs(gradient_drift(model, images)) < 0.15
    with torch.no_grad():
        for layer in model[::2]:
            layer.weight.mul_(1.1)
    assert abs(gradient_drift(model, images)) > 23 * math.log(1.1) / 2  # the drift of a gain 10 % off


@pytest.mark.parametrize(
    ("act", "g"),
    [
        (nn.ReLU, ROOT2 * math.exp(1.2 / 3.6)),
        (nn.Identity, math.exp(1 / 12)),
        (nn.Tanh, mean_square(math.tanh) ** -0.5),
    ],
)
def test_random_walk_starts_at_the_papers_gain_and_keeps_it_where_no_drift_can_be_measured(act, g):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(9000, 6), act(), nn.Linear(6, 3))
    RandomWalk()(model, torch.randn(4, 9000), None, act)
    assert model[0].weight.std().item() * math.sqrt(9000) == pytest.approx(g, rel=5 / math.sqrt(2 * 54000))


def test_random_walk_keeps_its_start_behind_norms():
    torch.manual_seed(0)
    model = nn.Sequential(
        *(part for _ in range(5) for part in (nn.Linear(50, 50), Layer()(50), nn.ReLU())), nn.Linear(50, 3)
    )
    RandomWalk()(model, torch.randn(8, 50), None, RELU)
    spread = torch.cat([model[index].weight.flatten() for index in range(0, 13, 3)]).std().item() * math.sqrt(50)
    assert spread == pytest.approx(ROOT2 * math.exp(1.2 / 47.6), rel=5 / math.sqrt(2 * 12500))


@pytest.mark.parametrize("init", [Lsuv(tolerance=1e-6), DataDependent(rounds=0)])
@pytest.mark.parametrize("dropped", [False, True])
def test_outputs_on_the_batch_have_variance_one(init, dropped):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Conv2d(8, 6, 3, groups=2),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(54, 5),
    )
    images = 4 * torch.randn(64, 3, 7, 7) + 1
    if dropped:
        DropConnect(p=0.5)(model)
    biases = [model[index].bias.clone() for index in (0, 3, 6)]
    init(model, images, None, RELU)
    assert all(module.training and not module._forward_hooks for module in model.modules())
    assert all(torch.equal(model[index].bias, bias) for index, bias in zip((0, 3, 6), biases))
    x = images
    for part in model.eval():
        x = part(x)
        if isinstance(part, (nn.Linear, nn.Conv2d)):
            signal = x - part.bias.view(-1, *[1] * (x.dim() - 2))
            spread = signal.var() if isinstance(init, Lsuv) else signal.transpose(0, 1).flatten(1).var(1)
            torch.testing.assert_close(spread, torch.ones_like(spread), rtol=1e-4, atol=0)  # float32, and the tolerance


def test_lsuv_leaves_a_layer_within_the_tolerance_orthonormal():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(30, 30))
    # An orthogonal map of 15000 standard normals: variance 1 +- 0.01.
    Lsuv(tolerance=0.2)(model, torch.randn(500, 30), None, RELU)
    torch.testing.assert_close(model[0].weight @ model[0].weight.T, torch.eye(30), rtol=0, atol=1e-5)
    Lsuv(tolerance=0.2)(model, 3 * torch.randn(500, 30), None, RELU)
    torch.testing.assert_close(model[0].weight @ model[0].weight.T * 9, torch.eye(30), rtol=0.06, atol=1e-5)


@pytest.mark.parametrize("init", [Lsuv(), DataDependent(), RandomWalk()])
def test_constant_outputs_leave_the_weights_finite(init):
    model = chain(5, 3, nn.ReLU)
    init(model, torch.zeros(8, 5), None, RELU)
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("init", [Lsuv(), DataDependent(), RandomWalk()])
def test_modes_and_hooks_are_restored_when_the_model_raises(init):
    model = nn.Sequential(nn.Linear(5, 5), nn.Dropout(), nn.Linear(4, 4))
    with pytest.raises(RuntimeError):
        init(model, torch.randn(8, 5), None, RELU)
    assert all(module.training and not module._forward_hooks for module in model.modules())


def rates(model, images):
    """Return rms(gradient) / rms(weight) of each layer, for gradients of 400 random linear losses."""
    weights, squares = [layer.weight for layer in model[::2]], torch.zeros(len(model[::2]))
    for _ in range(400):
        outputs = model(images)
        gradients = torch.autograd.grad((outputs * torch.randn_like(outputs)).sum(), weights)
        squares += torch.stack([gradient.square().mean() for gradient in gradients])
    return squares.sqrt() / torch.stack([weight.square().mean().sqrt() for weight in weights])


def test_data_dependent_brings_a_chain_to_one_rate_and_keeps_its_outputs():
    images = torch.randn(64, 100, generator=torch.Generator().manual_seed(0))
    models = []
    for rounds in (0, 40):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(100, 20), nn.ReLU(), nn.Linear(20, 80), nn.ReLU(), nn.Linear(80, 5))
        for layer in model[::2]:
            nn.init.zeros_(layer.bias)
        DataDependent(rounds=rounds)(model, images, None, RELU)
        models.append(model)
    spread = [(found := rates(model, images).log().detach()).max() - found.min() for model in models]
    # The differences shrink by 0.75^40; each round adds a draw's noise, averaged with weight 0.25.
    assert spread[0] > 0.5 and spread[1] < 0.2
    # ReLU without biases is homogeneous.
    torch.testing.assert_close(models[0](images), models[1](images), rtol=1e-3, atol=1e-4)


def test_data_dependent_stops_after_the_scaling_where_the_model_is_not_a_chain():
    torch.manual_seed(0)
    images = torch.randn(64, 10)
    model = nn.Sequential(
        nn.Linear(10, 10), Residual(nn.Sequential(nn.Linear(10, 10)), nn.Identity(), nn.ReLU()), nn.Linear(10, 3)
    )
    DataDependent()(model, images, None, RELU)
    torch.testing.assert_close(model(images).std(0), torch.ones(3), rtol=1e-4, atol=0)


@pytest.mark.parametrize("init", [Lsuv(tolerance=1e-6), DataDependent(rounds=0)])
def test_a_layer_in_two_places_is_scaled_where_it_comes_first(init):
    torch.manual_seed(0)
    shared, images = nn.Linear(8, 8), torch.randn(64, 8)
    nn.init.zeros_(shared.bias)
    init(nn.Sequential(shared, nn.Tanh(), shared, nn.Linear(8, 3)), images, None, nn.Tanh)
    outputs = shared(images)
    spread = outputs.var() if isinstance(init, Lsuv) else outputs.var(0)
    torch.testing.assert_close(spread, torch.ones_like(spread), rtol=1e-4, atol=0)  # float32, and the tolerance


class Tokens(nn.Module):
    """Dense layers on tokens (B, T, D), whose channels are the last dimension."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(5, 16), nn.Linear(16, 3)

    def forward(self, images):
        return self.last(self.first(images).relu()).mean(1)


@pytest.mark.parametrize("init", [Lsuv(), DataDependent()])
def test_dense_layers_on_tokens_get_outputs_of_variance_one(init):
    torch.manual_seed(0)
    model, images = Tokens(), torch.randn(200, 4, 5)
    init(model, images, None, nn.ReLU)
    first = model.first(images) - model.first.bias
    second = model.last(model.first(images).relu()) - model.last.bias
    by_channel = isinstance(init, DataDependent)  # exact; the other one leaves 10 %
    for outputs in (first, second):
        spread = outputs.flatten(0, 1).std(0) if by_channel else outputs.std()
        torch.testing.assert_close(spread, torch.ones_like(spread), rtol=0.06, atol=0)


def test_random_walk_takes_layers_that_see_a_sample_as_several_rows():
    torch.manual_seed(0)
    model = option("vit_tiny", depth=1, heads=1, head_width=8, hidden=8)((1, 8, 8), 3, make_kit())
    RandomWalk()(model, torch.randn(20, 1, 8, 8), None, nn.ReLU)
    assert all(weight.isfinite().all() for weight in model.parameters())
