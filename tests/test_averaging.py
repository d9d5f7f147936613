"""Averages of weights against the recursion written out."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from trainer.averaging import Ema, Nothing
from trainer.clock import Clock
from trainer.norm import Batch

CLOCK = Clock(total_steps=20, steps_per_epoch=5)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), Batch()(4), nn.Linear(4, 2)).double()


def walk(model, averaging, steps=20):
    """Move the weights and the running statistics at random; return each step's weights as NumPy."""
    rng, seen = torch.Generator().manual_seed(5), []
    for step in range(steps):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=rng, dtype=torch.float64))
        model(torch.randn(6, 3, generator=rng, dtype=torch.float64))
        seen.append({name: value.detach().numpy().copy() for name, value in model.named_parameters()})
        averaging.update(model, CLOCK.at(step))
    return seen


@pytest.mark.parametrize("warmup", [True, False])
@pytest.mark.parametrize("decay", [0.3, 0.9])
def test_ema_is_the_recursion_of_the_weights(decay, warmup, model):
    expected = {name: value.detach().numpy().copy() for name, value in model.named_parameters()}
    ema = Ema(model, decay=decay, warmup=warmup)
    for t, weights in enumerate(walk(model, ema)):
        d = min(decay, (1 + t) / (10 + t)) if warmup else decay
        expected = {name: d * average + (1 - d) * weights[name] for name, average in expected.items()}
    for name, value in ema.evaluated(model).named_parameters():
        assert_close(value.detach().numpy(), expected[name], rtol=1e-12, atol=1e-12)  # 20 float64 blends


def test_ema_without_warm_up_is_the_geometric_sum():
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(model.weight, 8.0)
    ema = Ema(model, decay=0.5, warmup=False)
    nn.init.constant_(model.weight, 0.0)
    for step in range(3):
        ema.update(model, CLOCK.at(step))
    assert ema.evaluated(model).weight.item() == 1.0


def test_ema_copies_buffers_and_leaves_the_model_alone(model):
    ema = Ema(model)
    last = walk(model, ema)[-1]
    assert all(np.array_equal(value.detach().numpy(), last[name]) for name, value in model.named_parameters())
    buffers = dict(ema.evaluated(model).named_buffers())
    assert buffers.keys() == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert all(torch.equal(value, buffers[name]) for name, value in model.named_buffers())
    assert buffers["1.num_batches_tracked"] == 20


def test_nothing_scores_the_model_itself(model):
    averaging = Nothing(model)
    averaging.update(model, CLOCK)
    assert averaging.evaluated(model) is model


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.1])
def test_ema_refuses_a_decay_outside_the_open_interval(decay, model):
    with pytest.raises(ValueError, match=rf"decay must be in \(0, 1\), got {decay}"):
        Ema(model, decay=decay)
