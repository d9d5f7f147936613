"""Initialisers that look at how a batch runs through the model. All leave biases and norm layers alone.

They measure in evaluation mode: nothing is dropped, and a fresh batch norm is the identity.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.base.checks import require
from trainer.base.layers import fans, weight_layers, weight_of
from trainer.init.gain import Act, gain


@contextmanager
def watched(model: nn.Module, look: Callable) -> Iterator[None]:
    """Evaluation mode with `look(layer, inputs, output)` behind every producer's forward; modes and hooks are put back whatever happens."""
    modes = [(module, module.training) for module in model.modules()]
    hooks = [layer.register_forward_hook(look) for layer in weight_layers(model)]
    try:
        model.eval()
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes:
            module.training = mode


def along_channels(values: Tensor, output: Tensor) -> Tensor:
    """One value a channel (C,), in a shape that goes with (B, C, ...)."""
    return values.view(-1, *[1] * (output.dim() - 2))


def rescale(model: nn.Module, images: Tensor, std_of: Callable[[Tensor], Tensor | None]) -> None:
    """Divide each layer's weight, in the order of execution, by what `std_of` says of its outputs on the images, their bias left out.

    One value for the layer, one a channel, or None to leave it; the layers above see the outputs that the divided weight gives.
    A layer that stands in several places is divided where it comes first.
    """
    seen = set()

    def divide(layer: nn.Module, inputs: tuple, output: Tensor) -> Tensor | None:
        if layer in seen:
            return None
        seen.add(layer)
        bias = 0 if layer.bias is None else along_channels(layer.bias, output)
        signal = output - bias
        std = std_of(signal)
        if std is None:
            return None
        weight = weight_of(layer)
        weight.div_(std.view(-1, *[1] * (weight.dim() - 1)))
        return signal / along_channels(std, output) + bias

    with watched(model, divide):
        model(images)


@dataclass(frozen=True, kw_only=True)
class Lsuv:
    """Orthonormal weights, then each layer in the order of execution scaled to outputs of variance 1 (Mishkin & Matas, 2016).

    w <- w / sqrt(Var(w x)), over the batch and all units, unless the variance is within `tolerance` of 1 or the output is constant.
    One pass: a layer's output is linear in its weight, so that one division is exact, and the layers above see what it gives then.

    Args:
        tolerance: deviation of the variance from 1 that is let pass, > 0. Paper: 0.1.
    Shapes: images (N, ...), N >= 2. Errors: ValueError.
    Source: arXiv:1511.06422, algorithm 1. Differs from the paper: one division a layer instead of up to ten; the bias's part
    is not counted.
    """

    tolerance: float = 0.1

    def __post_init__(self) -> None:
        require("> 0", tolerance=self.tolerance)

    @torch.no_grad()
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act: Act) -> None:
        for layer in weight_layers(model):
            for block in weight_of(layer).chunk(getattr(layer, "groups", 1)):
                nn.init.orthogonal_(block)

        def std_of(signal: Tensor) -> Tensor | None:
            std = signal.std()
            return None if not std > 1e-6 * signal.abs().max() or abs(std.square() - 1) <= self.tolerance else std

        rescale(model, images, std_of)


