"""Curvature against closed forms: the Hessian of linear regression, of a product of two weights, of a saddle."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from trainer.engine.build import build_run
from trainer.inspection.curvature import first_direction, largest_eigenvalue, measure_curvature, spectrum
from trainer.inspection.objective import Objective, fixed_batches, measuring

LINEAR = ("data=polynomial", "model=linear", "threads=1", "device=cpu")
SECONDS = 60.0


@pytest.fixture
def measured(composed):
    """Return a function that builds a run: the run, its fixed batches, and their samples in float64."""

    def made(*words, samples=None):
        run = build_run(composed(*words))
        batches = fixed_batches(run, samples)
        return run, batches, *(torch.cat(parts).double().numpy() for parts in zip(*batches))

    return made


def curvature_of(run, batches):
    with measuring(run):
        return measure_curvature(run, batches, SECONDS)


def largest_of(run, batches):
    objective = Objective(run, batches)
    return largest_eigenvalue(objective, first_direction(objective, 0), SECONDS)


def with_ones(x):
    return np.hstack([x.reshape(len(x), -1), np.ones((len(x), 1))])


@pytest.mark.parametrize("preprocess", ["minmax", "standardize"])
def test_linear_regression(preprocess, measured):
    run, batches, x, _ = measured(*LINEAR, f"preprocess={preprocess}")
    expected = np.linalg.eigvalsh(2 * with_ones(x).T @ with_ones(x) / len(x))  # the loss is the mean of (wx + b - y)^2
    found = curvature_of(run, batches)
    assert found.spectrum.numpy() == pytest.approx(expected, rel=1e-9)  # float64
    assert found.stable_rate == pytest.approx(2 / expected[-1], rel=1e-9)
    assert found.condition == pytest.approx(expected[-1] / expected[0], rel=1e-9)
    assert (found.flat, found.negative, found.converged) == (0, 0, True)


def test_a_penalty_is_part_of_the_loss(measured):
    run, batches, x, _ = measured(*LINEAR, "reg=l2", "reg.loss.l2.strength=0.5", "preprocess=minmax")
    hessian = 2 * with_ones(x).T @ with_ones(x) / len(x) + np.diag([0.5, 0])  # s w^2 / 2, not of the bias
    assert curvature_of(run, batches).spectrum.numpy() == pytest.approx(np.linalg.eigvalsh(hessian), rel=1e-6)


def test_the_product_of_two_weights(measured):
    words = ("model=linear_chain", "model.width=1", "model.depth=2", "data.degree=1", "init=constant", "init.value=0.2")
    run, batches, x, y = measured(*LINEAR, *words)
    v, square, mixed = np.float64(np.float32(0.2)), (x**2).mean(), (x * y).mean()
    cross = 4 * v * v * square - 2 * mixed  # of mean (v w x - y)^2
    expected = np.linalg.eigvalsh([[2 * v * v * square, cross], [cross, 2 * v * v * square]])
    found = curvature_of(run, batches)
    assert found.spectrum.numpy() == pytest.approx(expected, rel=1e-9) and found.negative == 1


def test_the_largest_eigenvalue_of_a_large_model(measured):
    words = ("data=digits", "model=linear", "loss=mse", "threads=1", "device=cpu")
    run, batches, x, _ = measured(*words, samples=256)
    expected = np.linalg.eigvalsh(2 / 10 * with_ones(x).T @ with_ones(x) / len(x))[-1]  # each of 10 outputs, and mean
    with measuring(run):
        found = largest_of(run, batches)
        whole = spectrum(Objective(run, batches), SECONDS)
    assert found.converged and found.largest == pytest.approx(expected, rel=2e-3)  # the residual it stops at
    assert whole.largest == pytest.approx(expected, rel=1e-5)  # float32


@pytest.mark.parametrize("diagonal", [[-10.0, 3.0, 1.0, 0.0], [-5.0, -4.0, -2.0, -1.0], [7.0, 6.9, 0.1, -7.5]])
def test_the_largest_eigenvalue_is_not_that_of_the_largest_size(diagonal):
    quadratic = SimpleNamespace(
        exact=True, weights=[torch.zeros(4)], hessian_times=lambda v: [torch.tensor(diagonal) * v[0]]
    )
    found = largest_eigenvalue(quadratic, [torch.ones(4)], SECONDS)
    assert found.converged and found.largest == pytest.approx(max(diagonal), rel=2e-3)
    assert (found.stable_rate is None) == (max(diagonal) < 0)


def test_no_time_gives_a_lower_bound():
    values = torch.linspace(0, 1, 500) ** 8
    quadratic = SimpleNamespace(exact=True, weights=[torch.zeros(500)], hessian_times=lambda v: [values * v[0]])
    found = largest_eigenvalue(quadratic, [torch.ones(500)], 0.0)
    assert not found.converged and found.largest < 1


def test_a_loss_without_curvature(measured):
    run, batches, *_ = measured("data=iris", "model=linear", "loss=hinge", "threads=1", "device=cpu")
    found = curvature_of(run, batches)
    assert found.largest == 0 and found.stable_rate is None and found.condition is None
    with measuring(run):
        assert largest_of(run, batches).largest == 0


def test_standardised_inputs_have_a_thousandth_of_the_condition_number(measured):
    words = ("data=height_weight", "model=linear", "threads=1", "device=cpu")
    conditions = {name: curvature_of(*measured(*words, f"preprocess={name}")[:2]) for name in ("none", "standardize")}
    assert conditions["standardize"].condition < 10 < 1e4 < conditions["none"].condition
    assert {found.flat for found in conditions.values()} == {3}  # the same added to all classes' weights


class Once(torch.autograd.Function):
    """The identity, differentiable once."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return grad.clone()


