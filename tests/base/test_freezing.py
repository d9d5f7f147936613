"""Frozen layers: no gradient, and batch norms that keep their statistics in whatever mode and copy."""

import copy

import pytest
import torch
from torch import nn

from trainer.base.freezing import freeze, keeps_statistics
from trainer.data.loader import Loader
from trainer.data.splits import Split
from trainer.engine.batch_norms import recomputed_statistics
from trainer.preprocess import Identity


@pytest.fixture
def model():
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    for norm in (made[1], made[3]):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return made


def first_two(name):
    return name.partition(".")[0] in ("0", "1") and name != ""


def test_what_is_covered_has_no_gradient_and_is_named(model):
    assert {*freeze(model, first_two)} == {"0", "0.weight", "0.bias", "1", "1.weight", "1.bias"}
    model(torch.randn(5, 3)).sum().backward()
    assert [weight.grad is None for weight in model.parameters()] == [True] * 4 + [False] * 6


@pytest.mark.parametrize("copied", [False, True])
def test_a_frozen_norm_normalises_by_its_running_statistics_in_training(model, copied):
    list(freeze(model, first_two))
    model = copy.deepcopy(model) if copied else model
    frozen, free = model[1], model[3]
    before, images = copy.deepcopy(model.state_dict()), torch.randn(50, 3) * 3 + 5
    model.train()
    hidden = model[:2](images)
    expected = (model[0](images) - frozen.running_mean) / (frozen.running_var + frozen.eps).sqrt()
    torch.testing.assert_close(hidden, expected * frozen.weight + frozen.bias)
    model(images)
    assert torch.equal(frozen.running_mean, before["1.running_mean"])
    assert torch.equal(frozen.running_var, before["1.running_var"]) and not frozen.num_batches_tracked
    assert not torch.equal(free.running_mean, before["3.running_mean"]) and free.training
    assert keeps_statistics(frozen) and not keeps_statistics(free)


def test_statistics_for_averaged_weights_leave_a_frozen_norm_alone(model):
    list(freeze(model, first_two))
    before = copy.deepcopy(model.state_dict())
    split = Split(torch.randn(64, 3), torch.zeros(64, 2))
    with recomputed_statistics(model, Loader(split, Identity(), torch.device("cpu")), 16):
        assert torch.equal(model[1].running_mean, before["1.running_mean"])
        assert not torch.equal(model[3].running_mean, before["3.running_mean"])
        model.eval()
        hidden = model[:3](split.images)
        torch.testing.assert_close(model[3].running_mean, hidden.mean(0), rtol=1e-4, atol=1e-5)  # order of sums
