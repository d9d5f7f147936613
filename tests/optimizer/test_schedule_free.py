"""Schedule-free AdamW against its paper in NumPy."""

import numpy as np
import pytest
import torch
from stepping import START, gradient, make, parameter, reloaded, stepper
from torch.testing import assert_close

EXACT = {"rtol": 1e-10, "atol": 1e-10}  # both sides in float64, weights near 1


def schedule_free(w, lrs, betas, eps, decay):
    """Defazio et al., 2024, algorithm 1, with its three sequences; yields the next y, z and x."""
    x = z = y = w
    v, total = np.zeros_like(w), 0.0
    for t, lr in enumerate(lrs, start=1):
        g = gradient(y)
        v = betas[1] * v + (1 - betas[1]) * g**2
        z = z - lr * g / (np.sqrt(v / (1 - betas[1] ** t)) + eps) - lr * decay * y
        total += lr**2
        c = lr**2 / total
        x = (1 - c) * x + c * z
        y = (1 - betas[0]) * z + betas[0] * x
        yield y, z, x


@pytest.mark.parametrize("beta1", [0.8, 0.0])
def test_schedule_free_trains_at_y_and_is_evaluated_at_x(beta1):
    lrs = [0.02, 0.05, 0.1, 0.1, 0.08]
    weight = parameter(START)
    optimizer = make("schedule_free", [weight], betas=[beta1, 0.99], weight_decay=0.2)
    step = stepper(optimizer, [weight])
    zs = []
    for lr, (y, z, x) in zip(lrs, schedule_free(START, lrs, (beta1, 0.99), 1e-8, 0.2)):
        optimizer.param_groups[0]["lr"] = lr
        step()
        zs.append(z)
        assert_close(weight.detach().numpy(), y, **EXACT)
        kept = weight.detach().clone()
        optimizer.eval()
        optimizer.eval()
        assert_close(weight.detach().numpy(), x, **EXACT)
        assert_close(x, np.average(zs, axis=0, weights=np.square(lrs[: len(zs)])), **EXACT)  # what x is for
        optimizer.train()
        assert torch.equal(weight, kept)


@pytest.mark.parametrize("beta1", [0.9, 0.0])
def test_schedule_free_resumes_bit_for_bit_from_a_checkpoint_at_its_evaluation_point(beta1):
    weight = parameter(START)
    optimizer = make("schedule_free", [weight], betas=[beta1, 0.999])
    step = stepper(optimizer, [weight])
    for _ in range(4):
        step()
    optimizer.eval()
    other = make("schedule_free", [resumed := weight.detach().clone().requires_grad_()], betas=[beta1, 0.999])
    other.load_state_dict(reloaded(optimizer.state_dict()))
    for each in (optimizer, other):
        each.train()
    step()
    stepper(other, [resumed])()
    assert torch.equal(weight, resumed)
    for each in (optimizer, other):
        each.eval()
    assert torch.equal(weight, resumed)


def test_schedule_free_does_not_move_at_a_rate_of_zero():
    weight = parameter(START)
    optimizer = make("schedule_free", [weight])
    optimizer.param_groups[0]["lr"] = 0.0
    stepper(optimizer, [weight])()
    optimizer.eval()
    assert_close(weight.detach().numpy(), START, rtol=0, atol=0)
