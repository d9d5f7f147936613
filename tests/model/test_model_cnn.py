"""Plain convolutional nets and FitNets written out, and poolings measured."""

import pytest
import torch
import torch.nn.functional as F
from nets import EXACT, leaves, make_kit, on_meta, option, scrambled
from torch import nn
from torch.testing import assert_close

from trainer.act import Maxout
from trainer.model.blocks import output_shape, pooling
from trainer.model.cnn import Cnn
from trainer.model.fitnet import FitNet
from trainer.pool import Fractional


def test_a_cnn_is_the_net_written_out():
    model, images = Cnn((2, 6, 9), 4, make_kit(), channels=[3, 7]), torch.rand(6, 2, 6, 9)
    w1, b1, w2, b2, w3, b3 = model.parameters()
    x = F.max_pool2d(F.conv2d(images, w1, b1, padding=1).relu(), 2)
    x = F.max_pool2d(F.conv2d(x, w2, b2, padding=1).relu(), 2)
    assert_close(model(images), x.mean((2, 3)) @ w3.T + b3)


@pytest.mark.parametrize(
    ("input_shape", "pools"), [((1, 8, 8), 3), ((1, 4, 9), 2), ((1, 3, 3), 1), ((1, 1, 1), 0), ((1, 64, 64), 4)]
)
def test_a_cnn_pools_images_of_two_pixels_and_more(input_shape, pools):
    assert leaves(Cnn(input_shape, 3, make_kit(), channels=[2, 2, 2, 2])).count(nn.MaxPool2d) == pools


def test_the_output_shape_of_a_pooling_is_measured():
    """8 x 0.7071 is 5, then 3, 2, 1: four poolings where halving would leave three."""
    shape, sides = (2, 8, 9), []
    while True:
        layers, shape = pooling(make_kit(pool=Fractional), shape)
        if not layers:
            break
        sides.append(shape[1:])
        assert layers[0].training
    assert sides == [(5, 6), (3, 4), (2, 2), (1, 1)]
    assert output_shape(nn.Conv2d(2, 5, 3), (2, 8, 9)) == (5, 6, 7)


def test_a_pooling_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match="too small"):
        Cnn((1, 4, 4), 3, make_kit(pool=lambda: nn.MaxPool2d(5, 5)))


CIFAR = (3, 32, 32)


@pytest.mark.parametrize(
    ("channels", "kernels", "pools"), [([3, 4], [3], [1, 2]), ([3, 4, 5], [5, 2, 1], [1]), ([3], [3], [])]
)
def test_a_fitnet_is_the_net_written_out(channels, kernels, pools):
    model = scrambled(
        FitNet((2, 8, 13), 4, make_kit(act=Maxout), channels=channels, kernels=kernels, pools=pools, hidden=6)
    ).double()
    x, values = torch.rand(3, 2, 8, 13).double(), iter(model.parameters())
    images = x
    for number in range(1, len(channels) + 1):
        side = kernels[min(number, len(kernels)) - 1]
        x = F.conv2d(x, next(values), next(values), padding=side // 2)
        x = torch.maximum(x[:, 0::2], x[:, 1::2])
        x = F.max_pool2d(x, 2) if number in pools else x
    x = x.flatten(1) if len(channels) in pools else x.amax((2, 3))
    x = F.linear(x, next(values), next(values))
    assert_close(model(images), F.linear(torch.maximum(x[:, 0::2], x[:, 1::2]), *values), **EXACT)


def test_the_options_of_fitnets_pool_where_the_paper_does():
    """32x32: behind the 5th and the 11th convolution and over the image at the end; the teacher behind each, to 4x4.

    The teacher's kernels: 8, 8, 5.
    """
    student, teacher = (on_meta(option(name), CIFAR, 10, make_kit()) for name in ("thin_deep", "wide_shallow"))
    assert [layer.kernel_size for layer in teacher if isinstance(layer, nn.Conv2d)] == [(8, 8), (8, 8), (5, 5)]
    assert {layer.kernel_size for layer in student if isinstance(layer, nn.Conv2d)} == {(3, 3)}
    student, teacher = leaves(student), leaves(teacher)
    pair, pool = [nn.Conv2d, nn.ReLU], nn.MaxPool2d
    dense = [nn.Flatten, nn.Linear, nn.ReLU, nn.Linear]
    assert student == [*5 * pair, pool, *6 * pair, pool, *6 * pair, nn.AdaptiveMaxPool2d, *dense]
    assert teacher == [*3 * [*pair, pool], *dense]