@dataclass(frozen=True, kw_only=True)
class DataDependent:
    """Each channel scaled to variance 1 on a batch, then all layers to one relative rate of learning (Kraehenbuehl et al., 2016).

    Algorithm 1: w ~ N(0, 1); in the order of execution w_c <- w_c / std(w_c x) for each channel c, over batch and pixels; channels
    that are constant stay. Algorithm 2, in plain chains (nn.Sequential throughout, two layers at least): `rounds` times, with the
    random linear loss sum eta^T outputs, eta ~ N(0, 1), the rate of layer k is C_k = rms(gradient of w_k) / rms(w_k), C their
    geometric mean, and w_k <- w_k (C_k / C)^(alpha / 2). The product of these factors is 1: what one layer gains the
    layers above lose, the outputs keep their spread where activations are homogeneous, and log(C_k / C) shrinks by 1 - alpha.
    Models that are no chain stop after algorithm 1.

    Args:
        rounds: of algorithm 2, >= 0. Paper: about 10.
        alpha: damping, in (0, 1]. Paper: 0.25.
    Shapes: images (N, ...), N >= 2. Errors: ValueError.
    Source: arXiv:1511.06856, algorithms 1 and 2. Differs from the paper: biases, which it sets to centre the channels, are left
    alone; rates are averaged over a layer's weights as root mean squares.
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

        def std_of(signal: Tensor) -> Tensor:
            columns = signal.transpose(0, 1).flatten(1)
            std = columns.std(1)
            return torch.where(std > 1e-6 * columns.abs().amax(1), std, 1.0)

        rescale(model, images, std_of)
        weights = [weight_of(layer) for layer in weight_layers(model)]
        if len(weights) > 1 and is_chain(model):
            with watched(model, lambda layer, inputs, output: None):
                for _ in range(self.rounds):
                    equalise(model, weights, images, self.alpha)


def is_chain(part: nn.Module) -> bool:
    """Whether layers stand one behind another: nothing but nn.Sequential holds others (a dropped weight's mask is none)."""
    inside = list(part.children())
    return (
        not inside
        or hasattr(part, "parametrizations")
        or (isinstance(part, nn.Sequential) and all(map(is_chain, inside)))
    )


def equalise(model: nn.Module, weights: list[Tensor], images: Tensor, alpha: float) -> None:
    """One round of algorithm 2."""
    with torch.enable_grad():
        outputs = model(images)
        gradients = torch.autograd.grad((outputs * torch.randn_like(outputs)).sum(), weights, materialize_grads=True)
    rates = torch.stack([grad.norm() / weight.norm() for grad, weight in zip(gradients, weights)]).log()
    if rates.isfinite().all():
        for weight, change in zip(weights, (alpha / 2 * (rates - rates.mean())).exp()):
            weight.mul_(change)


@dataclass(frozen=True, kw_only=True)
class RandomWalk:
    """w ~ N(0, g^2 / fan_in), one g for all layers, so that the gradient's log-norm does not drift on its way (Sussillo & Abbott, 2014).

    With d_l the gradient at the output of layer l, drift = mean over samples of log |d_first| - log |d_last hidden|. It starts from
    the paper's g, with N units in the hidden layers: exp(mean 1 / (2 N)) for linear, sqrt(2) exp(mean 1.2 / (max(N, 6) - 2.4)) for ReLU,
    gain(act) for others; then secant steps in log g on the first 64 images, with the same draws scaled by g and a random gradient at
    the outputs. Where the drift follows g at less than a quarter of its rate in a plain net (norms), or there
    are fewer than two hidden layers, the start is kept.

    Shapes: images (N, ...). Source: arXiv:1412.6558, the optimal scales of linear and of ReLU layers. Differs from the paper:
    g is measured on the model's own draws and images.
    """

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act: Act) -> None:
        layers = list(weight_layers(model))
        draws = [torch.randn_like(weight_of(layer)) for layer in layers]
        start = math.log(first_guess(act(), gain(act), [weight_of(layer).shape[0] for layer in layers[:-1]]))
        top: list[Tensor] = []

        def measure(log_gain: float) -> float:
            with torch.no_grad():
                for layer, draw in zip(layers, draws):
                    weight_of(layer).copy_(draw).mul_(math.exp(log_gain) / math.sqrt(fans(layer)[0]))
            return drift(model, images[:64], top)

        measure(no_drift(measure, start, 0.25 * (len(layers) - 2)) if len(layers) > 2 else start)


def first_guess(act: nn.Module, of_act: float, widths: list[int]) -> float:
    """The paper's g for hidden layers of these widths."""
    corrections = {nn.Identity: lambda n: 1 / (2 * n), nn.ReLU: lambda n: 1.2 / (max(n, 6) - 2.4)}
    correction = corrections.get(type(act), lambda n: 0.0)
    return of_act * math.exp(sum(map(correction, widths)) / max(len(widths), 1))


def drift(model: nn.Module, images: Tensor, top: list[Tensor]) -> float:
    """How much longer, in logarithms, the gradient is at the first layer than at the last hidden one. `top` keeps what it starts from."""
    outputs: list[Tensor] = []
    with watched(model, lambda layer, inputs, output: outputs.append(output)), torch.enable_grad():
        final = model(images)
        if not top:
            top.append(torch.randn_like(final))
        if len(outputs) < 3 or not outputs[0].requires_grad:
            return math.nan
        ends = torch.autograd.grad((final * top[0]).sum(), [outputs[0], outputs[-2]], materialize_grads=True)
    ratio = ends[0].flatten(1).norm(dim=1).log() - ends[1].flatten(1).norm(dim=1).log()
    return ratio[ratio.isfinite()].mean().item()  # a sample whose units are all dead has no gradient


def no_drift(measure: Callable[[float], float], start: float, least: float) -> float:
    """The log g without drift: at most eight secant steps, to within a factor of 4 of the start, while the slope is `least` or more."""
    x, y, other = start, measure(start), start + 0.05
    best = (abs(y), start)
    for _ in range(8):
        value = measure(other)
        slope = (value - y) / (other - x) if other != x else 0.0
        if not (math.isfinite(value) and slope >= least):
            break
        best = min(best, (abs(value), other))
        if abs(value) < 1e-4:
            break
        x, y, other = other, value, min(max(other - value / slope, start - math.log(4)), start + math.log(4))
    return best[1] if math.isfinite(best[0]) else start
