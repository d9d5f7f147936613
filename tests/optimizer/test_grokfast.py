"""Grokfast around other optimizers, against its paper in NumPy."""

import numpy as np
import pytest
import torch
from stepping import LR, START, draws, gradient, heavy_ball, momentum, parameter, reloaded, stepper, walk
from torch.testing import assert_close

from trainer.optimizer.grokfast import Grokfast
from trainer.optimizer.newton import Newton
from trainer.optimizer.pytorch_optimizer import PytorchOptimizer
from trainer.optimizer.sam import Sam

EXACT = {"rtol": 1e-10, "atol": 1e-10}  # both sides in float64, weights near 1


def filtered(g, h, alpha, strength):
    """Lee et al., 2024, algorithm 2: the gradient with its slow part added, and the new slow part."""
    h = g if h is None else alpha * h + (1 - alpha) * g
    return g + strength * h, h


@pytest.mark.parametrize(("alpha", "strength"), [(0.98, 2.0), (0.5, 0.3), (0.0, 1.0), (0.9, 0.0)])
def test_ten_steps_are_the_papers(alpha, strength):
    shapes = [(3, 2), (4,)]
    starts, series = draws(*shapes), [draws(*shapes, seed=t) for t in range(1, 11)]
    weights = [parameter(start) for start in starts]
    found = walk(Grokfast(weights, momentum, alpha=alpha, strength=strength), weights, series)
    for index, w in enumerate(starts):
        v, h = np.zeros_like(w), None
        for t, row in enumerate(series):
            g, h = filtered(row[index], h, alpha, strength)
            w, v = heavy_ball(w, v, g)
            assert_close(found[t][index], w, **EXACT)


def test_around_sam_each_gradient_is_filtered_and_the_last_one_stays():
    weight, w, v, h = parameter(START), START, np.zeros(3), None
    step = stepper(Grokfast([weight], lambda params: Sam(params, momentum, rho=0.3), alpha=0.8), [weight])
    for _ in range(5):
        first, _ = filtered(gradient(w), h, 0.8, 2.0)
        g, h = filtered(gradient(w + 0.3 * first / np.linalg.norm(first)), h, 0.8, 2.0)
        w, v = heavy_ball(w, v, g)
        step()
        assert_close(weight.detach().numpy(), w, **EXACT)


def test_its_mean_is_in_the_checkpoint_and_a_weight_may_begin_later():
    def made():
        return Grokfast([early, late], momentum, alpha=0.5, strength=1.0)

    early, late = parameter([1.0]), parameter([1.0])
    optimizer = made()
    for g in ([2.0], [4.0]):
        early.grad, late.grad = torch.tensor(g, dtype=torch.float64), None
        optimizer.step(lambda: torch.zeros(()))
    other = made()
    other.load_state_dict(reloaded(optimizer.state_dict()))
    before = late.item()
    early.grad, late.grad = (torch.tensor([1.0], dtype=torch.float64) for _ in range(2))
    other.step(lambda: torch.zeros(()))
    assert late.item() == pytest.approx(before - LR * 2.0, rel=1e-12)  # h = g at first
    assert other.means[0].item() == 0.5 * 3.0 + 0.5 * 1.0  # h of 2 and 4 is 3


def test_an_optimizer_that_differentiates_the_gradient_is_refused():
    with pytest.raises(ValueError, match=r"^base=Newton differentiates the gradient, .*; try optimizer.base=adam$"):
        Grokfast([parameter(START)], Newton)
    with pytest.raises(ValueError, match="differentiates the gradient"):
        Grokfast([parameter(START)], lambda params: PytorchOptimizer(params, name="AdaHessian"))
