"""Claims on batch normalisation: its gradient, the identity, and fusing at test time."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from trainer.claims.claim import Finding, Option, kit, largest
from trainer.engine.fuse import fuse

BATCH_NORM = Option("norm", "batch")


def drawn(rows: int, channels: int) -> Tensor:
    """Return a batch whose channels have other means and deviations."""
    rng = torch.Generator().manual_seed(11)
    x = torch.randn(rows, channels, generator=rng, dtype=torch.float64)
    return x * torch.linspace(0.5, 2, channels) + torch.linspace(-1, 3, channels)


def gradient_without_shift_and_scale(norm: Callable = BATCH_NORM) -> Finding:
    """Check that the gradient through batch norm never moves only the mean or only the deviation of a channel.

    y = (h - m) / s of a batch is the same for h + c, and for a h. The derivative along 1 and along h - m is 0, so that
    the gradient is orthogonal to both, whatever the loss: sum g = 0, sum g (h - m) = 0. With eps in s the second one is
    of the order eps / var; eps = 1e-12 here.
    """
    h, made = drawn(32, 4).requires_grad_(), norm(eps=1e-12)(4).double().train()
    loss = (made(h) * drawn(32, 4).flip(0)).sin().sum()
    (gradient,) = torch.autograd.grad(loss, h)
    centred = h.detach() - h.detach().mean(0)
    size = gradient.norm(dim=0)
    shift = largest(gradient.sum(0) / size / 32**0.5)
    scale = largest((gradient * centred).sum(0) / size / centred.norm(dim=0))
    return Finding(
        predicted="cosine to shift and to scale 0",
        measured=f"{shift:.1e} and {scale:.1e}",
        holds=shift < 1e-9 and scale < 1e-9,
    )


def identity_of_gamma_and_beta(norm: Callable = BATCH_NORM, eps: float = 1e-3) -> Finding:
    """Check that gamma = sqrt(var + eps) and beta = mean make batch norm the identity, var the biased variance.

    gamma (x - mean) / sqrt(var + eps) + beta = x. The lecture's gamma = sqrt(var) leaves out eps: the smallest channel
    is then off by |x - mean| (1 - sqrt(var / (var + eps))).
    """
    x, made = drawn(64, 3), norm(eps=eps)(3).double().train()
    variance, mean = torch.var_mean(x, 0, correction=0)
    off = []
    for gamma in ((variance + eps).sqrt(), variance.sqrt()):
        with torch.no_grad():
            made.weight.copy_(gamma)
            made.bias.copy_(mean)
            off.append(largest(made(x) - x))
    expected = largest((x - mean) * (1 - (variance / (variance + eps)).sqrt()))
    return Finding(
        predicted=f"off by 0; without eps in gamma by {expected:.1e}",
        measured=f"{off[0]:.1e}; {off[1]:.1e}",
        holds=off[0] < 1e-12 and abs(off[1] - expected) < 1e-12,
    )


def fused_at_test_time(fuse: Callable = fuse) -> Finding:
    """Check that batch norms in evaluation are linear, and can be fused into the layers before them.

    With the running averages y = gamma (w x + b - mean) / sqrt(var + eps) + beta is w' x + b' with w' = w gamma /
    sqrt(var + eps) and b' = (b - mean) gamma / sqrt(var + eps) + beta. The outputs are of order 1 and differ by the
    rounding of float32. A dense and a convolutional network, whose averages, gamma and beta are not those of a start.
    """
    off, bends, fused, norms = [], [], 0, 0
    for name, shape in (("mlp", (12,)), ("cnn", (3, 8, 8))):
        model, x = Option("model", name)(shape, 5, kit(norm=BATCH_NORM)), torch.randn(16, *shape)
        layers = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        with torch.no_grad():
            for layer in layers:
                layer.weight.uniform_(0.5, 1.5)
                layer.bias.uniform_(-0.5, 0.5)
            for _ in range(20):
                model.train()(2 * torch.randn(16, *shape) + 1)
            expected, (made, count) = model.eval()(x), fuse(model, x)
            off.append(largest(made(x) - expected))
            one, other = torch.randn(2, 8, layers[0].num_features, *shape[1:])
            bends.append(largest(layers[0]((one + other) / 2) - (layers[0](one) + layers[0](other)) / 2))
        fused, norms = fused + count, norms + len(layers)
    return Finding(
        predicted=f"{norms} norms fused, difference below 1e-5",
        measured=f"{fused} fused, {max(off):.1e}; norms {max(bends):.1e} from linear",
        holds=fused == norms and max(off) < 1e-5 and max(bends) < 1e-5,
    )
