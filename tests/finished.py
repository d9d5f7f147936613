"""Finished networks of torchvision for the tests: made without values, with parts of the kit's, counted."""

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from trainer.base.layer_factory import LayerFactory
from trainer.model.torchvision import Torchvision
from trainer.norm import Batch, Layer


class Shapes(TorchFunctionMode):
    """New tensors have no values, but for the arithmetic on block widths that RegNet does with torch.arange."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        meta = {"device": "meta"} if function in (torch.empty, torch.zeros, torch.ones) else {}
        return function(*args, **{**(kwargs or {}), **meta})


def make_kit(act=nn.ReLU, norm=nn.Identity, drops=()):
    return LayerFactory(act=act, norm=norm, pool=lambda: nn.MaxPool2d(2, 2), drops=drops)


def batch(channels):
    return Batch()(channels)


def layer(channels):
    return Layer()(channels)


def dropout():
    return nn.AlphaDropout(0.25)


def count(model, *types):
    return sum(type(module) in types for module in model.modules())


def make(name, input_shape=(3, 32, 32), outputs=10, kit=None, **fields):
    return Torchvision(input_shape, outputs, kit or make_kit(), name=name, **fields)
