"""Claims on momentum: its two forms, Nesterov's look ahead, ill-conditioned bowls and saddle points."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from trainer.claims.claim import Finding, Option, largest, path_of

SGD, MOMENTUM = Option("optimizer", "sgd"), Option("optimizer", "momentum")
CURVATURE = torch.tensor([1.0, 0.3, 4.0], dtype=torch.float64)
START = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
LR, M = 0.05, 0.9
ROUNDING = 1e-12


def wavy(weight: Tensor) -> Tensor:
    """Return a loss without a closed-form path."""
    return (CURVATURE * weight * weight).sum() / 2 + weight.cos().sum()


def two_forms(outside: Callable = MOMENTUM, inside: Callable = Option("optimizer", "momentum_velocity")) -> Finding:
    """Check that v = m v + g, w -= lr v and v = m v - lr g, w += v are one path at a constant rate, and two at another.

    The second velocity is -lr times the first one as long as lr stays. Where lr falls to lr' it still holds what it
    gained at lr: the next step is -m lr v - lr' g against -lr' (m v + g), m (lr - lr') v further. Under gradients of
    1, v = 1 + m + m^2 after three steps.
    """
    forms = [partial(form, lr=LR, momentum=M) for form in (outside, inside)]
    constant = largest(torch.sub(*(path_of(form, START, wavy, 50) for form in forms)))
    falling = [path_of(form, START, torch.sum, 4, lambda step: LR if step < 3 else LR / 2) for form in forms]
    apart = float((falling[0] - falling[1])[-1].mean())
    predicted = M * LR / 2 * (1 + M + M**2)
    return Finding(
        predicted=f"0 apart at a constant rate, {predicted:.4f} after the rate halves",
        measured=f"{constant:.1e} and {apart:.4f}",
        holds=constant < ROUNDING and abs(apart - predicted) < ROUNDING,
    )


def nesterov_rewritten(nesterov: Callable = Option("optimizer", "nesterov")) -> Finding:
    """Check Nesterov's method behind the change of variables y = w + m v, in which the gradient is taken where y is.

    v' = m v - lr g(w + m v) and w' = w + v' become y' = y - m v + (1 + m) v': the path of y is w_t + m v_t. Of torch's
    velocity, u' = m u + g, v is -lr u, which gives y' = y - lr (g + m u').
    """
    points, w, v = [START], START, torch.zeros_like(START)
    for _ in range(50):
        v = M * v - LR * (CURVATURE * (w + M * v) - (w + M * v).sin())
        w = w + v
        points.append(w + M * v)
    off = largest(path_of(partial(nesterov, lr=LR, momentum=M), START, wavy, 50) - torch.stack(points))
    return Finding(predicted="the path of w_t + m v_t", measured=f"{off:.1e} from it", holds=off < ROUNDING)


def ill_conditioned_bowl_and_saddle(plain: Callable = SGD, momentum: Callable = MOMENTUM) -> Finding:
    """Check the steps that momentum saves: in a bowl with curvatures 1 and 100, and from a saddle point.

    Bowl, at the best rates: gradient descent with lr = 2 / (l + u) multiplies both coordinates by (k - 1) / (k + 1) a
    step, k = l / u = 100, and jumps across the valley in each; momentum with m = ((sqrt k - 1) / (sqrt k + 1))^2 and
    lr = 4 / (sqrt l + sqrt u)^2 by sqrt m, with a factor of up to t on top. Saddle (x^2 - y^2) / 2, from y = 1e-6 with
    lr = 0.01: y grows by 1 + lr a step, with momentum by the larger root of r^2 - (1 + m + lr) r + m = 0.
    """
    bowl = torch.tensor([1.0, 100.0], dtype=torch.float64)
    root, goal = math.sqrt(100), 1e-6
    m, start = ((root - 1) / (root + 1)) ** 2, torch.ones(2, dtype=torch.float64)
    paths = [
        path_of(optimizer, start, lambda w: (bowl * w * w).sum() / 2, 1000)
        for optimizer in (partial(plain, lr=2 / 101), partial(momentum, lr=4 / (root + 1) ** 2, momentum=m))
    ]
    down = [first(path.abs().max(1).values <= goal) for path in paths]
    expected = math.ceil(math.log(goal) / math.log(99 / 101))
    jumps = bool((paths[0][:-1, 1] * paths[0][1:, 1] < 0)[:expected].all())
    saddle, start = torch.tensor([1.0, -1.0], dtype=torch.float64), torch.tensor([1.0, 1e-6], dtype=torch.float64)
    out = [
        first(path_of(optimizer, start, lambda w: (saddle * w * w).sum() / 2, 2000)[:, 1].abs() >= 1)
        for optimizer in (partial(plain, lr=0.01), partial(momentum, lr=0.01, momentum=M))
    ]
    middle = (1 + M + 0.01) / 2
    growth = middle + math.sqrt(middle**2 - M)
    escapes = [math.log(1e6) / math.log(rate) for rate in (1.01, growth)]
    return Finding(
        predicted=f"bowl {expected} steps against a fourth at most; saddle {escapes[0]:.0f} against {escapes[1]:.0f}",
        measured=f"bowl {down[0]} against {down[1]}; saddle {out[0]} against {out[1]}",
        # The smaller root, and the share of the larger one at the start, take a few steps.
        holds=abs(down[0] - expected) <= 1
        and jumps
        and 4 * down[1] < down[0]
        and abs(out[0] - escapes[0]) <= 1
        and abs(out[1] - escapes[1]) <= 0.15 * escapes[1],
    )


def first(reached: Tensor) -> int:
    """Return the first step at which a condition holds; a number beyond the path where it never does."""
    return int(reached.nonzero()[0]) if bool(reached.any()) else len(reached)
