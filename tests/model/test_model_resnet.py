"""Residual networks written out, or taken from torchvision."""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from nets import EXACT, SUMS, copied, dropout, leaves, make_kit, scrambled
from torch import nn
from torch.testing import assert_close

from trainer.base.layers import Residual
from trainer.model.resnet import CifarResNet, EveryOtherPixel, ResNet, WideResNet
from trainer.norm import Batch


@pytest.mark.parametrize("shape", [(3, 66, 97), (3, 32, 32), (1, 8, 8)])
def test_resnet18_is_torchvisions(shape):
    ours = scrambled(ResNet(shape, 10, make_kit(Batch())))
    theirs = torchvision.models.resnet18(num_classes=10)
    if shape[1] <= 64:
        theirs.conv1, theirs.maxpool = nn.Conv2d(shape[0], 64, 3, 1, 1, bias=False), nn.Identity()
    images = torch.rand(2, *shape)
    assert_close(copied(ours, theirs)(images), ours(images), **SUMS)


def test_option_a_takes_every_other_pixel_and_zero_channels():
    x = torch.arange(2 * 3 * 5 * 4.0).view(2, 3, 5, 4)
    y = EveryOtherPixel(2)(x)
    assert y.shape == (2, 5, 3, 2) and torch.equal(y[:, :3], x[:, :, ::2, ::2]) and not y[:, 3:].any()


def test_a_cifar_resnet_is_the_net_written_out():
    model = scrambled(CifarResNet((3, 9, 14), 4, make_kit(act=nn.Tanh), depth=14)).double()
    images = torch.rand(3, 3, 9, 14).double()
    values = iter(model.parameters())
    x = F.conv2d(images, next(values), next(values), padding=1).tanh()
    for stride in (1, 1, 2, 1, 2, 1):
        y = F.conv2d(x, next(values), next(values), stride, 1).tanh()
        y = F.conv2d(y, next(values), next(values), padding=1)
        if stride == 2:
            x = torch.cat([x[:, :, ::2, ::2], torch.zeros_like(x[:, :, ::2, ::2])], 1)
        x = (x + y).tanh()
    assert_close(model(images), F.linear(x.mean((2, 3)), *values), **EXACT)


def test_a_wide_resnet_is_the_net_written_out():
    model = scrambled(WideResNet((3, 9, 14), 4, make_kit(act=nn.Tanh, drops=[dropout]), depth=16, widen=1)).double()
    images = torch.rand(3, 3, 9, 14).double()
    values = iter(model.parameters())
    x = F.conv2d(images, next(values), next(values), padding=1)
    for stride in (1, 1, 2, 1, 2, 1):
        y = F.conv2d(x.tanh(), next(values), next(values), stride, 1).tanh()
        y = F.conv2d(y, next(values), next(values), padding=1)
        x = y + (x if stride == 1 else F.conv2d(x.tanh(), next(values), next(values), 2))
    assert_close(model(images), F.linear(x.tanh().mean((2, 3)), *values), **EXACT)


def test_a_wide_block_is_norm_act_conv_norm_act_drop_conv():
    """One block a stage, each with a projection; a norm at the end; no dropping elsewhere."""
    model = WideResNet((3, 8, 8), 4, make_kit(Batch(), [dropout]), depth=10, widen=2)
    kinds = [kind.__name__.removesuffix("2d").removesuffix("Norm") for kind in leaves(model) if kind is not nn.Identity]
    block = ["Batch", "ReLU", "Conv", "Batch", "ReLU", "Dropout", "Conv", "Conv"]
    assert kinds == ["Conv", *3 * block, "Batch", "ReLU", "AdaptiveAvgPool", "Flatten", "Linear"]
    assert all(module.bias is None for module in model.modules() if isinstance(module, nn.Conv2d))


def test_a_residual_block_adds_before_its_last_activation():
    model = CifarResNet((1, 8, 8), 3, make_kit(Batch()), depth=8)
    blocks = [module for module in model if isinstance(module, Residual)]
    norm = type(Batch()(1))
    assert [[type(layer) for layer in block.branch] for block in blocks] == 3 * [
        [nn.Conv2d, norm, nn.ReLU, nn.Conv2d, norm]
    ]
    assert all(type(block.after) is nn.ReLU for block in blocks)
