"""Variance scaling: initialisers of weights by fan-in and fan-out. All leave biases and norm layers alone.

The fans of a convolution count its kernel's area and the channels of one group.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from trainer.base.checks import require, require_one_of
from trainer.base.layers import Residual, fans, takes_activation, weight_layers, weight_of
from trainer.base.protocols import Act
from trainer.init.gain import gain, require_gain, resolve_gain

# Deviation of a standard normal truncated at two: 0.8796.
TRUNCATED = math.sqrt(1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2)))


def normal(weight: Tensor, std: float) -> None:
    """Draw from N(0, std^2)."""
    nn.init.normal_(weight, std=std)


def uniform(weight: Tensor, std: float) -> None:
    """Draw uniformly within sqrt(3) std, of deviation std."""
    bound = math.sqrt(3) * std
    nn.init.uniform_(weight, -bound, bound)


def truncated_normal(weight: Tensor, std: float) -> None:
    """Draw from a normal truncated at two deviations, widened to have the deviation std after the cut."""
    std /= TRUNCATED
    nn.init.trunc_normal_(weight, 0, std, -2 * std, 2 * std)


def draw(model: nn.Module, shape: Callable[[Tensor, float], None], std_of: Callable[[int, int], float]) -> None:
    """Draw the weights of every layer from a distribution of mean 0 and the deviation `std_of(fan_in, fan_out)`."""
    for layer in weight_layers(model):
        shape(weight_of(layer), std_of(*fans(layer)))


@dataclass(frozen=True, kw_only=True)
class FanInUniform:
    """Uniform distribution by fan-in, torch's own draw: w ~ Uniform(-r, r), r = 1 / sqrt(fan_in).

    Its variance is 1 / (3 fan_in): each linear layer divides the deviation of the signal by sqrt(3).
    """

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act: Act) -> None:
        draw(model, uniform, lambda inputs, outputs: 1 / math.sqrt(3 * inputs))


@dataclass(frozen=True, kw_only=True)
class Auto:
    """Variance scaling for any activation: w ~ N(0, g^2 / fan_in), g the gain of the activation before the layer.

    A unit y = sum_i w_i x_i of independent weights of mean 0 has Var(y) = fan_in Var(w) E[x^2]. The first layer sees
    standardised data, E[x^2] = 1, which g = 1 keeps. Behind an activation x = f(y'), with y' standard normal,
    E[x^2] = E[f(z)^2] = 1 / g^2, so that every layer's output has variance 1 again. Layers that the model marks as
    taking no activation's output (those of transformers, behind norms) have g = 1; for others without an activation
    before them the deviation is too large.

    In each of N residual blocks the last layer of the branch has 1 / sqrt(N) of its deviation, so that their sum does
    not grow with depth (Radford et al., 2019, section 2.3). The model's last layer has `head` times its deviation: the
    first outputs are near 0, so that a classifier begins at the loss of equal probabilities, a regression at that of
    the mean.

    Args:
        head: factor on the deviation of the last layer, >= 0.
    Errors: ValueError. Source: He et al., 2015, arXiv:1502.01852, eq. (10), there for ReLU with g = sqrt(2). Differs
    from the paper: any activation; the factors of the last layers.
    """

    head: float = 0.1

    def __post_init__(self) -> None:
        require(">= 0", head=self.head)

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act: Act) -> None:
        layers, of_act = list(weight_layers(model)), gain(act)
        for layer in layers:
            factor = self.head if layer is layers[-1] else 1.0
            entering = of_act if layer is not layers[0] and takes_activation(layer) else 1.0
            normal(weight_of(layer), factor * entering / math.sqrt(fans(layer)[0]))
        blocks = [block for block in model.modules() if isinstance(block, Residual)]
        for block in blocks:
            *_, last = weight_layers(block.branch)
            weight_of(last).data.mul_(len(blocks) ** -0.5)


@dataclass(frozen=True, kw_only=True)
class Scaled:
    """Base class: weights of mean 0 drawn by `shape`, of the deviation `std(gain, fan_in, fan_out)`.

    Args:
        gain: factor on the deviation, > 0, or act for the gain of the activation.
    Errors: ValueError.
    """

    gain: float | str = 1.0

    def __post_init__(self) -> None:
        require_gain(self.gain)

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act: Act) -> None:
        scale = resolve_gain(self.gain, act)
        draw(model, self.shape, lambda inputs, outputs: self.std(scale, inputs, outputs))


@dataclass(frozen=True, kw_only=True)
class LecunNormal(Scaled):
    """LeCun normal (LeCun et al., 1998): w ~ N(0, gain^2 / fan_in), keeps the variance of linear units; for SELU.

    Args:
        gain: factor on the deviation, > 0, or act for the gain of the activation. Paper: 1.
    Errors: ValueError.
    Source: LeCun et al., Efficient BackProp, 1998, section "Initializing the weights". Differs from the paper: no.
    """

    shape = staticmethod(normal)

    def std(self, scale: float, inputs: int, outputs: int) -> float:
        return scale / math.sqrt(inputs)


@dataclass(frozen=True, kw_only=True)
class LecunUniform(Scaled):
    """LeCun uniform (LeCun et al., 1998): w ~ Uniform(-r, r), r = gain sqrt(3 / fan_in), of variance gain^2 / fan_in.

    Args:
        gain: factor on the deviation, > 0, or act for the gain of the activation. Paper: 1.
    Errors: ValueError.
    Source: LeCun et al., Efficient BackProp, 1998, section "Initializing the weights". Differs from the paper:
    it leaves the distribution open.
    """

    shape = staticmethod(uniform)

    def std(self, scale: float, inputs: int, outputs: int) -> float:
        return scale / math.sqrt(inputs)


@dataclass(frozen=True, kw_only=True)
class XavierNormal(Scaled):
    """Xavier (Glorot) normal (Glorot & Bengio, 2010): w ~ N(0, gain^2 2 / (fan_in + fan_out)); for tanh.

    A compromise between keeping the variance of signals and that of gradients.

    Args:
        gain: factor on the deviation, > 0, or act for the gain of the activation. Paper: 1.
    Errors: ValueError.
    Source: Glorot & Bengio, 2010, eq. (12). Differs from the paper: normal, where the paper draws uniformly.
    """

    shape = staticmethod(normal)

    def std(self, scale: float, inputs: int, outputs: int) -> float:
        return scale * math.sqrt(2 / (inputs + outputs))


@dataclass(frozen=True, kw_only=True)
class XavierUniform(Scaled):
    """Xavier (Glorot) uniform (Glorot & Bengio, 2010): w ~ Uniform(-r, r), r = gain sqrt(6 / (fan_in + fan_out)).

    Args:
        gain: factor on the deviation, > 0, or act for the gain of the activation. Paper: 1.
    Errors: ValueError. Source: Glorot & Bengio, 2010, eq. (16). Differs from the paper: no.
    """

    shape = staticmethod(uniform)

    def std(self, scale: float, inputs: int, outputs: int) -> float:
        return scale * math.sqrt(2 / (inputs + outputs))


@dataclass(frozen=True, kw_only=True)
class HeNormal(Scaled):
    """He (Kaiming) normal (He et al., 2015): w ~ N(0, gain^2 / fan_in), keeps the mean square behind ReLU.

    Args:
        gain: factor on the deviation, > 0, or act for the gain of the activation. Paper: sqrt(2),
            ReLU's, here the float nearest to it.
    Errors: ValueError.
    Source: He et al., 2015, arXiv:1502.01852, eq. (10). Differs from the paper: no.
    """

    gain: float | str = 1.4142135623730951
    shape = staticmethod(normal)

    def std(self, scale: float, inputs: int, outputs: int) -> float:
        return scale / math.sqrt(inputs)


@dataclass(frozen=True, kw_only=True)
class HeUniform(Scaled):
    """He (Kaiming) uniform (He et al., 2015): w ~ Uniform(-r, r), r = gain sqrt(3 / fan_in).

    Its variance is gain^2 / fan_in.

    Args:
        gain: factor on the deviation, > 0, or act for the gain of the activation. Paper: sqrt(2), so
            that r = sqrt(6 / fan_in).
    Errors: ValueError.
    Source: He et al., 2015, arXiv:1502.01852, eq. (10). Differs from the paper: uniform, where the paper draws from a
    normal distribution.
    """

    gain: float | str = 1.4142135623730951
    shape = staticmethod(uniform)

    def std(self, scale: float, inputs: int, outputs: int) -> float:
        return scale / math.sqrt(inputs)


@dataclass(frozen=True, kw_only=True)
class VarianceScaling:
    """Variance scaling as in Keras 3: weights of mean 0 and variance scale / fan.

    LeCun, Xavier (Glorot & Bengio, 2010) and He (He et al., 2015) initialisation are cases of it.

    Args:
        scale: > 0. Keras: 1.
        mode: which fan: fan_in, fan_out or fan_avg, the mean of both. Keras: fan_in.
        distribution: normal, truncated_normal (cut at two deviations and widened by 1 / 0.8796, so that the variance
            behind the cut is the formula's), or uniform. Keras: truncated_normal.
    Errors: ValueError. Differs from Keras: its untruncated_normal is `normal` here; groups count in fan_out.
    """

    scale: float = 1.0
    mode: str = "fan_in"
    distribution: str = "truncated_normal"

    def __post_init__(self) -> None:
        require("> 0", scale=self.scale)
        require_one_of("fan_in", "fan_out", "fan_avg", mode=self.mode)
        require_one_of("normal", "truncated_normal", "uniform", distribution=self.distribution)

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act: Act) -> None:
        shape = {"normal": normal, "truncated_normal": truncated_normal, "uniform": uniform}[self.distribution]

        def std(inputs: int, outputs: int) -> float:
            fan = {"fan_in": inputs, "fan_out": outputs, "fan_avg": (inputs + outputs) / 2}[self.mode]
            return math.sqrt(self.scale / fan)

        draw(model, shape, std)
