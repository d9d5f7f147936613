"""Data-dependent initialisation of weights: LSUV, data-dependent scaling, random walk.

All leave biases and norm layers alone, and measure a forward pass on training images in evaluation mode: nothing is
dropped, and a fresh batch norm is the identity.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from trainer.base.checks import require
from trainer.base.layers import fans, preserved_modes, weight_layers, weight_of
from trainer.base.protocols import Act
from trainer.init.gain import gain

ForwardHook = Callable[[nn.Module, tuple, Tensor], Tensor | None]  # (layer, inputs, output) -> another output, or None


@contextmanager
def evaluating(model: nn.Module, hook: ForwardHook | None = None) -> Iterator[None]:
    """Put the model in evaluation mode, with a forward hook on every weight layer; undo both, also after an error."""
    handles = [layer.register_forward_hook(hook) for layer in weight_layers(model)] if hook else []
    try:
        with preserved_modes(model):
            model.eval()
            yield
    finally:
        for handle in handles:
            handle.remove()


def channels_first(output: Tensor, layer: nn.Module) -> Tensor:
    """Return a layer's outputs with the channels as first dimension: dense layers have them last, convolutions second.

    Shapes: (B, ..., C) or (B, C, ...) -> (C, ...).
    """
    return output.movedim(-1 if isinstance(layer, nn.Linear) else 1, 0)


def per_channel(values: Tensor, output: Tensor, layer: nn.Module) -> Tensor:
    """Reshape one value a channel (C,), or one for all (), to broadcast with an output of a layer."""
    return values if isinstance(layer, nn.Linear) else values.view(-1, *[1] * (output.dim() - 2))


def rescale(model: nn.Module, images: Tensor, std_of: Callable[[Tensor, nn.Module], Tensor | None]) -> None:
    """Divide each layer's weight, in the order of execution, by a deviation of its outputs on the images.

    The layers above see the outputs that the divided weight gives. A layer used in several places is divided in the
    first.

    Args:
        std_of: from the outputs without their bias, and the layer, to one value for it, one a channel, or None to
            leave it.
    """
    done = set()

    def divide(layer: nn.Module, inputs: tuple, output: Tensor) -> Tensor | None:
        if layer in done:
            return None
        done.add(layer)
        bias = 0 if layer.bias is None else per_channel(layer.bias, output, layer)
        signal = output - bias
        std = std_of(signal, layer)
        if std is None:
            return None
        weight = weight_of(layer)
        weight.div_(std.view(-1, *[1] * (weight.dim() - 1)))
        return signal / per_channel(std, output, layer) + bias

    with evaluating(model, divide):
        model(images)


@dataclass(frozen=True, kw_only=True)
class Lsuv:
    """Layer-sequential unit variance (Mishkin & Matas, 2016): orthonormal weights, scaled to outputs of variance 1.

    In the order of execution w <- w / sqrt(Var(w x)), over the batch and all units, unless the variance is within
    `tolerance` of 1 or the output is constant. One pass: a layer's output is linear in its weight, so that one division
    is exact, and the layers above see the divided output.

    Args:
        tolerance: largest deviation of the variance from 1 that is left as it is, > 0. Paper: 0.1.
    Shapes: images (N, ...), N >= 2. Errors: ValueError.
    Source: arXiv:1511.06422, algorithm 1. Differs from the paper: one division a layer instead of up to ten; the bias's
    part of the output is not counted.
    """

    tolerance: float = 0.1

    def __post_init__(self) -> None:
        require("> 0", tolerance=self.tolerance)

    @torch.no_grad()
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act: Act) -> None:
        for layer in weight_layers(model):
            for block in weight_of(layer).chunk(getattr(layer, "groups", 1)):
                nn.init.orthogonal_(block)

        def std_of(signal: Tensor, layer: nn.Module) -> Tensor | None:
            std = signal.std()
            return None if not std > 1e-6 * signal.abs().max() or abs(std.square() - 1) <= self.tolerance else std

        rescale(model, images, std_of)


@dataclass(frozen=True, kw_only=True)
class DataDependent:
    """Data-dependent initialisation (Kraehenbuehl et al., 2016): channels of variance 1, layers of one relative rate.

    Algorithm 1: w ~ N(0, 1); in the order of execution w_c <- w_c / std(w_c x) for each channel c, over batch and
    pixels; constant channels stay. Algorithm 2, in plain chains (nn.Sequential throughout, at least two layers):
    `rounds` times, with the random linear loss sum eta^T outputs, eta ~ N(0, 1), the rate of layer k is
    C_k = rms(gradient of w_k) / rms(w_k), C their geometric mean, and w_k <- w_k (C_k / C)^(alpha / 2). The product of
    these factors is 1: the layers above lose what one layer gains, the outputs keep their spread where activations are
    homogeneous, and log(C_k / C) shrinks by 1 - alpha. Models that are not chains stop after algorithm 1.

    Args:
        rounds: of algorithm 2, >= 0. Paper: about 10.
        alpha: damping, in (0, 1]. Paper: 0.25.
    Shapes: images (N, ...), N >= 2. Errors: ValueError.
    Source: arXiv:1511.06856, algorithms 1 and 2. Differs from the paper: biases, which it sets to centre the channels,
    stay; rates are averaged over a layer's weights as root mean squares.
    """

    rounds: int = 10
    alpha: float = 0.25

    def __post_init__(self) -> None:
        require(">= 0", rounds=self.rounds)
        require("in (0, 1]", alpha=self.alpha)

    @torch.no_grad()
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act: Act) -> None:
        for layer in weight_layers(model):
            nn.init.normal_(weight_of(layer))

        def std_of(signal: Tensor, layer: nn.Module) -> Tensor:
            columns = channels_first(signal, layer).flatten(1)
            std = columns.std(1)
            return torch.where(std > 1e-6 * columns.abs().amax(1), std, 1.0)

        rescale(model, images, std_of)
        weights = [weight_of(layer) for layer in weight_layers(model)]
        if len(weights) > 1 and is_chain(model):
            with evaluating(model):
                for _ in range(self.rounds):
                    equalize_rates(model, weights, images, self.alpha)


def is_chain(model: nn.Module) -> bool:
    """Return whether only nn.Sequential holds other modules (the mask of a dropped weight does not count)."""
    inside = list(model.children())
    if not inside or parametrize.is_parametrized(model):
        return True
    return isinstance(model, nn.Sequential) and all(map(is_chain, inside))


def equalize_rates(model: nn.Module, weights: list[Tensor], images: Tensor, alpha: float) -> None:
    """Do one round of algorithm 2."""
    with torch.enable_grad():
        outputs = model(images)
        gradients = torch.autograd.grad((outputs * torch.randn_like(outputs)).sum(), weights, materialize_grads=True)
    rates = torch.stack([grad.norm() / weight.norm() for grad, weight in zip(gradients, weights)]).log()
    if rates.isfinite().all():
        for weight, change in zip(weights, (alpha / 2 * (rates - rates.mean())).exp()):
            weight.mul_(change)


@dataclass(frozen=True, kw_only=True)
class RandomWalk:
    """Random walk initialisation (Sussillo & Abbott, 2014): one gain g, so that the gradient's log-norm does not drift.

    w ~ N(0, g^2 / fan_in) in all layers. With d_l the gradient at the output of layer l, the drift is the mean over
    samples of log |d_first| - log |d_last hidden|. g starts at the paper's, with N units in the hidden layers:
    exp(mean 1 / (2 N)) for linear, sqrt(2) exp(mean 1.2 / (max(N, 6) - 2.4)) for ReLU, gain(act) for others. Then come
    secant steps in log g on the first 64 images, with the same draws scaled by g and a random gradient at the outputs.
    The start is kept where the drift follows g at less than a quarter of its rate in a plain network (norms), and with
    fewer than two hidden layers.

    Shapes: images (N, ...). Source: arXiv:1412.6558, the optimal scales of linear and of ReLU layers. Differs from the
    paper: g is measured on the model's own draws and images.
    """

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act: Act) -> None:
        layers = list(weight_layers(model))
        draws = [torch.randn_like(weight_of(layer)) for layer in layers]
        widths = [weight_of(layer).shape[0] for layer in layers[:-1]]
        start = math.log(papers_gain(act(), gain(act), widths))
        output_gradient: list[Tensor] = []  # one draw for all measurements, of the shape that the first finds

        def drift_at(log_gain: float) -> float:
            with torch.no_grad():
                for layer, draw in zip(layers, draws):
                    weight_of(layer).copy_(draw).mul_(math.exp(log_gain) / math.sqrt(fans(layer)[0]))
            return gradient_drift(model, images[:64], output_gradient)

        # The last call leaves the weights at the gain that was found.
        drift_at(driftless(drift_at, start, 0.25 * (len(layers) - 2)) if len(layers) > 2 else start)


def papers_gain(act: nn.Module, act_gain: float, widths: list[int]) -> float:
    """Return the paper's g for hidden layers of these widths."""
    corrections = {nn.Identity: lambda n: 1 / (2 * n), nn.ReLU: lambda n: 1.2 / (max(n, 6) - 2.4)}
    correction = corrections.get(type(act), lambda n: 0.0)
    return act_gain * math.exp(sum(map(correction, widths)) / max(len(widths), 1))


