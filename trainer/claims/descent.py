"""Claims on gradient descent and its stochastic form: rates of convergence, rates that decay, and mini-batches."""

from collections.abc import Callable
from functools import partial
from itertools import combinations

import torch
from torch import Tensor, nn

from trainer.base.clock import Clock
from trainer.claims.claim import Finding, Option, kit, largest, path_of
from trainer.config import catalog
from trainer.engine.robbins_monro import rate_sums

GD, SGD = Option("optimizer", "gd"), Option("optimizer", "sgd")
ROOT = partial(Option("sched", "inverse_sqrt"), length="1st")  # 1 / sqrt(t), t = 1, 2, ...
NEAR = 0.05  # of a fitted slope: chains of random steps leave 0.02
KEEP = ("inverse", "power")  # schedules that keep both conditions, as derived in schedules_by_their_sums
PER_EPOCH = 20  # steps


def multiplied(rate: float, sched: Callable[[Clock], float], steps: int) -> Callable[[int], float]:
    """Return the learning rate of each step of a run of so many."""
    clock = Clock(steps, PER_EPOCH)
    return lambda step: rate * sched(clock.at(step))


def slope(values: Tensor, first: int) -> float:
    """Return the slope of log values[k] over log k, k from `first` on, by least squares."""
    x, y = torch.arange(first, len(values), dtype=torch.float64).log(), values[first:].log()
    x = x - x.mean()
    return float((x * y).sum() / x.square().sum())


def bound_of_gradient_descent(gd: Callable = GD) -> Finding:
    """Check L(w_n) - L* <= |w_0 - w*|^2 / (2 lr n) at every step n, for lr <= 1 / l, l the largest curvature.

    Descent lemma: L(w - lr g) <= L(w) - lr |g|^2 / 2 for lr <= 1 / l. With convexity, L(w) <= L* + g (w - w*), so that
    L(w_k+1) - L* <= (|w_k - w*|^2 - |w_k+1 - w*|^2) / (2 lr). The sum over k = 0 ... n - 1 telescopes, and L falls in
    every step. The bound falls like 1 / n, which is sublinear: no factor below 1 a step. Losses of one weight that
    starts at 1: quadratics with curvatures from 1 down to 1e-4, which reach 1 / (2 e) of the bound at
    n = 1 / (2 curvature); and Huber's, w^2 / 2 up to |w| = d and a line beyond, which with d = 1 / (2 n + 1) reach
    n / (2 n + 1) of it.
    """
    curvature, bends = torch.logspace(0, -4, 40, dtype=torch.float64), 1 / torch.tensor([3.0, 9.0, 33.0, 201.0])

    def losses(w: Tensor) -> Tensor:
        size = w[..., 40:].abs()
        huber = torch.where(size <= bends, size.square() / 2, bends * size - bends.square() / 2)
        return torch.cat([curvature * w[..., :40].square() / 2, huber], -1)

    quotients = []
    for rate in (1.0, 0.5):
        path = path_of(partial(gd, lr=rate), torch.ones(44, dtype=torch.float64), lambda w: losses(w).sum(), 400)
        bounds = 1 / (2 * rate * torch.arange(1, 401))
        quotients.append(float((losses(path)[1:] / bounds[:, None]).max()))
    return Finding(
        predicted="gap / bound <= 1 at every step",
        measured=f"at most {max(quotients):.3f} in 400 steps",
        holds=max(quotients) <= 1,
    )


def schedules_by_their_sums(classify: Callable = rate_sums) -> Finding:
    """Check which schedules keep both conditions of Robbins and Monro: those whose rate falls like t^-a, 1/2 < a <= 1.

    The sum of t^-a diverges for a <= 1, that of its squares t^-2a converges for a > 1/2. inverse, 1 / (1 + c t): a = 1.
    power, (1 + t)^-0.75: a = 0.75. inverse_sqrt: a = 1/2, whose squares sum like log t. constant: a = 0.
    exponential: a geometric series, of which both sums converge. step and multistep fall a number of times that the
    length of the run decides, and linear, polynomial, cosine, wsd and one_cycle end with the run: the mean of the
    multiplier does not fall where the run becomes longer, so that a = 0. cosine_restarts returns to the full rate in
    every cycle: a = 0. plateau depends on the validation loss, and is in neither list.
    """
    names = [name for name in catalog.options("sched") if not catalog.is_own(catalog.file("sched", name))]
    found = {name: classify(Option("sched", name)()) for name in names}
    kept = [name for name, sums in found.items() if sums is not None and sums.keeps_the_rule]
    stops_short = [name for name, sums in found.items() if sums is not None and not sums.diverges]
    return Finding(
        predicted=f"kept by {', '.join(KEEP)}; finite sum of rates: exponential",
        measured=f"kept by {', '.join(kept)}; finite sum of rates: {', '.join(stops_short)}; of {len(names)} schedules",
        holds=(tuple(kept), stops_short) == (KEEP, ["exponential"]),
    )


