"""Batch norm folded into the layer before it, for evaluation."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import fuse_conv_bn_eval, fuse_linear_bn_eval

from trainer.base.layers import weight_layers


@torch.no_grad()
def fold(model: nn.Module, images: Tensor) -> tuple[nn.Module, int]:
    """A copy of the model in evaluation mode without the batch norms that stand directly behind a dense layer or a convolution, and their number.

    w' = w gamma / sqrt(var + eps), b' = (b - mean) gamma / sqrt(var + eps) + beta: the outputs are the same but for rounding.

    Args:
        images: a batch, sent through once to see which norm takes which layer's output as it is.
    Source: arXiv:1502.03167, section 3.1 (a linear transform at inference).
    """
    model = copy.deepcopy(model).eval()
    made: dict[int, nn.Module] = {}  # the tensor a layer gave -> the layer
    kept: list[Tensor] = []  # so that no other tensor takes the same identity
    pairs: list[tuple[nn.Module, nn.Module]] = []

    def note(layer: nn.Module, inputs: tuple, output: Tensor) -> None:
        made[id(output)] = layer
        kept.append(output)

    def match(norm: nn.Module, inputs: tuple) -> None:
        if id(inputs[0]) in made:
            pairs.append((made[id(inputs[0])], norm))

    layers = [layer for layer in weight_layers(model) if isinstance(layer, (nn.Linear, nn.Conv2d))]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    hooks += [module.register_forward_pre_hook(match) for module in model.modules() if isinstance(module, _BatchNorm)]
    model(images)
    for hook in hooks:
        hook.remove()
    names = {module: name for name, module in model.named_modules()}
    expected, count = model(images), 0
    for layer, norm in pairs:
        fuse = fuse_linear_bn_eval if isinstance(layer, nn.Linear) else fuse_conv_bn_eval
        model.set_submodule(names[layer], fuse(layer, norm))
        model.set_submodule(names[norm], nn.Identity())
        if torch.allclose(model(images), expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item()):
            count += 1
        else:  # the layer's output goes elsewhere too, as into a shortcut
            model.set_submodule(names[layer], layer)
            model.set_submodule(names[norm], norm)
    return model, count