def gradient_drift(model: nn.Module, images: Tensor, output_gradient: list[Tensor]) -> float:
    """Return how much longer, in logarithms, the gradient is at the first layer than at the last hidden one.

    Args:
        output_gradient: gradient at the outputs, drawn at the first call and kept in the list.
    """
    outputs: list[Tensor] = []
    with evaluating(model, lambda layer, inputs, output: outputs.append(output)), torch.enable_grad():
        final = model(images)
        if not output_gradient:
            output_gradient.append(torch.randn_like(final))
        if len(outputs) < 3 or not outputs[0].requires_grad:
            return math.nan
        ends = [outputs[0], outputs[-2]]
        first, last = torch.autograd.grad((final * output_gradient[0]).sum(), ends, materialize_grads=True)
    # A layer may see a sample as several rows, one after another.
    first, last = (gradient.reshape(len(images), -1).norm(dim=1) for gradient in (first, last))
    ratio = first.log() - last.log()
    return ratio[ratio.isfinite()].mean().item()  # a sample whose units are all dead has no gradient


def driftless(drift_at: Callable[[float], float], start: float, min_slope: float) -> float:
    """Return the log g without drift, by at most eight secant steps within a factor of 4 of the start.

    They end where the slope of the drift is below `min_slope`.
    """
    x, y, other = start, drift_at(start), start + 0.05
    best = (abs(y), start)
    for _ in range(8):
        value = drift_at(other)
        slope = (value - y) / (other - x) if other != x else 0.0
        if not (math.isfinite(value) and slope >= min_slope):
            break
        best = min(best, (abs(value), other))
        if abs(value) < 1e-4:
            break
        x, y, other = other, value, min(max(other - value / slope, start - math.log(4)), start + math.log(4))
    return best[1] if math.isfinite(best[0]) else start