def bound_of_averaged_sgd(sgd: Callable = SGD, sched: Callable = ROOT) -> Finding:
    """Check the bound of averaged SGD with rates c / sqrt(t), (D^2 / c + c C^2 r) / sqrt(t), r = sqrt((t + 1) / t).

    It bounds L(mean of w_1 ... w_t) - L*; C bounds the gradients, D the distance to w*. With u_s = w_s - w*,
        u_s+1^2 = u_s^2 - 2 lr_s g_s u_s + lr_s^2 g_s^2, divided by 2 lr_s and summed over s,
    gives (D^2 / (2 c) + c C^2) / sqrt(t), as the sum of 1 / sqrt(s) is below 2 sqrt(t). The lecture's first term is
    twice that: the tighter bound is checked as well. The average is over w_1 ... w_t, t terms. The loss is E|w - x|,
    x = 1 with probability 3/4, else -1, with w* = 1, L* = 1/2 and C = 1; the expectation is the mean over 400 chains.
    """
    steps, c = 4000, 1.0
    rng = torch.Generator().manual_seed(3)
    start = torch.full((400,), 0.37, dtype=torch.float64)

    def loss(weight: Tensor) -> Tensor:
        x = 2 * (torch.rand(weight.shape, generator=rng) < 0.75).double() - 1
        return (weight - x).abs().sum()

    path = path_of(partial(sgd, lr=c), start, loss, steps - 1, multiplied(c, sched(), steps))
    t = torch.arange(1, steps + 1, dtype=torch.float64)
    means = path.cumsum(0) / t[:, None]
    gaps = (0.75 * (means - 1).abs() + 0.25 * (means + 1).abs()).mean(1) - 0.5
    distance = largest(path - 1)
    stated = (distance**2 / c + c * ((t + 1) / t).sqrt()) / t.sqrt()
    tighter = (distance**2 / (2 * c) + c) / t.sqrt()
    worst, worst_tighter = float((gaps / stated).max()), float((gaps / tighter).max())
    return Finding(
        predicted="gap / bound <= 1 at every step, for the textbook's bound too",
        measured=f"at most {worst:.3f}, and {worst_tighter:.3f}, in {steps:,} steps",
        holds=worst <= 1 and worst_tighter <= 1,
    )


def rates_of_convergence(gd: Callable = GD, sgd: Callable = SGD, sched: Callable = ROOT) -> Finding:
    """Check that gradient descent converges like 1 / k, SGD with rates c / sqrt(k) like 1 / sqrt(k), by slopes of logs.

    Quadratic with curvatures i / d, i = 1 ... d, and w_0 = curvature^-1/2, the worst of quadratics: with lr = 1 the gap
    is sum (1 - i / d)^2k / 2 = d / (4 k + 2), up to 1/4, while k is far below d. SGD on E(w - x)^2 / 2, x of variance
    1: E w^2 <- (1 - lr)^2 E w^2 + lr^2, which stays near lr / 2 while lr changes slowly: the gap is c / (4 sqrt(k)).
    4,000 chains, steps 200 to 2,000.
    """
    curvature = torch.arange(1, 10_001, dtype=torch.float64) / 10_000
    path = path_of(partial(gd, lr=1.0), curvature**-0.5, lambda w: (curvature * w * w).sum() / 2, 300)
    full = slope((curvature * path.square()).sum(1) / 2, 30)
    rng = torch.Generator().manual_seed(4)

    def loss(weight: Tensor) -> Tensor:
        return (weight - torch.randn(weight.shape, generator=rng)).square().sum() / 2

    noisy = path_of(partial(sgd, lr=0.5), torch.zeros(4000), loss, 2000, multiplied(0.5, sched(), 2000))
    stochastic = slope(noisy.square().mean(1) / 2, 200)
    return Finding(
        predicted="slopes -1 (full batch) and -0.5 (SGD)",
        measured=f"{full:.2f} and {stochastic:.2f}",
        holds=abs(full + 1) < NEAR and abs(stochastic + 0.5) < NEAR,
    )


def unbiased_mini_batches(
    sampler: Callable = Option("sampler", "shuffle"), criterion: Callable = Option("loss", "cross_entropy")
) -> Finding:
    """Check that the gradient of a random batch has the full gradient as its mean.

    The batch's loss is a mean over its samples, each of which is in the same fraction of all batches: the mean over
    the batches of an epoch, and over all C(6, 3) = 20 batches of three of six samples, is the mean over the samples.
    The two sides differ by rounding in float64.
    """
    rng = torch.Generator().manual_seed(5)
    images = torch.randn(24, 4, generator=rng, dtype=torch.float64)
    targets = nn.functional.one_hot(torch.arange(24) % 3, 3).double()
    model = Option("model", "mlp")((4,), 3, kit(Option("act", "tanh")), hidden=[8]).double()
    loss_of, weights = criterion(), [*model.parameters()]

    def gradient(indices: Tensor) -> Tensor:
        loss = loss_of(model(images[indices]), targets[indices]).mean()
        return torch.cat([part.flatten() for part in torch.autograd.grad(loss, weights)])

    order = sampler()(0, targets, torch.zeros(24), rng)
    epoch = torch.stack([gradient(batch) for batch in order.split(4)]).mean(0)
    some = torch.stack([gradient(torch.tensor(batch)) for batch in combinations(range(6), 3)]).mean(0)
    off = max(largest(epoch - gradient(torch.arange(24))), largest(some - gradient(torch.arange(6))))
    return Finding(predicted="difference 0", measured=f"{off:.1e}", holds=off < 1e-12)
