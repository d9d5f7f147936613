"""Regularisers that act on the weights after a step."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from trainer.base.clock import Clock
from trainer.base.protocols import PreStepEdit
from trainer.norm import Batch
from trainer.reg.dropconnect import DropConnect
from trainer.reg.l1_proximal import L1Proximal
from trainer.reg.max_norm import MaxNorm
from trainer.reg.penalties import L1, L2
from trainer.reg.weight_decay import WeightDecay

NOW = Clock(total_steps=10, steps_per_epoch=5)
RATES = [0.1, 0.3, 0.2, 0.05, 0.4]


@pytest.fixture
def model():
    torch.manual_seed(0)
    # No bias before the norm: its gradient is nothing but rounding, which Adam would blow up.
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=False), Batch()(4), nn.Flatten(), nn.Linear(16, 5), nn.Linear(5, 3)
    ).double()


def walk(model, optimizer, reg=None, penalty=None, rates=RATES):
    """Take steps in the loop's order, each at a rate and on data of its own."""
    rng = torch.Generator().manual_seed(7)
    for step, rate in enumerate(rates):
        images = torch.randn(6, 2, 4, 4, generator=rng, dtype=torch.float64)
        targets = torch.randn(6, 3, generator=rng, dtype=torch.float64)
        for group in optimizer.param_groups:
            group["lr"] = rate

        def closure(images=images, targets=targets):
            optimizer.zero_grad()
            loss = (model(images) - targets).square().mean()
            loss = loss + penalty(model, images, None, targets) if penalty else loss
            loss.backward()
            return loss

        now = NOW.at(step, rate)
        if reg:
            reg.before(model, optimizer, now)
        optimizer.step(closure)
        if reg:
            reg(model, optimizer, now)
    return model


def sgd(model, lr=0.1):
    return torch.optim.SGD(model.parameters(), lr=lr)


def groups(model, **decay):
    return [
        {"params": [w for w in model.parameters() if w.dim() > 1], **decay},
        {"params": [w for w in model.parameters() if w.dim() == 1], "weight_decay": 0.0},
    ]


def same(one, other):
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert_close(mine, theirs, rtol=1e-10, atol=1e-10)  # float64, the order of two sums


def apart(one, other):
    return max((mine - theirs).abs().max().item() for mine, theirs in zip(one.parameters(), other.parameters()))


def test_weight_decay_makes_adam_torchs_adamw(model):
    ours, theirs = copy.deepcopy(model), copy.deepcopy(model)
    walk(ours, torch.optim.Adam(ours.parameters(), lr=0.1), WeightDecay(strength=0.2))
    same(ours, walk(theirs, torch.optim.AdamW(groups(theirs, weight_decay=0.2), lr=0.1)))


@pytest.mark.parametrize("optimizer", [torch.optim.RMSprop, torch.optim.LBFGS, torch.optim.SGD])
def test_weight_decay_takes_lr_strength_w_of_the_weights_before_the_step_whatever_the_optimizer(optimizer, model):
    plain, decayed = copy.deepcopy(model), copy.deepcopy(model)
    start = [weight.detach().clone() for weight in model.parameters()]
    walk(plain, optimizer(plain.parameters(), lr=0.1), rates=[0.1])
    walk(decayed, optimizer(decayed.parameters(), lr=0.1), WeightDecay(strength=0.2), rates=[0.1])
    for before, without, with_it in zip(start, plain.parameters(), decayed.parameters()):
        decay = 0.1 * 0.2 * before if before.dim() > 1 else torch.zeros_like(before)
        assert_close(without - with_it, decay, rtol=1e-10, atol=1e-10)  # float64


def test_the_l2_penalty_is_weight_decay_for_plain_sgd_alone(model):
    def both(make):
        one, other = copy.deepcopy(model), copy.deepcopy(model)
        walk(one, make(one.parameters()), WeightDecay(strength=0.2))
        return one, walk(other, make(other.parameters()), penalty=L2(strength=0.2))

    same(*both(lambda weights: torch.optim.SGD(weights, lr=0.1)))
    assert apart(*both(lambda weights: torch.optim.SGD(weights, lr=0.1, momentum=0.9))) > 1e-3
    assert apart(*both(lambda weights: torch.optim.Adam(weights, lr=0.1))) > 1e-3


def test_l1_proximal_takes_the_threshold_off_and_stops_at_exactly_zero():
    layer = nn.Linear(6, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -1.0, 0.125, -0.125, 0.0625, 0.0]]))
        layer.bias.fill_(0.0625)
    L1Proximal(strength=0.5)(layer, sgd(layer, lr=0.25), NOW)  # the threshold is 1/8
    assert layer.weight.tolist() == [[0.875, -0.875, 0.0, 0.0, 0.0, 0.0]] and layer.bias.item() == 0.0625


