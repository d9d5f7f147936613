"""The first-order prediction on linear regression, whose loss is a quadratic: ratio = 1 - lr q / 2."""

import numpy as np
import pytest
import torch

from trainer.engine.build import build_run
from trainer.inspection.first_order import leaving, measure_decrease, rates
from trainer.inspection.objective import Objective, fixed_batches, measuring

WORDS = ("data=polynomial", "model=linear", "preprocess=minmax", "threads=1", "device=cpu")


def test_a_quadratic(composed):
    run = build_run(composed(*WORDS))
    batches = fixed_batches(run, None)
    x, y = (torch.cat(parts).double().numpy() for parts in zip(*batches))
    x = np.hstack([x, np.ones_like(x)])
    weights = torch.cat([weight.detach().flatten() for weight in run.model.parameters()]).double().numpy()
    gradient, hessian = 2 * x.T @ (x @ weights - y[:, 0]) / len(x), 2 * x.T @ x / len(x)
    q = gradient @ hessian @ gradient / (gradient @ gradient)
    with measuring(run):
        found = measure_decrease(Objective(run, batches))
    assert found.curvature == pytest.approx(q, rel=1e-4)
    assert found.limit == pytest.approx(1 / q, rel=2e-2)  # lr q / 2 = 1 / 2; float32 losses
    for each in found.points:
        assert each.predicted == pytest.approx(each.rate * gradient @ gradient, rel=1e-4)
        assert each.ratio == pytest.approx(1 - each.rate * q / 2, rel=1e-3, abs=5e-3)  # float32 losses
    after = torch.cat([weight.detach().flatten() for weight in run.model.parameters()]).double().numpy()
    assert np.array_equal(after, weights)


def test_no_gradient_no_prediction(composed):
    run = build_run(composed("data=iris", "model=linear", "loss=hinge", "loss.margin=0", "init=zeros", "threads=1"))
    for weight in run.model.parameters():
        weight.requires_grad_(False)
    objective = Objective(run, fixed_batches(run, None))
    objective.weights = [torch.zeros(3, requires_grad=True)]  # one that the loss does not depend on
    with measuring(run):
        assert measure_decrease(objective) is None


def test_rates_are_round_numbers_around_the_middle():
    found = [*rates(0.02)]
    assert found == pytest.approx([1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3])


def test_a_prediction_that_never_holds_has_no_limit():
    assert leaving([], lambda rate: None) is None
