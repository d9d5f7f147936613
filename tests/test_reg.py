"""Regularisers against closed forms."""

import math

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from torch.testing import assert_close

from trainer.clock import Clock
from trainer.conf import file
from trainer.norm import Batch
from trainer.reg.dropconnect import DropConnect
from trainer.reg.early_stopping import EarlyStopping
from trainer.reg.grad_clip import GradClip
from trainer.reg.l2 import L2
from trainer.reg.label_smoothing import LabelSmoothing
from trainer.reg.max_norm import MaxNorm

NOW = Clock(total_steps=10, steps_per_epoch=5)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), Batch()(4), nn.Flatten(), nn.Linear(16, 5), nn.Linear(5, 3))


def matrices(model):
    return [model[0].weight, model[3].weight, model[4].weight]


def test_l2_is_half_the_strength_times_the_squares_of_weights_alone(model):
    squares = sum(np.square(weight.detach().double().numpy()).sum() for weight in matrices(model))
    assert L2(strength=0.3)(model, None, None, None).item() == pytest.approx(0.15 * squares, rel=1e-5)  # float32 sums of 167 terms


def test_the_gradient_of_l2_is_strength_times_the_weight_also_at_zero(model):
    nn.init.zeros_(model[3].weight)
    L2(strength=0.3)(model, None, None, None).backward()
    for weight in matrices(model):
        assert_close(weight.grad, 0.3 * weight.detach())
    assert [parameter.grad for parameter in (model[0].bias, model[1].weight, model[1].bias, model[4].bias)] == [None] * 4


def test_l2_makes_an_sgd_step_shrink_the_weight():
    layer = nn.Linear(1, 1)
    nn.init.constant_(layer.weight, 2.0)
    L2(strength=0.5)(layer, None, None, None).backward()
    torch.optim.SGD(layer.parameters(), lr=0.1).step()
    assert layer.weight.item() == pytest.approx(2 * (1 - 0.1 * 0.5))


def test_dropout_scales_what_it_keeps_and_does_nothing_in_evaluation():
    fields = OmegaConf.load(file("reg", "dropout")).layer.dropout
    assert fields._target_ == "torch.nn.Dropout"
    torch.manual_seed(0)
    drop, x = nn.Dropout(fields.p), torch.full((10_000,), 3.0)
    kept = drop(x) != 0
    assert (drop.eval()(x) == x).all() and fields.p == 0.5
    drop.train()
    assert set(drop(x).tolist()) == {0.0, 3.0 / (1 - fields.p)}
    assert abs(kept.double().mean() - 0.5) < 5 * math.sqrt(0.25 / 10_000)  # five deviations of a share of 10,000


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5])
def test_dropconnect_drops_each_weight_and_scales_the_others_in_training(p):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(100, 100), nn.Linear(100, 3))
    original, count = model[0].weight.detach().clone(), sum(1 for _ in model.parameters())
    assert DropConnect(p=p)(model) is model
    seen = model[0].weight.detach()
    kept = seen != 0
    assert_close(seen[kept], original[kept] / (1 - p))
    assert abs(kept.double().mean() - (1 - p)) <= 5 * math.sqrt(p * (1 - p) / 10_000)  # five deviations of a share of 10,000
    assert p == 0 or not torch.equal(model[0].weight, seen)  # a new mask for each use
    assert torch.equal(model.eval()[0].weight, original)
    assert sum(1 for _ in model.parameters()) == count


def test_dropconnect_takes_hidden_dense_layers_and_convolutions_but_not_the_last(model):
    DropConnect(p=0.5)(model)
    assert [nn.utils.parametrize.is_parametrized(layer) for layer in model] == [True, False, False, True, False]


def test_dropconnect_gives_a_dropped_weight_no_gradient_and_a_kept_one_the_scaled():
    torch.manual_seed(0)
    model = DropConnect(p=0.75)(nn.Sequential(nn.Linear(20, 1, bias=False), nn.Linear(1, 1)))
    with nn.utils.parametrize.cached():
        kept = model[0].weight != 0
        model[0](torch.ones(1, 20)).backward()
    assert_close(model[0].parametrizations.weight.original.grad, kept * 4.0)


def test_label_smoothing_mixes_with_the_uniform_distribution():
    images, targets = torch.zeros(2, 1), torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]])
    same, smooth = LabelSmoothing(alpha=0.2)(images, targets, torch.Generator())
    assert same is images
    assert_close(smooth, torch.tensor([[0.05, 0.85, 0.05, 0.05], [0.45, 0.45, 0.05, 0.05]]))


def test_label_smoothing_of_yes_or_no_counts_two_classes():
    _, smooth = LabelSmoothing(alpha=0.2)(torch.zeros(2, 1), torch.tensor([[0.0], [1.0]]), torch.Generator())
    assert_close(smooth, torch.tensor([[0.1], [0.9]]))


