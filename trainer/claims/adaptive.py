"""Claims on adaptive learning rates: Adam's first step, and Adagrad."""

import math
from collections.abc import Callable
from functools import partial

import torch

from trainer.claims.claim import Finding, Option, largest, path_of

UNCORRECTED = Option("optimizer", "adam_uncorrected")


def first_step_of_adam(
    corrected: Callable = Option("optimizer", "adam"), uncorrected: Callable = UNCORRECTED, lr: float = 1e-3
) -> Finding:
    """Check Adam's first step: lr with the correction of its means, sqrt(10) = 3.162 times lr without.

    After one gradient m = 0.1 g and v = 0.001 g^2. Without correction the step is lr 0.1 / sqrt(0.001) = lr sqrt(10),
    whatever the gradient; the correction divides m by 0.1 and v by 0.001. Gradients from 0.1 to 1,000: eps is below
    1e-4 of the root.
    """
    sizes = torch.tensor([0.1, -1.0, 1000.0], dtype=torch.float64)
    steps = [
        path_of(partial(optimizer, lr=lr), torch.zeros_like(sizes), lambda w: (sizes * w).sum(), 1)[1] / -lr
        for optimizer in (corrected, uncorrected)
    ]
    off = [largest(step * sizes.sign() - size) for step, size in zip(steps, (1, math.sqrt(10)))]
    return Finding(
        predicted="1 lr with correction, 3.162 lr without",
        measured=" and ".join(f"{float(step[1].abs()):.3f} lr" for step in steps),
        holds=max(off) < 1e-3,
    )


def adagrad_in_a_narrow_valley(adagrad: Callable = Option("optimizer", "adagrad"), lr: float = 0.01) -> Finding:
    """Check that Adagrad's steps fall like lr / sqrt(t), and are the same in steep and in flat directions.

    Under a constant gradient G = t g^2, so that step t is lr g / sqrt(t g^2) = lr / sqrt(t): it decays to zero. The
    first one on (100 x^2 + y^2) / 2 from (1, 1) is lr in both directions, where gradient descent moves 100 : 1.
    """
    gradient = torch.tensor([100.0, 1.0], dtype=torch.float64)
    path = path_of(partial(adagrad, lr=lr), torch.zeros_like(gradient), lambda w: (gradient * w).sum(), 400)
    steps = path.diff(dim=0) / -lr
    off = largest(steps - torch.arange(1, 401, dtype=torch.float64).rsqrt()[:, None])
    start = torch.ones_like(gradient)
    valley = path_of(partial(adagrad, lr=lr), start, lambda w: (gradient * w * w).sum() / 2, 1).diff(dim=0)[0]
    ratio = float(valley[0] / valley[1])
    return Finding(
        predicted="step 400 is lr / 20; steep : flat is 1 : 1",
        measured=f"lr / {1 / float(steps[-1].mean()):.2f}; {ratio:.3f} : 1",
        holds=off < 1e-6 and abs(ratio - 1) < 1e-6,
    )
