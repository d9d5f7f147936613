"""SAM against its paper in NumPy."""

import numpy as np
import pytest
import torch
from stepping import START, gradient, heavy_ball, momentum, parameter, stepper
from torch.testing import assert_close

from trainer.optimizer.lookahead import Lookahead
from trainer.optimizer.newton import Newton
from trainer.optimizer.sam import Sam

EXACT = {"rtol": 1e-10, "atol": 1e-10}  # both sides in float64, weights near 1


def sam(ws, vs, rho):
    """Foret et al., 2021, algorithm 1, over a heavy ball; the norm is over all tensors."""
    gs = [gradient(w) for w in ws]
    norm = np.sqrt(sum((g**2).sum() for g in gs))
    near = [w + rho * g / norm for w, g in zip(ws, gs)]
    pairs = [heavy_ball(w, v, gradient(point)) for w, v, point in zip(ws, vs, near)]
    return near, [w for w, _ in pairs], [v for _, v in pairs]


def test_five_steps_of_sam_are_the_papers():
    ws, vs = [START, 2 * START + 1], [np.zeros(3), np.zeros(3)]
    weights = [parameter(w) for w in ws]
    step = stepper(Sam(weights, momentum, rho=0.3), weights)
    for index in range(5):
        near, after, vs = sam(ws, vs, 0.3)
        assert step().item() == 2 * index + 1  # the loss of the first of the two passes
        assert len(step.points) == 2 * index + 2
        assert_close(np.array(step.points[-2]), np.array(ws), **EXACT)
        assert_close(np.array(step.points[-1]), np.array(near), **EXACT)
        assert_close(np.array([weight.detach().numpy() for weight in weights]), np.array(after), **EXACT)
        ws = after


def test_lookahead_around_sam_is_both():
    ws, vs = [START], [np.zeros(3)]
    weight = parameter(START)
    optimizer = Lookahead([weight], lambda params: Sam(params, momentum, rho=0.1), k=2)
    step = stepper(optimizer, [weight])
    for _ in range(4):
        step()
    for _ in range(2):
        slow = ws[0]
        for _ in range(2):
            _, ws, vs = sam(ws, vs, 0.1)
        ws = [slow + 0.5 * (ws[0] - slow)]
    assert_close(weight.detach().numpy(), ws[0], **EXACT)


def test_sam_does_not_move_while_the_gradient_is_zero():
    weight = parameter(START)
    stepper(Sam([weight], momentum), [weight], lambda ws: [np.zeros(3)])()
    assert_close(weight.detach().numpy(), START, rtol=0, atol=0)


def test_a_base_with_a_line_search_evaluates_at_the_worst_point_each_time():
    weight = parameter([3.0, -2.0])

    def closure():
        weight.grad = None
        loss = weight.square().sum() / 2
        loss.backward()
        return loss.detach()

    Sam([weight], lambda params: torch.optim.LBFGS(params, lr=1.0, max_iter=1), rho=0.5).step(closure)
    # The gradient at w + 0.5 w / |w| is that point; L-BFGS steps first by min(1, 1 / sum |g|) of it.
    g = np.array([3.0, -2.0]) * (1 + 0.5 / np.sqrt(13))
    assert_close(weight.detach().numpy(), np.array([3.0, -2.0]) - g / np.abs(g).sum(), rtol=1e-10, atol=1e-10)


def test_sam_refuses_a_base_that_differentiates_the_gradient_and_lookahead_asks_for_the_graph():
    with pytest.raises(ValueError, match="base=Newton differentiates the gradient.*try optimizer.base=momentum"):
        Sam([parameter(START)], Newton)
    assert (
        Lookahead([parameter(START)], Newton).create_graph and not Lookahead([parameter(START)], momentum).create_graph
    )


def test_sam_without_a_radius_is_its_base():
    weight, alone = parameter(START), parameter(START)
    step, other = stepper(Sam([weight], momentum, rho=0.0), [weight]), stepper(momentum([alone]), [alone])
    for _ in range(4):
        step()
        other()
    assert torch.equal(weight, alone)
