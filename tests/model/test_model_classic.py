"""LeNet, AlexNet and VGG: the nets written out, or taken from torchvision."""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from nets import SUMS, avg_pool, copied, make_kit, scrambled
from torch import nn
from torch.testing import assert_close

from trainer.model.alexnet import AlexNet
from trainer.model.lenet import LeNet
from trainer.model.vgg import Vgg


def test_alexnet_on_large_images_is_torchvisions():
    """128x300: maps of 3x8, so that one side is averaged and the other spread. The dense layers are thin ones here."""
    ours = scrambled(AlexNet((3, 128, 300), 10, make_kit(pool=lambda: nn.MaxPool2d(3, 2)), hidden=[30, 20]))
    with torch.device("meta"):
        theirs = torchvision.models.alexnet(num_classes=10, dropout=0.0)
        for place, (inputs, outputs) in zip((1, 4, 6), ((9216, 30), (30, 20), (20, 10))):
            assert theirs.classifier[place].in_features == {1: 9216}.get(place, 4096)
            theirs.classifier[place] = nn.Linear(inputs, outputs)
    images = torch.rand(2, 3, 128, 300)
    assert_close(copied(ours, theirs)(images), ours(images), **SUMS)


def test_alexnet_on_small_images_is_the_net_written_out():
    model, images = scrambled(AlexNet((2, 16, 21), 4, make_kit(), hidden=[9, 5])), torch.rand(3, 2, 16, 21)
    values = iter(model.parameters())
    x = F.max_pool2d(F.conv2d(images, next(values), next(values), stride=2, padding=1).relu(), 2)
    x = F.max_pool2d(F.conv2d(x, next(values), next(values), padding=1).relu(), 2)
    for _ in range(3):
        x = F.conv2d(x, next(values), next(values), padding=1).relu()
    x = F.max_pool2d(x, 2).flatten(1)
    for _ in range(2):
        x = F.linear(x, next(values), next(values)).relu()
    assert_close(model(images), F.linear(x, *values), **SUMS)


@pytest.mark.parametrize("depth", [11, 13, 16, 19])
def test_vgg_has_torchvisions_convolutions_and_poolings(depth):
    ours = scrambled(Vgg((3, 32, 64), 10, make_kit(), depth=depth, hidden=[7]))
    with torch.device("meta"):
        theirs = getattr(torchvision.models, f"vgg{depth}")().features
    layers = list(ours)[: -len(("flatten", "dense", "act", "head"))]
    images = torch.rand(2, 3, 32, 64)
    assert_close(copied(nn.Sequential(*layers), theirs)(images), nn.Sequential(*layers)(images), **SUMS)
    w1, b1, w2, b2 = list(ours.parameters())[-4:]
    maps = theirs(images).flatten(1)
    assert_close(ours(images), (maps @ w1.T + b1).relu() @ w2.T + b2, **SUMS)


def test_vgg_averages_a_map_down_to_seven_by_seven():
    """256x16: four poolings leave 16x1, the fifth has no room."""
    model, images = scrambled(Vgg((1, 256, 16), 3, make_kit(), depth=11, hidden=[])), torch.rand(1, 1, 256, 16)
    maps = nn.Sequential(*[layer for layer in model if isinstance(layer, (nn.Conv2d, nn.ReLU, nn.MaxPool2d))])(images)
    assert maps.shape == (1, 512, 16, 1)
    # torch's windows: from floor(i 16 / 7) to ceil((i + 1) 16 / 7)
    rows = [maps[0, :, i * 16 // 7 : -(-(i + 1) * 16 // 7), 0].mean(1) for i in range(7)]
    assert_close(model(images)[0], model[-1](torch.stack(rows, 1).flatten()), **SUMS)


@pytest.mark.parametrize(("side", "paddings"), [(32, (0, 0)), (28, (2, 0)), (8, (2, 2))])
def test_lenet_is_the_net_written_out(side, paddings):
    model = scrambled(LeNet((1, side, side + 3), 4, make_kit(act=nn.Tanh, pool=avg_pool)))
    images = torch.rand(3, 1, side, side + 3)
    w1, b1, w2, b2, *values = model.parameters()
    x = F.avg_pool2d(F.conv2d(images, w1, b1, padding=paddings[0]).tanh(), 2)
    x = F.avg_pool2d(F.conv2d(x, w2, b2, padding=paddings[1]).tanh(), 2).flatten(1)
    w3, b3, w4, b4, w5, b5 = values
    x = ((x @ w3.T + b3).tanh() @ w4.T + b4).tanh()
    assert_close(model(images), x @ w5.T + b5, **SUMS)
