"""Activations: values against formulas in NumPy, slopes at 0 and saturation against what each YAML says."""

import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from conftest import only_run
from nets import make_kit
from omegaconf import OmegaConf
from scipy.special import erf
from torch import nn

from trainer.act import Maxout, Swiglu
from trainer.config import catalog
from trainer.config.hydra_context import Invocation
from trainer.config.instantiate import factory
from trainer.engine.build import build_run

FORMULAS = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": lambda x: (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x)),
    "relu": lambda x: np.maximum(0, x),
    "relu_squared": lambda x: np.maximum(0, x) ** 2,
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "prelu": lambda x: np.where(x > 0, x, 0.25 * x),
    "elu": lambda x: np.where(x > 0, x, np.exp(x) - 1),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * (np.exp(x) - 1)),
    "gelu": lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
    "swish": lambda x: x / (1 + np.exp(-x)),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "hard_sigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "exponential": np.exp,
    "linear": lambda x: x,
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "hard_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
}
WITH_PIECES = ["maxout", "swiglu"]
SINGLE = [name for name in catalog.options("act") if name not in WITH_PIECES]


FACTORIES = {}  # of every activation that a test has asked for: composing is slow


@pytest.fixture
def made(composed):
    def act(name, *overrides):
        if (name, overrides) not in FACTORIES:
            FACTORIES[name, overrides] = factory(composed(f"act={name}", *overrides), "act", Invocation())
        return FACTORIES[name, overrides]().double()

    return act


def slope(act, x):
    x = torch.as_tensor(x, dtype=torch.float64).requires_grad_()
    return torch.autograd.grad(act(x).sum(), x)[0]


def test_every_activation_has_its_formula():
    assert sorted(FORMULAS) == SINGLE