def least_squares(penalty, steps=60):
    """Take gradient steps on |w - c|^2 / 2 with an L1 of strength 0.3; the minimum is the soft threshold of c."""
    c = np.array([2.0, -1.0, 0.5, 0.31, 0.29, -0.2, 0.1, -0.05])
    layer = nn.Linear(8, 1, bias=False).double()
    nn.init.constant_(layer.weight, 1.0)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    for step in range(steps):
        optimizer.zero_grad()
        loss = (layer.weight - torch.from_numpy(c)).square().sum() / 2
        (loss + penalty(layer, None, None, None) if isinstance(penalty, L1) else loss).backward()
        optimizer.step()
        if isinstance(penalty, L1Proximal):
            penalty(layer, optimizer, NOW.at(step))
    return layer.weight.detach().numpy()[0], np.sign(c) * np.maximum(np.abs(c) - 0.3, 0)


def test_l1_proximal_finds_the_lasso_with_its_exact_zeros_and_the_plain_penalty_finds_no_zero():
    found, lasso = least_squares(L1Proximal(strength=0.3))
    assert_close(found, lasso, rtol=0, atol=1e-12)  # errors are halved 60 times
    assert ((found == 0) == (lasso == 0)).all() and (found == 0).sum() == 4
    found, _ = least_squares(L1(strength=0.3))
    assert (found != 0).all()


def test_a_training_run_with_l1_proximal_counts_exact_zeros_and_one_with_l1_none(fitted):
    overrides = ("model=mlp", "model.hidden=[16]", "epochs=2", "threads=1")
    zeros = []
    for reg in ("loss.l1", "weights.l1_proximal"):
        run, _ = fitted(*overrides, f"reg={reg.partition('.')[2]}", f"reg.{reg}.strength=0.05")
        zeros.append(sum((weight == 0).sum().item() for weight in run.model.parameters() if weight.dim() > 1))
    # Weights of blank pixels get no gradient: uniform to 1/8, they lose 40 * 0.05 * 0.05 = 0.1, 4 of 5 of them all they
    # have.
    blank = (run.train.images.std(0) == 0).sum().item() * 16
    assert zeros[0] == 0 and zeros[1] > blank / 2 > 0
    biases = [weight for weight in run.model.parameters() if weight.dim() == 1]
    assert all((bias != 0).any() for bias in biases)


def test_max_norm_scales_each_unit_that_exceeds_the_limit():
    layer = nn.Linear(2, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]]))
        layer.bias.fill_(100.0)
    MaxNorm(limit=2.0)(layer, sgd(layer), NOW)
    assert_close(layer.weight.detach(), torch.tensor([[1.2, 1.6], [0.3, 0.4], [0.0, 0.0]]))
    assert (layer.bias == 100).all()


def test_max_norm_takes_the_whole_filter_of_a_convolution_and_no_norm_layer(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(10)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    MaxNorm(limit=1.0)(model, sgd(model), NOW)
    for old, new in zip(before, model.parameters()):
        old = old.numpy()
        norms = np.sqrt(np.square(old.reshape(len(old), -1)).sum(1))
        scale = np.where(norms > 1, 1 / norms, 1) if old.ndim > 1 else np.ones(len(old))
        expected = old * scale.reshape(-1, *[1] * (old.ndim - 1))
        assert_close(new.detach().numpy(), expected, rtol=1e-5, atol=0)  # torch adds 1e-7 to the norm


def test_max_norm_holds_the_weights_behind_dropconnect():
    model = DropConnect()(nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 1)))
    with torch.no_grad():
        model[0].parametrizations.weight.original.copy_(torch.tensor([[30.0, 40.0]]))
    MaxNorm(limit=5.0)(model, sgd(model), NOW)
    assert_close(model.eval()[0].weight.detach(), torch.tensor([[3.0, 4.0]]))


@pytest.mark.parametrize(
    "make", [lambda: MaxNorm(limit=1.0), lambda: L1Proximal(strength=1.0), lambda: WeightDecay(strength=1.0)]
)
def test_a_frozen_layer_stays_as_it_is(make, model):
    model[3].weight.requires_grad_(False)
    before, reg, optimizer = model[3].weight.clone(), make(), sgd(model)
    if isinstance(reg, PreStepEdit):
        reg.before(model, optimizer, NOW)
    reg(model, optimizer, NOW)
    assert torch.equal(model[3].weight, before)


@pytest.mark.parametrize("make", [lambda: L1Proximal(strength=0.5), lambda: WeightDecay(strength=0.5)])
def test_each_weight_shrinks_by_the_learning_rate_of_its_own_group(make):
    model, reg = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), make()
    for layer in model:
        nn.init.constant_(layer.weight, 2.0)
    rates = (0.25, 0.0625)
    optimizer = torch.optim.SGD([{"params": layer.parameters(), "lr": lr} for layer, lr in zip(model, rates)], lr=1.0)
    if isinstance(reg, PreStepEdit):
        reg.before(model, optimizer, NOW.at(0, lr=rates[0]))
    reg(model, optimizer, NOW.at(0, lr=rates[0]))
    for layer, lr in zip(model, rates):
        by = lr * 0.5 * (2.0 if isinstance(reg, WeightDecay) else 1.0)
        assert torch.equal(layer.weight, torch.full((2, 2), 2.0 - by))
