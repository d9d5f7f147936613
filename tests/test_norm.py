"""Normalisation against the formula in NumPy float64 and against torch's own layers, for inputs of any rank."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from trainer.norm import Batch, Layer

SHAPES = [(6, 5), (6, 5, 7), (6, 5, 4, 3), (6, 5, 2, 3, 2)]
ROUNDING = {"rtol": 1e-10, "atol": 1e-12}  # float64; kernels add in another order than NumPy


@pytest.fixture
def draws():
    return np.random.default_rng(3)


def learned(norm, draws):
    """Give gamma and beta values that are not 1 and 0; return them with the shape of one sample's channels."""
    norm.double()
    with torch.no_grad():
        norm.weight.copy_(torch.from_numpy(draws.normal(size=5)))
        norm.bias.copy_(torch.from_numpy(draws.normal(size=5)))
    return norm.weight.detach().numpy(), norm.bias.detach().numpy()


def per_channel(values, rank):
    return values.reshape(1, -1, *[1] * (rank - 2))


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_in_training_uses_the_batchs_mean_and_biased_variance(shape, draws):
    norm, x = Batch(5, eps=0.01), draws.normal(2, 3, shape)
    gamma, beta = (per_channel(values, len(shape)) for values in learned(norm, draws))
    over = (0, *range(2, len(shape)))
    expected = gamma * (x - x.mean(over, keepdims=True)) / np.sqrt(x.var(over, keepdims=True) + 0.01) + beta
    assert_close(norm(torch.from_numpy(x)), torch.from_numpy(expected), **ROUNDING)


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_in_evaluation_uses_running_averages_with_the_unbiased_variance(shape, draws):
    norm, over = Batch(5, momentum=0.3), (0, *range(2, len(shape)))
    gamma, beta = (per_channel(values, len(shape)) for values in learned(norm, draws))
    mean, var = np.zeros(5), np.ones(5)
    for _ in range(3):
        x = draws.normal(2, 3, shape)
        norm(torch.from_numpy(x))
        mean, var = 0.7 * mean + 0.3 * x.mean(over), 0.7 * var + 0.3 * x.var(over, ddof=1)
    assert_close(norm.running_mean, torch.from_numpy(mean), **ROUNDING)
    assert_close(norm.running_var, torch.from_numpy(var), **ROUNDING)
    mean, var = per_channel(mean, len(shape)), per_channel(var, len(shape))
    expected = gamma * (x - mean) / np.sqrt(var + 1e-5) + beta
    assert_close(norm.eval()(torch.from_numpy(x)), torch.from_numpy(expected), **ROUNDING)
    assert_close(norm.running_mean, torch.from_numpy(mean.ravel()), **ROUNDING)  # evaluation learns nothing


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(("theirs", "shape"), [(nn.BatchNorm1d, (6, 5)), (nn.BatchNorm1d, (6, 5, 7)), (nn.BatchNorm2d, (6, 5, 4, 3))])
def test_batch_is_torchs_batch_norm(theirs, shape, affine):
    ours, theirs = Batch(5, eps=1e-3, momentum=0.2, affine=affine), theirs(5, eps=1e-3, momentum=0.2, affine=affine)
    for seed in range(3):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).add_(1)
        assert torch.equal(ours(x), theirs(x))  # the same kernel
    assert torch.equal(ours.eval()(x), theirs.eval()(x))
    ours, theirs = ours.state_dict(), theirs.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_batch_refuses_to_average_one_value_a_channel_in_training_only():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        Batch(5)(torch.zeros(1, 5))
    assert Batch(5).eval()(torch.zeros(1, 5)).shape == (1, 5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_layer_uses_each_samples_own_mean_and_biased_variance(shape, training, draws):
    norm, x = Layer(5, eps=0.01), draws.normal(2, 3, shape)
    gamma, beta = (per_channel(values, len(shape)) for values in learned(norm, draws))
    over = tuple(range(1, len(shape)))
    expected = gamma * (x - x.mean(over, keepdims=True)) / np.sqrt(x.var(over, keepdims=True) + 0.01) + beta
    assert_close(norm.train(training)(torch.from_numpy(x)), torch.from_numpy(expected), **ROUNDING)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_layer_is_torchs_layer_norm(shape, affine, draws):
    ours, theirs = Layer(5, eps=1e-3, affine=affine).double(), nn.LayerNorm(shape[1:], eps=1e-3, elementwise_affine=affine).double()
    if affine:
        gamma, beta = learned(ours, draws)
        with torch.no_grad():
            theirs.weight.copy_(torch.from_numpy(per_channel(gamma, len(shape))[0]))
            theirs.bias.copy_(torch.from_numpy(per_channel(beta, len(shape))[0]))
    x = torch.from_numpy(draws.normal(2, 3, shape))
    assert_close(ours(x), theirs(x), **ROUNDING)


def test_layer_takes_a_batch_of_one():
    x = torch.tensor([[1.0, 2.0, 3.0]])
    root = (2 / 3 + 1e-5) ** -0.5
    assert_close(Layer(3)(x), torch.tensor([[-root, 0.0, root]]))


@pytest.mark.parametrize("norm", [Batch, Layer])
def test_a_fresh_norm_is_scale_one_and_shift_zero(norm):
    assert (norm(3).weight.tolist(), norm(3).bias.tolist()) == ([1, 1, 1], [0, 0, 0])
    assert list(norm(3, affine=False).parameters()) == []