def test_label_smoothing_gives_torchs_smoothed_loss(model):
    outputs, labels = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3, 4, 0])
    _, smooth = LabelSmoothing(alpha=0.1)(outputs, nn.functional.one_hot(labels, 5).float(), torch.Generator())
    assert_close(nn.functional.cross_entropy(outputs, smooth), nn.functional.cross_entropy(outputs, labels, label_smoothing=0.1))


def test_max_norm_scales_each_unit_that_exceeds_the_limit():
    layer = nn.Linear(2, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]]))
        layer.bias.fill_(100.0)
    MaxNorm(limit=2.0)(layer, NOW)
    assert_close(layer.weight.detach(), torch.tensor([[1.2, 1.6], [0.3, 0.4], [0.0, 0.0]]))
    assert (layer.bias == 100).all()


def test_max_norm_takes_the_whole_filter_of_a_convolution_and_no_norm_layer(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(10)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    MaxNorm(limit=1.0)(model, NOW)
    for old, new in zip(before, model.parameters()):
        old = old.numpy()
        norms = np.sqrt(np.square(old.reshape(len(old), -1)).sum(1))
        scale = np.where(norms > 1, 1 / norms, 1) if old.ndim > 1 else np.ones(len(old))
        expected = old * scale.reshape(-1, *[1] * (old.ndim - 1)).astype(np.float32)
        assert_close(new.detach().numpy(), expected, rtol=1e-5, atol=0)  # torch adds 1e-7 to the norm


def test_max_norm_holds_the_weights_behind_dropconnect():
    model = DropConnect()(nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 1)))
    with torch.no_grad():
        model[0].parametrizations.weight.original.copy_(torch.tensor([[30.0, 40.0]]))
    MaxNorm(limit=5.0)(model, NOW)
    assert_close(model.eval()[0].weight.detach(), torch.tensor([[3.0, 4.0]]))


@pytest.mark.parametrize(("limit", "scale"), [(1.0, 1 / 13), (6.5, 0.5), (13.1, 1.0), (100.0, 1.0)])
def test_grad_clip_scales_the_whole_gradient_to_the_limit(limit, scale):
    layer = nn.Linear(2, 1)
    layer.weight.grad, layer.bias.grad = torch.tensor([[3.0, 4.0]]), torch.tensor([12.0])  # the norm is 13
    GradClip(limit=limit)(layer, NOW)
    assert_close(layer.weight.grad, scale * torch.tensor([[3.0, 4.0]]))
    assert_close(layer.bias.grad, scale * torch.tensor([12.0]))


def test_grad_clip_passes_over_weights_without_gradient():
    layer = nn.Linear(2, 1)
    layer.weight.grad = torch.tensor([[3.0, 4.0]])
    GradClip(limit=1.0)(layer, NOW)
    assert_close(layer.weight.grad, torch.tensor([[0.6, 0.8]]))
    assert layer.bias.grad is None


@pytest.mark.parametrize(
    ("fields", "values", "stops"),
    [
        ({"patience": 2}, [1.0, 0.9, 0.9, 0.95, 0.8], 4),
        ({"patience": 1}, [1.0, 0.9, 0.8, 0.7], None),
        ({"patience": 1}, [1.0, 1.0], 2),
        ({"patience": 3}, [1.0, 1.1, 1.1, 0.9, 1.0, 1.0, 1.0], 7),
        ({"patience": 2, "min_delta": 0.25}, [1.0, 0.875, 0.75], 3),
        ({"patience": 2, "min_delta": 0.25}, [1.0, 0.875, 0.625, 0.5, 0.5], 5),
        ({"patience": 2, "monitor": "accuracy"}, [0.5, 0.6, 0.5, 0.6], 4),
        ({"patience": 2, "monitor": "accuracy"}, [0.5, 0.6, 0.7, 0.8], None),
        ({"patience": 2, "monitor": "r2"}, [-0.5, -0.6, 0.1, 0.1, 0.0], 5),
    ],
)
def test_early_stopping_waits_patience_scorings_since_the_best(fields, values, stops):
    stop = EarlyStopping(**fields)
    history = [{stop.monitor: value} for value in values]
    verdicts = [stop(history[:count]) for count in range(1, len(history) + 1)]
    assert verdicts == [count == stops for count in range(1, len(history) + 1)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: L2(strength=-1e-4), "strength must be >= 0, got -0.0001"),
        (lambda: DropConnect(p=1.0), r"p must be in \[0, 1\), got 1.0"),
        (lambda: LabelSmoothing(alpha=1.0), r"alpha must be in \[0, 1\), got 1.0"),
        (lambda: MaxNorm(limit=0.0), "limit must be > 0, got 0.0"),
        (lambda: GradClip(limit=0.0), "limit must be > 0, got 0.0"),
        (lambda: EarlyStopping(patience=0), "patience must be >= 1, got 0"),
        (lambda: EarlyStopping(min_delta=-0.1), "min_delta must be >= 0, got -0.1"),
        (lambda: EarlyStopping(monitor="f1"), "monitor must be one of loss, accuracy, r2, got f1"),
    ],
)
def test_numbers_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