class ThroughOnce(torch.nn.Sequential):
    def forward(self, x):
        return Once.apply(super().forward(x))


class Hard(torch.nn.Module):
    """A layer behind a function of torch that has no second derivative."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)

    def forward(self, x):
        return torch.nn.functional.hardsigmoid(self.layer(x))


def test_a_function_that_is_differentiable_once_gets_differences(measured):
    run, batches, x, _ = measured(*LINEAR, "preprocess=minmax")
    run = replace(run, model=ThroughOnce(*run.model))
    expected = np.linalg.eigvalsh(2 * with_ones(x).T @ with_ones(x) / len(x))
    found = curvature_of(run, batches)
    assert not found.exact and found.spectrum.numpy() == pytest.approx(expected, rel=1e-6)  # float64
    largest = largest_of(run, batches)
    assert not largest.exact and largest.largest == pytest.approx(expected[-1], rel=5e-3)


def test_a_function_of_torch_without_a_second_derivative(measured):
    run, batches, x, y = measured("data=iris", "model=linear", "loss=mse", "threads=1", "device=cpu")
    run = replace(run, model=Hard())
    found = curvature_of(run, batches)
    layer = run.model.layer
    z = x @ layer.weight.detach().double().numpy().T + layer.bias.detach().double().numpy()
    assert np.abs(z).max() < 3 - 0.01  # where hardsigmoid is x / 6 + 1 / 2
    expected = np.linalg.eigvalsh(2 / 3 / 36 * with_ones(x).T @ with_ones(x) / len(x))
    assert not found.exact and found.spectrum.numpy() == pytest.approx(np.repeat(expected, 3), rel=1e-5, abs=1e-9)


def test_the_loss_is_that_of_training_without_dropping(measured):
    words = ("data=iris", "model=mlp", "norm=batch", "reg=[dropout,l2]", "threads=1", "device=cpu")
    run, batches, *_ = measured(*words)
    dropping = [module for module in run.model.modules() if isinstance(module, torch.nn.Dropout)]
    run.model.train()
    for module in dropping:
        module.p = 0.0
    expected = 0.0
    for images, targets in batches:
        losses = torch.nn.functional.cross_entropy(run.model(images), targets, reduction="sum")
        expected += losses.item() / sum(len(targets) for _, targets in batches)
    penalty = run.slots.loss[0].strength / 2 * sum(w.square().sum() for w in run.model.parameters() if w.dim() > 1)
    for module in dropping:
        module.p = 0.5
    with measuring(run):
        assert dropping and Objective(run, batches).loss() == pytest.approx(expected + penalty.item(), rel=1e-5)


@pytest.mark.parametrize("norm", ["batch", "group", "layer"])
def test_norms_and_dropout_are_measured_and_give_the_same_twice(norm, measured):
    words = ("data=iris", "model=mlp", "model.hidden=[6]", f"norm={norm}", "reg=dropout", "threads=1", "device=cpu")
    words = (*words, "norm.groups=2") if norm == "group" else words
    run, batches, *_ = measured(*words)
    first, again = curvature_of(run, batches), curvature_of(run, batches)
    assert torch.equal(first.spectrum, again.spectrum)
    with measuring(run):
        assert largest_of(run, batches).largest == pytest.approx(first.largest, rel=5e-3)
