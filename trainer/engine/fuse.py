"""Fuse batch norms into the layers before them, for evaluation."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import fuse_conv_bn_eval, fuse_linear_bn_eval, parametrize


@torch.no_grad()
def fuse(model: nn.Module, images: Tensor) -> tuple[nn.Module, int]:
    """Return a copy of the model in evaluation mode without the batch norms that directly follow a dense layer or a
    convolution, and their number.

    w' = w gamma / sqrt(var + eps), b' = (b - mean) gamma / sqrt(var + eps) + beta: the outputs differ only by rounding.

    Args:
        images: a batch, sent through once to see which norm takes which layer's output as it is.
    Source: arXiv:1502.03167, section 3.1 (a linear transform at inference).
    """
    model = with_plain_weights(model)
    names = {module: name for name, module in model.named_modules()}
    pairs = following_norms(model, images)
    expected, count = model(images), 0
    for layer, norm in pairs:
        fuse_pair = fuse_linear_bn_eval if isinstance(layer, nn.Linear) else fuse_conv_bn_eval
        model.set_submodule(names[layer], fuse_pair(layer, norm))
        model.set_submodule(names[norm], nn.Identity())
        if torch.allclose(model(images), expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item()):
            count += 1
        else:  # the layer's output is used elsewhere too, as by a shortcut
            model.set_submodule(names[layer], layer)
            model.set_submodule(names[norm], norm)
    return model, count


@torch.no_grad()
def with_plain_weights(model: nn.Module) -> nn.Module:
    """Return a copy of the model in evaluation mode, with the weights that parametrisations make as parameters."""
    model = copy.deepcopy(model).eval()
    for module in [*model.modules()]:
        if parametrize.is_parametrized(module):
            made = {name: getattr(module, name).detach().clone() for name in module.parametrizations}
            del module.parametrizations
            # torch's remove_parametrizations would take the weights out of the class, which the original has as well.
            module.__class__ = type(module).__bases__[0]
            for name, value in made.items():
                module.register_parameter(name, nn.Parameter(value, requires_grad=False))
    return model


def following_norms(model: nn.Module, images: Tensor) -> list[tuple[nn.Module, nn.Module]]:
    """Return pairs of a layer and the batch norm that takes its output as it is, seen in one forward pass."""
    made: dict[int, nn.Module] = {}  # identity of a tensor -> the layer it came from
    kept: list[Tensor] = []  # so that no other tensor takes the same identity
    pairs: list[tuple[nn.Module, nn.Module]] = []

    def note(layer: nn.Module, inputs: tuple, output: Tensor) -> None:
        made[id(output)] = layer
        kept.append(output)

    def match(norm: nn.Module, inputs: tuple) -> None:
        if id(inputs[0]) in made:
            pairs.append((made[id(inputs[0])], norm))

    layers = [layer for layer in model.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]  # frozen ones, too
    hooks = [layer.register_forward_hook(note) for layer in layers]
    hooks += [norm.register_forward_pre_hook(match) for norm in model.modules() if isinstance(norm, _BatchNorm)]
    model(images)
    for hook in hooks:
        hook.remove()
    return pairs
