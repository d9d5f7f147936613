"""Claims on backpropagation: the lectures' network by hand, a linear chain, gradients of losses, slopes at zero."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from trainer.claims.claim import Finding, Option, kit, largest

EXACT = 1e-12  # in float64 only the order of sums differs
RELU = Option("act", "relu")
SQUARED_ERROR = partial(Option("loss", "mse"), reduction="sum")


def network_3_3_2(act: Callable = RELU) -> nn.Sequential:
    """Return the lecture's network of 3 inputs, 3 hidden units and 2 outputs, with 9 + 3 + 6 + 2 = 20 parameters."""
    return Option("model", "mlp")((3,), 2, kit(act), hidden=[3]).double()


def backprop_by_hand(act: Callable = RELU, criterion: Callable = SQUARED_ERROR) -> Finding:
    """Check autograd against the gradient by hand of |f - y|^2, f = W2 h + b2, h = max(0, z), z = W1 x + b1.

    d = 2 (f - y) is the gradient of the outputs, d h^T that of W2, d that of b2. Through the mask: e = (W2^T d) where
    z > 0, else 0, e x^T is the gradient of W1, e that of b1. Over a batch they are summed.
    """
    rng = torch.Generator().manual_seed(6)
    x, y = (torch.randn(7, size, generator=rng, dtype=torch.float64) for size in (3, 2))
    model = network_3_3_2(act)
    weights = dict(model.named_parameters())
    w1, b1, w2, b2 = (weight.detach() for weight in weights.values())
    found = torch.autograd.grad(criterion()(model(x), y).sum(), [*weights.values()])
    z = x @ w1.T + b1
    h = z.clamp_min(0)
    d = 2 * (h @ w2.T + b2 - y)
    e = (d @ w2) * (z > 0)
    off = max(largest(one - other) for one, other in zip(found, (e.T @ x, e.sum(0), d.T @ h, d.sum(0))))
    count = sum(weight.numel() for weight in weights.values())
    return Finding(
        predicted="difference 0, 20 parameters",
        measured=f"{off:.1e}, {count} parameters",
        holds=off < EXACT and count == 20,
    )


def first_order_prediction_by_depth(sgd: Callable = Option("optimizer", "sgd")) -> Finding:
    """Check the step that should lower y = x w_1 ... w_l by 0.1 to first order, lr = 0.1 / g.g, by depth l.

    With x = 1 and all w = 0.8: g_i = y / w, g.g = l y^2 / w^2, and each w becomes w (1 - 0.1 / (l y)), so that y falls
    by y (1 - (1 - 0.1 / (l y))^l): by 0.1 at depth 1, and by less than y = 0.8^l at any other, where 0.1 was promised.
    Of the terms that the prediction leaves out, those of second order are lr^2 x g_i g_j times the product of the
    others (the lecture has no x), for l = 2 the whole rest.
    """
    depths, w = (1, 5, 10, 20), 0.8
    predicted = [w**depth * (1 - (1 - 0.1 / (depth * w**depth)) ** depth) for depth in depths]
    found = [decrease([w] * depth, sgd) for depth in depths]
    x, (w1, w2) = 1.5, (0.7, -1.2)
    g = (x * w2, x * w1)
    lr = 0.1 / (g[0] ** 2 + g[1] ** 2)
    rest = 0.1 - decrease([w1, w2], sgd, x)
    off = max(abs(one - other) for one, other in zip(found, predicted))
    return Finding(
        predicted=f"decrease {', '.join(f'{value:.4f}' for value in predicted)} at depths 1, 5, 10, 20",
        measured=f"{', '.join(f'{value:.4f}' for value in found)}",
        holds=off < EXACT and abs(rest - lr**2 * x * g[0] * g[1]) < EXACT,
    )


def decrease(start: list[float], sgd: Callable, x: float = 1.0) -> float:
    """Return how far a step of lr = 0.1 / g.g lowers the output of a linear chain."""
    chain = Option("model", "linear_chain")((1,), 1, kit(), width=1, depth=len(start)).double()
    weights = [*chain.parameters()]
    with torch.no_grad():
        for weight, value in zip(weights, start):
            weight.fill_(value)
    inputs = torch.full((1, 1), x, dtype=torch.float64)
    before = chain(inputs)
    gradient = torch.autograd.grad(before, weights)
    optimizer = sgd(weights, lr=0.1 / float(sum(part.square().sum() for part in gradient)))

    def closure() -> Tensor:
        for weight, part in zip(weights, gradient):
            weight.grad = part.clone()
        return before.detach()

    optimizer.step(closure)
    return float((before - chain(inputs)).detach())


def gradient_of_cross_entropies(
    softmax_loss: Callable = Option("loss", "cross_entropy"), sigmoid_loss: Callable = Option("loss", "bce")
) -> Finding:
    """Check that the gradient of both cross-entropies in the outputs is p - y.

    -sum_k y_k log softmax(f)_k = -sum_k y_k f_k + log sum_k e^f_k, as sum y = 1: its gradient is softmax(f) - y. Of
    -y log s(f) - (1 - y) log s(-f) it is -y s(-f) + (1 - y) s(f) = s(f) - y. A step down pushes the true output up and
    all others down, as 0 < p < 1.
    """
    rng = torch.Generator().manual_seed(8)
    outputs = torch.randn(6, 5, generator=rng, dtype=torch.float64, requires_grad=True)
    targets = nn.functional.one_hot(torch.arange(6) % 5, 5).double()
    off, pushes = [], True
    for loss, squash in ((softmax_loss(), partial(torch.softmax, dim=1)), (sigmoid_loss(), torch.sigmoid)):
        (found,) = torch.autograd.grad(loss(outputs, targets).sum(), outputs)
        off.append(largest(found - (squash(outputs) - targets)))
        pushes = pushes and torch.equal(found < 0, targets > 0)
    return Finding(
        predicted="difference from p - y 0, only the true output rises",
        measured=f"{off[0]:.1e} (softmax), {off[1]:.1e} (sigmoid), {'only the true one' if pushes else 'others'} rises",
        holds=max(off) < EXACT and pushes,
    )


def slopes_at_zero(
    sigmoid: Callable = Option("act", "sigmoid"),
    tanh: Callable = Option("act", "tanh"),
    swish: Callable = Option("act", "swish"),
) -> Finding:
    """Check the slopes at 0 of sigmoid, 1/4, of tanh, 1, and of swish, 1/2, and that tanh(x) = 2 s(2 x) - 1.

    s' = s (1 - s) with s(0) = 1/2; tanh' = 1 - tanh^2; swish = x s(x) has swish' = s + x s (1 - s), and swish(0) = 0.
    """
    made = [act() for act in (sigmoid, tanh, swish)]
    zero = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    slopes = [float(torch.autograd.grad(act(zero).sum(), zero)[0]) for act in made]
    x = torch.linspace(-8, 8, 161, dtype=torch.float64)
    off = largest(made[1](x) - (2 * made[0](2 * x) - 1))
    at_zero = float(made[2](zero.detach()))
    return Finding(
        predicted="slopes 1/4, 1, 1/2; swish(0) = 0",
        measured=f"{', '.join(f'{slope:g}' for slope in slopes)}; {at_zero:g}; tanh {off:.0e} from 2 s(2 x) - 1",
        holds=largest(torch.tensor(slopes) - torch.tensor([0.25, 1, 0.5])) < EXACT and at_zero == 0 and off < EXACT,
    )
