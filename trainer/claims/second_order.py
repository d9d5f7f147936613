"""Claims on second-order methods."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from trainer.claims.claim import Finding, Option, closure_of

TOLERANCE = 1e-6  # of the first gap
BATCH, STEPS = 8, 200


def lbfgs_on_full_and_on_mini_batches(
    lbfgs: Callable = Option("optimizer", "lbfgs"), gd: Callable = Option("optimizer", "gd")
) -> Finding:
    """Check that L-BFGS needs fewer gradients than gradient descent on the full batch, and is worse on mini-batches.

    Full batch: a quadratic in 50 weights with curvatures from 1 to 1e-3. Gradient descent with lr = 1 multiplies each
    weight by 1 - curvature a step, which says when its gap is 1e-6 of the first. L-BFGS, which would end in 50 steps
    with exact line searches and all pairs, needs less than a tenth of its gradients. Mini-batches: 200 noisy samples
    of a linear function of 20 weights. A batch of 8 has fewer samples than weights, so that L-BFGS goes all the way to
    weights without any error on it, whatever the other samples say; SGD with a small rate averages over batches.
    """
    curvature = torch.logspace(0, -3, 50, dtype=torch.float64)
    goal = TOLERANCE * curvature.sum() / 2
    counts = [
        gradients_until(optimizer, torch.ones_like(curvature), lambda w: (curvature * w * w).sum() / 2, float(goal))
        for optimizer in (lbfgs, partial(gd, lr=1.0))
    ]
    steps = torch.arange(20_000, dtype=torch.float64)[:, None]
    gaps = (curvature * (1 - curvature) ** (2 * steps)).sum(1) / 2
    expected = int((gaps > goal).sum()) + 1  # one gradient more, which finds the loss below
    noisy = [excess_loss(optimizer) for optimizer in (lbfgs, partial(gd, lr=0.05))]
    return Finding(
        predicted=f"full batch below {expected // 10:,} gradients against {expected:,}; mini-batches: a higher loss",
        measured=f"{counts[0]:,} against {counts[1]:,}; excess loss {noisy[0]:.2g} against {noisy[1]:.2g}",
        holds=abs(counts[1] - expected) <= 1 and counts[0] < expected / 10 and noisy[0] > 2 * noisy[1],
    )


def gradients_until(optimizer: Callable, start: Tensor, loss: Callable[[Tensor], Tensor], goal: float) -> int:
    """Return how many gradients an optimizer takes until it sees a loss below the goal; at most 20,000."""
    weight, seen = start.clone().requires_grad_(), []
    made, evaluate = optimizer([weight]), closure_of(weight, loss)

    def closure() -> Tensor:
        value = evaluate()
        seen.append(float(value))
        return value

    while len(seen) < 20_000 and not (seen and min(seen) <= goal):
        made.step(closure)
    return next((place for place, value in enumerate(seen, 1) if value <= goal), len(seen))


def excess_loss(optimizer: Callable) -> float:
    """Return how far above its minimum the mean squared error over all samples is after 200 steps on mini-batches."""
    rng = torch.Generator().manual_seed(20)
    inputs = torch.randn(200, 20, generator=rng, dtype=torch.float64)
    targets = inputs.sum(1) + torch.randn(200, generator=rng, dtype=torch.float64)
    best = torch.linalg.lstsq(inputs, targets[:, None]).solution[:, 0]
    weight = torch.zeros(20, dtype=torch.float64, requires_grad=True)
    made = optimizer([weight])
    for _ in range(STEPS):
        batch = torch.randint(200, (BATCH,), generator=rng)
        made.step(closure_of(weight, partial(mean_squared_error, inputs[batch], targets[batch])))
    return mean_squared_error(inputs, inputs @ best, weight.detach()).item()


def mean_squared_error(inputs: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """Return half the mean squared error of a linear function."""
    return (inputs @ weight - targets).square().mean() / 2
