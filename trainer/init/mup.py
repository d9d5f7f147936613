"""Maximal update parametrisation."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from trainer.base.checks import require
from trainer.base.layers import decay_parameters, weight_layers, weight_of
from trainer.base.protocols import Act
from trainer.init.variance_scaling import Auto


@dataclass(frozen=True, kw_only=True)
class Mup:
    """Maximal update parametrisation (Yang & Hu et al., 2022): each layer learns at a pace that is right at any width.

    With r = width / base_width, by the inputs or by the outputs of a layer, against init=auto at the usual rate:

                     first layer, biases, norms    hidden layers    last layer
    deviation        1                             1                1 / sqrt(r_in)
    rate, SGD        r_out                         1                1 / r_in
    rate, Adam       1                             1 / r_in         1 / r_in

    So activations change by the same amount in a step at every width, and the best learning rate of a narrow network is
    that of a wide one. At base_width it is init=auto. The optimizer's column is found by trying it: steps proportional
    to the gradient, or independent of its size. Depthwise convolutions count as first layers, the last layer's bias and
    single numbers keep the usual rate.

    Args:
        base_width: units or channels, >= 1.
        head: factor on the deviation of the last layer, >= 0. Paper: 1, and 0 is good as well.
    Errors: ValueError. Source: arXiv:2203.03466, table 3 with the base shapes of appendix H; in the same form
    github.com/microsoft/mup. Differs from the paper: the place of a layer tells which of its sides grow, not a second
    model; a convolution is as wide as it has channels, a dense layer behind maps as it has inputs; attention keeps
    1 / sqrt(d), which is the paper's 1 / d up to a constant where wider means more heads; weight decay stays as it is.
    """

    base_width: int = 128
    head: float = 0.1

    def __post_init__(self) -> None:
        require(">= 1", base_width=self.base_width)
        require(">= 0", head=self.head)

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, act: Act) -> None:
        Auto(head=self.head)(model, images, targets, act)
        layers = list(weight_layers(model))
        for layer in layers[1:][-1:]:
            weight_of(layer).data.mul_((weight_of(layer).shape[1] / self.base_width) ** -0.5)

    def rate_factors(self, model: nn.Module, degree: int) -> Mapping[nn.Parameter, float]:
        """Return the factor on the learning rate of each parameter that has one.

        Args:
            degree: 1 for an optimizer whose steps are proportional to the gradient (SGD), 0 for one whose steps do not
                depend on its size (Adam).
        """
        layers = list(weight_layers(model))
        if len(layers) < 2:
            return {}
        inputs, outputs = widths(model, layers)
        last = weight_of(layers[-1])
        factors = {weight: width / self.base_width for weight, width in outputs.items()} if degree else {}
        factors |= {weight: self.base_width / width for weight, width in inputs.items() if not degree or weight is last}
        of_last_bias = {*layers[-1].parameters()} - {last}
        return {weight: value for weight, value in factors.items() if value != 1 and weight not in of_last_bias}


def widths(model: nn.Module, layers: Sequence[nn.Module]) -> tuple[dict[nn.Parameter, int], dict[nn.Parameter, int]]:
    """Return the number of inputs of each hidden matrix, and that of the outputs of each parameter that is none.

    Parameters of the model's input and single numbers are left out.
    """
    apart = [layer for layer in layers[1:] if getattr(layer, "groups", 1) > 1 and weight_of(layer).shape[1] == 1]
    outputs = {weight_of(layer): weight_of(layer).shape[0] for layer in (layers[0], *apart)}
    matrices, of_input = {*decay_parameters(model)}, {*parameters_before(model, layers[0])}
    others = [weight for weight in model.parameters() if weight.requires_grad and weight not in outputs]
    others = [weight for weight in others if weight.numel() > 1 and weight not in of_input]
    inputs = {weight: weight.shape[1] for weight in others if weight in matrices}
    return inputs, outputs | {weight: max(weight.shape) for weight in others if weight not in matrices}


def parameters_before(model: nn.Module, first: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the parameters of the modules that were made before a layer, without those that hold it."""
    for module in model.modules():
        if module is first:
            return
        if first not in module.modules():
            yield from module.parameters()
