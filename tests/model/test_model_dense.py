"""Linear models, multi-layer perceptrons and deep linear networks, written out."""

import functools

import pytest
import torch
from nets import EXACT, dropout, leaves, make_kit
from torch import nn
from torch.testing import assert_close

from trainer.model.linear import Linear
from trainer.model.mlp import DeepMlp, LinearChain, Mlp
from trainer.norm import Batch, Identity


def test_linear_is_a_matrix_product():
    model, images = Linear((1, 3, 4), 5, make_kit()), torch.rand(6, 1, 3, 4)
    weight, bias = model.parameters()
    assert_close(model(images), images.reshape(6, 12) @ weight.T + bias)


@pytest.mark.parametrize(
    "make", [functools.partial(Mlp, hidden=[7, 7, 7]), functools.partial(DeepMlp, width=7, depth=3)]
)
def test_an_mlp_is_the_net_written_out(make):
    model, images = make((2, 3), 4, make_kit(act=nn.Tanh)), torch.rand(6, 2, 3)
    *hidden, weight, bias = model.parameters()
    x = images.reshape(6, 6)
    for w, b in zip(hidden[::2], hidden[1::2], strict=True):
        x = (x @ w.T + b).tanh()
    assert len(hidden) == 6
    assert_close(model(images), x @ weight.T + bias)


def test_an_mlp_with_batch_norm_is_the_net_written_out():
    model, table = Mlp((6,), 4, make_kit(Batch()), hidden=[7]).double(), torch.rand(9, 6, dtype=torch.float64)
    w1, gamma, beta, w2, b2 = model.parameters()
    nn.init.normal_(gamma), nn.init.normal_(beta)
    hidden = table @ w1.T
    hidden = gamma * (hidden - hidden.mean(0)) / (hidden.var(0, correction=0) + 1e-5).sqrt() + beta
    assert_close(model(table), hidden.clamp(min=0) @ w2.T + b2)


def test_an_mlp_without_hidden_layers_is_linear():
    assert leaves(Mlp((4,), 3, make_kit(), hidden=[])) == [nn.Flatten, nn.Linear]


def test_a_linear_chain_is_a_product_of_matrices():
    model = LinearChain((5,), 2, make_kit(act=nn.Tanh, drops=[dropout]), width=3, depth=4).double()
    table = torch.rand(6, 5).double()
    w1, w2, w3, w4 = model.parameters()
    assert_close(model(table), table @ w1.T @ w2.T @ w3.T @ w4.T, **EXACT)
    assert leaves(LinearChain((5,), 2, make_kit(), depth=1)) == [nn.Flatten, nn.Linear]


@pytest.mark.parametrize("depth", [2, 10, 40])
def test_a_step_on_a_scalar_chain_misses_its_first_order_forecast_by_more_the_deeper_it_is(depth):
    """y = w_1 ... w_l at w = 1, x = 1: every g is 1, the step is 0.1 / (g g) = 0.1 / l, and y becomes (1 - 0.1 / l)^l.

    The first-order forecast is 0.9. The second-order term is the sum over pairs of step^2 g_i g_j and the product of
    the other w: l (l - 1) / 2 (0.1 / l)^2.
    """
    model = LinearChain((1,), 1, make_kit(), width=1, depth=depth).double()
    weights = list(model.parameters())
    for weight in weights:
        nn.init.ones_(weight)
    x = torch.ones(1, 1).double()
    model(x).sum().backward()
    step = 0.1 / sum(weight.grad.square().sum() for weight in weights)
    with torch.no_grad():
        for weight in weights:
            weight -= step * weight.grad
    after_step = model(x).item()
    assert after_step == pytest.approx((1 - 0.1 / depth) ** depth, rel=1e-12)
    second_order = depth * (depth - 1) / 2 * (0.1 / depth) ** 2
    assert after_step - 0.9 == pytest.approx(second_order, rel=0.05)  # the third order is at most 0.1 / 3 of the second


def test_behind_a_norm_the_lower_layers_of_a_chain_no_longer_set_the_scale():
    model = LinearChain((5,), 2, make_kit(Batch(eps=1e-12)), width=3, depth=3).double()
    table = torch.rand(8, 5).double()
    outputs = model(table)
    with torch.no_grad():
        model[1].weight.mul_(7)
    assert_close(model(table), outputs, rtol=1e-6, atol=1e-8)  # eps against variances of 1e-2
    assert leaves(model) == [nn.Flatten, nn.Linear, type(Batch()(1)), nn.Linear, type(Batch()(1)), nn.Linear]


def test_the_lower_layers_of_a_chain_set_the_spread_of_its_outputs_only_without_norms():
    """The input of w_5 has mean beta and spread |gamma|, whatever w_1 ... w_3; without norms they set both."""
    table, draws = torch.rand(50, 5).double(), torch.Generator().manual_seed(0)
    for norm in (Batch(eps=1e-12), Identity()):
        model, seen = LinearChain((5,), 2, make_kit(norm), width=3, depth=5).double(), []
        for scale in (0.3, 1.0, 5.0):
            with torch.no_grad():
                for layer in [part for part in model if isinstance(part, nn.Linear)][:3]:
                    layer.weight.copy_(scale * torch.randn(layer.weight.shape, generator=draws).double())
                hidden = nn.Sequential(*list(model)[:-1])(table)
            seen.append((hidden.mean(0), hidden.std(0, correction=0)))
        for mean, spread in seen:
            kept = isinstance(norm, Batch)
            # float64: rounding in a norm of variance 1; eps against a variance of 1e-4 and more
            assert torch.allclose(mean, torch.zeros(3).double(), atol=1e-9) == kept
            assert torch.allclose(spread, torch.ones(3).double(), atol=1e-6) == kept
