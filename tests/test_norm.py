"""Normalisation against the formula in NumPy float64 and against torch's own layers, for inputs of any rank."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from trainer.base.errors import ConfigError
from trainer.engine.build import build_run
from trainer.norm import Batch, DynamicTanh, Group, Identity, Instance, Layer, Rms

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
    norm, x = Batch(eps=0.01)(5), draws.normal(2, 3, shape)
    gamma, beta = (per_channel(values, len(shape)) for values in learned(norm, draws))
    over = (0, *range(2, len(shape)))
    expected = gamma * (x - x.mean(over, keepdims=True)) / np.sqrt(x.var(over, keepdims=True) + 0.01) + beta
    assert_close(norm(torch.from_numpy(x)), torch.from_numpy(expected), **ROUNDING)


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_in_evaluation_uses_running_averages_with_the_unbiased_variance(shape, draws):
    norm, over = Batch(momentum=0.3)(5), (0, *range(2, len(shape)))
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
@pytest.mark.parametrize(
    ("theirs", "shape"), [(nn.BatchNorm1d, (6, 5)), (nn.BatchNorm1d, (6, 5, 7)), (nn.BatchNorm2d, (6, 5, 4, 3))]
)
def test_batch_is_torchs_batch_norm(theirs, shape, affine):
    ours, theirs = Batch(eps=1e-3, momentum=0.2, affine=affine)(5), theirs(5, eps=1e-3, momentum=0.2, affine=affine)
    for seed in range(3):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).add_(1)
        assert torch.equal(ours(x), theirs(x))  # the same kernel
    assert torch.equal(ours.eval()(x), theirs.eval()(x))
    ours, theirs = ours.state_dict(), theirs.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_batch_refuses_to_average_one_value_a_channel_in_training_only():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        Batch()(5)(torch.zeros(1, 5))
    assert Batch()(5).eval()(torch.zeros(1, 5)).shape == (1, 5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("make", "shape", "first"), [(Layer, shape, 1) for shape in SHAPES] + [(Instance, shape, 2) for shape in SHAPES[1:]]
)
def test_layer_and_instance_use_each_samples_own_mean_and_biased_variance(make, shape, first, training, draws):
    """Over everything but the sample, and over everything but the sample and the channel."""
    norm, x = make(eps=0.01)(5), draws.normal(2, 3, shape)
    gamma, beta = (per_channel(values, len(shape)) for values in learned(norm, draws))
    over = tuple(range(first, len(shape)))
    expected = gamma * (x - x.mean(over, keepdims=True)) / np.sqrt(x.var(over, keepdims=True) + 0.01) + beta
    assert_close(norm.train(training)(torch.from_numpy(x)), torch.from_numpy(expected), **ROUNDING)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_layer_is_torchs_layer_norm(shape, affine, draws):
    ours = Layer(eps=1e-3, affine=affine)(5).double()
    theirs = nn.LayerNorm(shape[1:], eps=1e-3, elementwise_affine=affine).double()
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
    assert_close(Layer()(3)(x), torch.tensor([[-root, 0.0, root]]))


@pytest.mark.parametrize("norm", [Batch, DynamicTanh, Layer, Instance, Group, Rms])
def test_a_fresh_norm_is_scale_one_and_shift_zero(norm):
    assert (norm()(3).weight.tolist(), norm()(3).bias.tolist()) == ([1, 1, 1], [0, 0, 0])
    assert [weight.numel() for weight in norm(affine=False)(3).parameters()] == ([1] if norm is DynamicTanh else [])


@pytest.mark.parametrize("training", [True, False])
def test_instance_is_torchs_instance_norm_and_refuses_tables(training):
    ours, theirs, x = Instance(eps=1e-3)(5).train(training), nn.InstanceNorm2d(5, eps=1e-3), torch.randn(6, 5, 4, 3)
    assert_close(ours(x), theirs(x))
    with pytest.raises(ValueError, match="norm=instance: there is only one value to average"):
        ours(torch.zeros(6, 5))


@pytest.mark.parametrize(
    ("channels", "asked", "groups"),
    [(64, 32, 32), (128, 32, 32), (16, 32, 8), (120, 32, 30), (6, 2, 2), (6, 4, 3), (7, 4, 1), (1, 32, 1)],
)
def test_group_takes_the_number_asked_or_the_next_smaller_that_divides(channels, asked, groups, draws):
    norm, x = Group(groups=asked, eps=0.01)(channels).double(), draws.normal(2, 3, (6, channels, 4))
    parts = x.reshape(6, groups, -1)
    expected = (parts - parts.mean(2, keepdims=True)) / np.sqrt(parts.var(2, keepdims=True) + 0.01)
    assert norm.num_groups == groups
    assert_close(norm(torch.from_numpy(x)), torch.from_numpy(expected.reshape(x.shape)), **ROUNDING)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_rms_divides_each_sample_by_its_root_mean_square(shape, training, draws):
    norm, x = Rms(eps=0.01)(5), draws.normal(2, 3, shape)
    gamma, beta = (per_channel(values, len(shape)) for values in learned(norm, draws))
    over = tuple(range(1, len(shape)))
    expected = gamma * x / np.sqrt((x**2).mean(over, keepdims=True) + 0.01) + beta
    assert_close(norm.train(training)(torch.from_numpy(x)), torch.from_numpy(expected), **ROUNDING)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_dyt_squeezes_each_value_by_itself(shape, training, draws):
    norm, x = DynamicTanh(alpha=0.8)(5), draws.normal(0.5, 2, shape)
    gamma, beta = (per_channel(values, len(shape)) for values in learned(norm, draws))
    z = np.exp(2 * norm.alpha.item() * x)  # tanh y = (e^2y - 1) / (e^2y + 1)
    expected = gamma * (z - 1) / (z + 1) + beta
    assert norm.alpha.item() == pytest.approx(0.8, rel=1e-7)  # it was made in float32
    assert_close(norm.train(training)(torch.from_numpy(x)), torch.from_numpy(expected), **ROUNDING)


def test_dyt_learns_its_slope():
    """d/d alpha of the sum of tanh(alpha x) is that of x (1 - tanh^2)."""
    norm, x = DynamicTanh(affine=False)(2).double(), torch.tensor([[0.3, -2.0], [1.5, 0.1]], dtype=torch.float64)
    norm(x).sum().backward()
    assert_close(norm.alpha.grad, (x * (1 - (0.5 * x).tanh().square())).sum().reshape(1))


def test_dyt_takes_a_batch_of_one_and_a_layer_of_one():
    assert_close(DynamicTanh()(1)(torch.tensor([[2.0]])), torch.tensor([[np.tanh(1.0)]], dtype=torch.float32))


def test_batch_with_gamma_and_beta_of_the_batch_is_the_identity(draws):
    """gamma = sqrt(var + eps), beta = mean undo it (Ioffe & Szegedy, section 3), exactly so with eps."""
    norm, x = Batch()(5).double(), torch.from_numpy(draws.normal(2, 3, (6, 5, 4)))
    with torch.no_grad():
        norm.weight.copy_((x.var((0, 2), correction=0) + 1e-5).sqrt())
        norm.bias.copy_(x.mean((0, 2)))
    assert_close(norm(x), x, **ROUNDING)


def test_the_gradient_through_batch_norm_never_only_shifts_or_scales(draws):
    """Backward through the statistics leaves nothing along a constant or along x - mean itself, but for eps."""
    x = torch.from_numpy(draws.normal(2, 3, (50, 5))).requires_grad_()
    (Batch(eps=1e-12)(5).double()(x) * torch.from_numpy(draws.normal(size=(50, 5)))).sum().backward()
    centred = (x - x.mean(0)).detach()
    assert_close(x.grad.sum(0), torch.zeros(5, dtype=torch.float64), rtol=0, atol=1e-10)
    assert_close((x.grad * centred).sum(0), torch.zeros(5, dtype=torch.float64), rtol=0, atol=1e-10)


def test_no_norm_is_the_identity():
    assert isinstance(Identity()(5), nn.Identity)


@pytest.mark.parametrize("norm", [Batch, DynamicTanh, Layer, Instance, Group, Rms])
def test_a_place_that_does_not_exist_is_refused(norm):
    with pytest.raises(ValueError, match="place must be one of before_act, after_act, got behind"):
        norm(place="behind")


@pytest.mark.parametrize(
    ("norm", "shape"), [(Layer(), (3, 2)), (Instance(), (3, 5, 1, 2)), (Group(), (3, 64)), (Group(groups=2), (3, 4, 1))]
)
def test_two_values_that_become_1_and_minus_1_whatever_they_are_are_refused(norm, shape):
    message = r"only two values \(they become 1 and -1\) to average, in a layer with outputs of shape \("
    with pytest.raises(ValueError, match=message):
        norm(shape[1])(torch.zeros(shape))


@pytest.mark.parametrize(
    ("norm", "shape", "advice"),
    [
        (Group(), (3, 64), "norm.groups=16, norm=batch, norm=rms"),  # 32 groups of 2; 16 is the most of 3 or more
        (Group(), (3, 6), "norm.groups=2, norm=batch, norm=rms"),
        (Group(), (3, 2), "norm=batch, norm=rms"),
        (Layer(), (3, 1), "norm=batch"),  # of one value a root mean square leaves the sign alone
        (Rms(), (3, 1), "norm=batch"),
        (Instance(), (3, 5, 1, 1), "norm=batch, norm=rms"),
    ],
)
def test_too_few_values_to_average_are_refused_with_advice(norm, shape, advice):
    for training in (True, False):
        with pytest.raises(ValueError, match=f"; try {advice}$"):
            norm(shape[1]).train(training)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("norm", "shape"), [(Group(), (3, 96)), (Layer(), (3, 3)), (Instance(), (3, 5, 1, 3)), (Rms(), (3, 2))]
)
def test_three_values_or_two_of_rms_let_a_gradient_through(norm, shape, draws):
    x = torch.from_numpy(draws.normal(size=shape)).requires_grad_()
    (norm(shape[1]).double()(x) * torch.from_numpy(draws.normal(size=shape))).sum().backward()
    # Of order 1; of two values, or the sign of one, it is of order eps.
    assert (x.grad.flatten(1).norm(dim=1) > 1e-3).all()


def test_mean_and_deviation_after_batch_norm_are_beta_and_gamma_for_any_input(draws):
    norm = Batch(eps=1e-12)(5)
    gamma, beta = learned(norm, draws)
    for _ in range(3):
        out = norm(torch.from_numpy(draws.normal(draws.normal(), 1 + draws.random(), (40, 5, 3)))).detach().numpy()
        np.testing.assert_allclose(out.mean((0, 2)), beta, rtol=1e-9, atol=1e-12)  # float64
        np.testing.assert_allclose(out.std((0, 2)), abs(gamma), rtol=1e-9)  # eps against variances above 1


def test_two_evaluations_of_a_run_agree_and_move_no_running_average(composed):
    run = build_run(composed("model=cnn", "model.channels=[8]", "norm=batch", "threads=1"))
    run.model.train()
    run.model(run.train.batch(torch.arange(64))[0])  # averages that are not those of a fresh norm
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    first, second = run.evaluate(run.model, run.val), run.evaluate(run.model, run.val)
    assert first == second
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())
    assert run.model.training


def test_a_training_batch_of_one_is_refused_before_the_run(composed):
    with pytest.raises(
        ConfigError,
        match="batch_size=1: every batch holds one sample, .*norm.* needs two or more; try batch_size=2",
    ):
        build_run(composed("model=mlp", "norm=batch", "batch_size=1", "threads=1"))


@pytest.mark.parametrize("norm", [Batch, DynamicTanh, Layer, Instance, Group, Rms])
def test_values_out_of_range_are_refused(norm):
    wrong = {Batch: [{"momentum": 0.0}, {"momentum": 1.1}], Group: [{"groups": 0}]}
    first = {"alpha": 0.0} if norm is DynamicTanh else {"eps": 0.0 if norm is Batch else -1e-9}
    for fields in [first, *wrong.get(norm, [])]:
        with pytest.raises(ValueError, match=f"{next(iter(fields))} must be"):
            norm(**fields)


@pytest.mark.parametrize("norm", [Layer, Instance, Group])
def test_eps_0_is_the_lectures_formula_without_it(norm):
    """(x - mean) / sqrt(var) has the mean square 1 exactly, of whatever it is taken over; in float64."""
    x = torch.randn(6, 4, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 1e-4
    layer = (norm(eps=0.0, groups=2) if norm is Group else norm(eps=0.0))(4).double()
    assert layer(x).square().mean().item() == pytest.approx(1, rel=1e-12)


def test_rms_of_eps_0_is_the_papers():
    x = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 1e-4
    torch.testing.assert_close(Rms(eps=0.0)(4).double()(x), x / x.square().mean(1, keepdim=True).sqrt())


def test_the_output_of_a_sample_varies_with_its_batch_by_one_over_the_root_of_its_size():
    """(x - mean) / deviation of a batch of m is off by sqrt((1 + x^2 / 2) / m) for normal companions; later by nothing.

    This noise is what makes batch norm a regulariser.
    """
    torch.manual_seed(0)
    norm, x = Batch(affine=False)(1).double(), 1.5
    for size in (32, 512):
        batches = torch.randn(size, 2000, dtype=torch.float64)
        batches[0] = x
        outputs = Batch(affine=False)(2000).double()(batches)[0]  # 2,000 batches side by side
        # A deviation over 2,000 draws is off by 1 / sqrt(4000) = 1.6 %; the formula by a term of order 1 / m.
        assert outputs.std().item() == pytest.approx(math.sqrt((1 + x**2 / 2) / size), rel=5 * 0.016 + 1 / size)
    alone, among = (
        norm.eval()(torch.cat([torch.full((1, 1), x).double(), rest])) for rest in (batches[:0, :1], batches[1:, :1])
    )
    assert torch.equal(alone[0], among[0])