@pytest.mark.parametrize("name", SINGLE)
def test_values_are_those_of_the_formula(name, made):
    x = np.linspace(-8, 8, 4001)
    expected = torch.from_numpy(FORMULAS[name](x))
    # float64, but torch's constants of SELU and its slope 1/6 of the hard ones are rounded to float32 in some kernels.
    torch.testing.assert_close(made(name)(torch.from_numpy(x)), expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", SINGLE)
def test_slopes_are_those_of_the_formula(name, made):
    """Central differences, away from kinks."""
    x = np.array([-5.3, -2.1, -0.7, 0.4, 1.9, 4.2])
    differences = (FORMULAS[name](x + 1e-5) - FORMULAS[name](x - 1e-5)) / 2e-5
    # The error is of order h^2.
    torch.testing.assert_close(slope(made(name), x), torch.from_numpy(differences), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", SINGLE)
def test_the_slope_at_0_is_what_the_yaml_says(name, made):
    said = re.search(r"f'\(0\) = (\d+(?:[./]\d+)?)", catalog.file("act", name).read_text())[1]
    assert slope(made(name), [0.0]).item() == pytest.approx(float(Fraction(said)), abs=1e-4)


@pytest.mark.parametrize("name", SINGLE)
def test_saturation_begins_where_the_yaml_says(name, made):
    text, x = catalog.file("act", name).read_text(), torch.linspace(-20, 20, 40001, dtype=torch.float64)
    sensitive = x[slope(made(name), x).abs() >= 0.01]
    low, high = sensitive.min().item(), sensitive.max().item()
    found = re.search(r"f'\|? (?:< 0.01|= 0) where (\|x\||x) (?:<|>|<=|>=) (-?[\d.]*\d)", text)
    if "saturates nowhere" in text:
        assert (low, high) == (-20, 20)
    else:
        edge = float(found[2])
        assert low == pytest.approx(-edge if found[1] == "|x|" else edge, abs=2e-3)  # the grid's step is 1e-3
        assert high == pytest.approx(edge if found[1] == "|x|" else 20, abs=2e-3)


def test_tanh_is_a_scaled_sigmoid():
    x = torch.linspace(-5, 5, 101, dtype=torch.float64)
    torch.testing.assert_close(x.tanh(), 2 * (2 * x).sigmoid() - 1)


def test_activations_are_finite_far_out(made):
    far = torch.tensor([-1e4, 1e4], dtype=torch.float64)
    assert all(made(name)(far).isfinite().all() for name in SINGLE if name != "exponential")


def test_the_slope_of_the_leak_and_of_prelu_can_be_chosen(made):
    assert made("leaky_relu", "act.negative_slope=0.1")(torch.tensor(-2.0)).item() == pytest.approx(-0.2)
    assert made("prelu", "act.init=0.5")(torch.tensor([-2.0], dtype=torch.float64)).item() == -1


def test_gelu_by_tanh_is_the_papers_approximation(made):
    x = np.linspace(-4, 4, 81)
    expected = x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    torch.testing.assert_close(made("gelu", "act.approximate=tanh")(torch.from_numpy(x)), torch.from_numpy(expected))


@pytest.mark.parametrize("pieces", [2, 3, 5])
def test_maxout_takes_the_largest_of_neighbouring_pieces(pieces):
    x = np.random.default_rng(0).normal(size=(4, 6 * pieces, 3, 2))
    expected = torch.from_numpy(x.reshape(4, 6, pieces, 3, 2).max(2))
    torch.testing.assert_close(Maxout(pieces=pieces)(torch.from_numpy(x)), expected)


def test_maxout_of_x_and_0_is_relu_and_of_x_and_minus_x_the_absolute_value():
    x = torch.linspace(-3, 3, 7)[:, None]
    assert torch.equal(Maxout(pieces=2)(torch.cat([x, 0 * x], 1)), x.relu())
    assert torch.equal(Maxout(pieces=2)(torch.cat([x, -x], 1)), x.abs())


def test_maxout_of_one_piece_is_refused():
    with pytest.raises(ValueError, match="pieces must be >= 2, got 1"):
        Maxout(pieces=1)


def test_swiglu_is_the_first_of_two_neighbours_times_its_sigmoid_and_times_the_second():
    x = np.random.default_rng(0).normal(size=(4, 12, 3, 2))
    a, b = x[:, 0::2], x[:, 1::2]
    torch.testing.assert_close(Swiglu()(torch.from_numpy(x)), torch.from_numpy(a / (1 + np.exp(-a)) * b))


def test_swiglu_in_a_kit_is_the_papers_gated_layer():
    """(Swish(x W) * x V) W2 with two matrices of their own, whose rows are the kit's in turn."""
    torch.manual_seed(0)
    model, x = make_kit(act=Swiglu).feed_forward(5, 7), torch.randn(3, 5)
    first, _, last = model
    w, v = ((first.weight[start::2], first.bias[start::2]) for start in (0, 1))
    gated = nn.functional.silu(nn.functional.linear(x, *w)) * nn.functional.linear(x, *v)
    assert first.weight.shape == (14, 5) and last.weight.shape == (5, 7)
    torch.testing.assert_close(model(x), nn.functional.linear(gated, last.weight, last.bias))


def test_a_learned_slope_is_no_weight_to_the_l2_penalty(composed):
    """PReLU's slope has one dimension: a penalty that shrinks it would make it a ReLU."""
    run = build_run(composed("model=mlp", "act=prelu", "reg=l2"))
    penalty = run.slots.loss[0](run.model, None, None, None)
    slopes = [weight for name, weight in run.model.named_parameters() if weight.numel() == 1]
    assert len(slopes) == 2 and torch.autograd.grad(penalty, slopes, allow_unused=True) == (None, None)


WITH_KEYS = [
    name for name in catalog.options("act") if re.search(r"^(?!_)\w+:", catalog.file("act", name).read_text(), re.M)
]


@pytest.mark.parametrize("name", WITH_KEYS)
def test_a_saved_configuration_gives_the_same_activation(name, composed):
    cfg = composed(f"act={name}")
    again = OmegaConf.create(OmegaConf.to_yaml(cfg))
    assert repr(factory(again, "act", Invocation())()) == repr(factory(cfg, "act", Invocation())())


def test_maxout_prints_its_pieces():
    assert "pieces=3" in repr(Maxout(pieces=3))  # a run prints its model


def test_the_file_of_a_finished_run_gives_the_same_activation(run_in_process, tmp_path):
    code, _, errors = run_in_process("model=mlp", "act=leaky_relu", "act.negative_slope=0.2", "epochs=1", "threads=1")
    assert code == 0, errors
    kept = OmegaConf.load(only_run(tmp_path) / "config.yaml")
    act = factory(kept, "act", Invocation())()
    assert type(act) is torch.nn.LeakyReLU and act.negative_slope == 0.2
    assert sum(type(part) is torch.nn.LeakyReLU for part in build_run(kept).model.modules()) == 2
