"""Derivatives against central differences: errors known by hand, kinks, and every layer of the project."""

import pytest
import torch
from checking import subject_of
from torch import nn

from trainer.config import catalog
from trainer.inspection.check_gradients import gradients_against_differences
from trainer.inspection.derivatives import EPS, Derivative, derivatives_of_modules, error_apart_from_kinks, is_wrong


def scaled_backward(factor):
    """Return the function x^2 whose backward pass is that of factor x^2."""

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, grad):
            return factor * 2 * ctx.saved_tensors[0] * grad

    return Square.apply


@pytest.mark.parametrize(
    ("factor", "error"), [(2.0, 1 / 2), (0.5, 1 / 2), (-1.0, 2.0), (0.0, 1.0), (1.01, 0.01 / 1.01)]
)
def test_the_error_of_a_wrong_backward_is_the_one_by_hand(factor, error):
    """|factor g - g| / max(|factor g|, |g|), whatever g is."""
    square, x = scaled_backward(factor), torch.linspace(-2, 2, 40, dtype=torch.float64)
    found = is_wrong(Derivative("square", lambda tensors: square(tensors["x"]), {"x": x}))
    assert found == pytest.approx(error, rel=1e-2)  # what differences may be off by is subtracted


def test_a_right_backward_is_right():
    square, x = scaled_backward(1.0), torch.linspace(-2, 2, 40, dtype=torch.float64)
    assert is_wrong(Derivative("square", lambda tensors: square(tensors["x"]), {"x": x})) is None


@pytest.mark.parametrize("place", [-0.9, -0.3, 0.0, 0.3, 0.9])
@pytest.mark.parametrize(("slope", "least", "most"), [(1.0, 0, 0), (1.5, (5 - 1.5) / 16, 5.5 / 15)])
def test_a_kink_within_a_step_is_not_an_error(place, slope, least, most):
    """max(0, t - d), whose slope on one side is compared with the difference across d, beside 10 t.

    Differences across the kink are off by at most 1/2, and twice as much is subtracted. A part with the slope 15
    for 10 is wrong by 5.
    """

    def function(t):
        return (t[0] - place * EPS).clamp(min=0) + 10 * t[0]

    one_side = torch.tensor([10.0 * slope + (1.0 if place < 0 else 0.0)], dtype=torch.float64)
    found = error_apart_from_kinks(function, one_side, 1.0)
    assert least <= found <= most


def test_a_wrong_gradient_of_one_parameter_of_many_is_found():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(15))  # 30 tensors share their directions

        def forward(self, x):
            for layer in self.layers[:-1]:
                x = layer(x).tanh()
            return x @ self.layers[-1].weight + self.layers[-1].bias.detach()

    images = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.manual_seed(0)
    (derivative,) = derivatives_of_modules(Net().double(), images)
    assert derivative.name.startswith("Net (") and is_wrong(derivative) > 0.01


@pytest.mark.parametrize(
    "words",
    [
        *(f"act={option} model=mlp" for option in catalog.options("act")),
        *(f"norm={option}" for option in catalog.options("norm")),
        *(f"pool={option}" for option in catalog.options("pool")),
        *(f"reg={option}" for option in ("alpha_dropout", "dropconnect", "dropout", "dropout_scaled", "elastic_net")),
        *(f"reg={option}" for option in ("l1", "l2", "spatial_dropout")),
        *(f"loss={option} model=linear" for option in ("bce", "cross_entropy", "hinge", "mse")),
        "model=resnet20 norm=batch reg=stochastic_depth",
        "model=fast_cnn norm=batch",
        "data=diabetes loss=mse loss.reduction=sum",
    ],
)
def test_the_projects_own_layers_losses_and_penalties_are_right(words):
    found = gradients_against_differences(subject_of(*words.split()))
    assert found.passed and "not compared" not in found.detail
