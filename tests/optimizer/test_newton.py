"""Newton's method against its textbook in NumPy."""

import numpy as np
import pytest
import torch
from objectives import START, A, B, quadratic, quartic, quartic_gradient
from stepping import closure_of, parameter
from torch import nn
from torch.testing import assert_close

from trainer.base.errors import ConfigError
from trainer.engine.build import build_run
from trainer.optimizer.bfgs import Bfgs
from trainer.optimizer.newton import Newton

EXACT = {"rtol": 1e-9, "atol": 1e-10}  # both sides in float64
SOLUTION = np.linalg.solve(A, B)


def test_newton_finds_the_minimum_of_a_quadratic_in_one_step():
    w = parameter(START)
    Newton([w], damping=0.0).step(closure_of(lambda: quadratic(w), [w]))
    assert_close(w.detach().numpy(), SOLUTION, **EXACT)


def test_five_steps_of_newton_over_two_groups_are_the_formula():
    a, b = parameter(START[:2]), parameter(START[2:].reshape(3, 1))
    optimizer = Newton([{"params": [b]}, {"params": [a], "lr": 0.5}], lr=0.8, damping=0.3)
    w, rate = START, np.array([0.5, 0.5, 0.8, 0.8, 0.8])
    for _ in range(5):
        optimizer.step(closure_of(lambda: quartic(torch.cat([a, b.flatten()])), [a, b]))
        w = w - rate * np.linalg.solve(A + np.diag(3 * w**2) + 0.3 * np.eye(5), quartic_gradient(w))
        assert_close(torch.cat([a, b.flatten()]).detach().numpy(), w, **EXACT)
    assert a.grad is None and b.grad is None  # the graph is gone with them


def test_newton_of_a_dense_layer_is_reweighted_least_squares():
    """Logistic regression: H = X^T diag(p (1 - p)) X / n, the gradient X^T (p - t) / n."""
    draws = np.random.default_rng(1)
    x, t = draws.normal(size=(20, 3)), draws.integers(0, 2, size=20).astype(float)
    layer = nn.Linear(3, 1, dtype=torch.float64)
    theta, full = np.zeros(4), np.hstack([x, np.ones((20, 1))])
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    images, targets = torch.from_numpy(x), torch.from_numpy(t)[:, None]
    optimizer = Newton([{"params": [layer.weight]}, {"params": [layer.bias]}], damping=1e-3)
    for _ in range(4):
        optimizer.step(
            closure_of(
                lambda: nn.functional.binary_cross_entropy_with_logits(layer(images), targets), list(layer.parameters())
            )
        )
        p = 1 / (1 + np.exp(-full @ theta))
        theta = theta - np.linalg.solve(full.T * (p * (1 - p)) @ full / 20 + 1e-3 * np.eye(4), full.T @ (p - t) / 20)
        assert_close(torch.cat([layer.weight[0], layer.bias]).detach().numpy(), theta, **EXACT)


@pytest.mark.parametrize(("absolute", "after"), [(False, [0.0, 0.0]), (True, [0.0, 2.0])])
def test_newton_goes_to_a_saddle_and_its_absolute_form_away(absolute, after):
    w = parameter([1.0, 1.0])  # of x^2 - y^2: the step is -(1, 1), with |H| it is (-1, 1)
    Newton([w], damping=0.0, absolute=absolute).step(closure_of(lambda: w[0].square() - w[1].square(), [w]))
    assert_close(w.detach().numpy(), np.array(after), **EXACT)


def test_newton_without_damping_leaves_a_flat_direction():
    w = parameter([3.0, 5.0])
    Newton([w], damping=0.0).step(closure_of(lambda: (w[0] + w[1]).square(), [w]))
    assert_close(w.detach().numpy(), np.array([-1.0, 1.0]), **EXACT)  # the nearest point with sum 0


def test_newton_with_a_linear_loss_steps_by_the_damping_alone():
    w = parameter([3.0, 5.0])
    Newton([w], damping=0.5).step(closure_of(lambda: w[0] - 2 * w[1], [w]))
    assert_close(w.detach().numpy(), np.array([1.0, 9.0]), **EXACT)


def test_newton_passes_on_what_is_not_finite():
    w = parameter([0.0])
    Newton([w]).step(closure_of(lambda: w.log().sum(), [w]))
    assert not w.isfinite().all()


@pytest.mark.parametrize(
    ("make", "limit", "need"), [(Newton, 2000, "newton needs a Hessian"), (Bfgs, 5000, "bfgs needs an inverse Hessian")]
)
def test_too_many_parameters_for_a_matrix_are_refused(make, limit, need):
    make([torch.zeros(limit, requires_grad=True)])
    message = (
        f"{need} of N x N numbers: at most {limit} parameters, the model has {limit + 1}; "
        "try optimizer=lbfgs or model=linear"
    )
    with pytest.raises(ValueError, match=message):
        make([torch.zeros(limit, requires_grad=True), torch.zeros(1, requires_grad=True)])


def test_newton_refuses_a_model_that_is_too_large_and_takes_the_linear_one(composed):
    words = ("optimizer=newton", "data=gaussians", "data.samples=100")
    with pytest.raises(ConfigError, match="newton needs .* the model has"):
        build_run(composed(*words, "model.hidden=[64,64]"))
    run = build_run(composed(*words, "model=linear"))
    assert run.batch_size == len(run.train)
