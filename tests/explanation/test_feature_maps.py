"""The last feature map of each kind of network, against what its authors call so."""

import pytest
import torch
from torch import nn
from torchvision import models

from trainer.explanation.feature_maps import MIXED, NO_CONVOLUTION, find_feature_map


def found_in(net, size=32, channels=3):
    with torch.no_grad():
        found = find_feature_map(net.eval(), torch.rand(1, channels, size, size))
    if isinstance(found, str):
        return found
    (name,) = (name for name, part in net.named_modules() if part is found.layer)
    return name, found.height, found.width


@pytest.mark.parametrize(
    "name, size, expected",
    [
        ("resnet18", 128, ("layer4", 4, 4)),
        ("vgg11", 64, ("features.19", 4, 4)),  # the activation behind the last convolution, before the pooling
        ("alexnet", 96, ("features.11", 5, 5)),
        ("squeezenet1_1", 96, ("classifier.2", 5, 5)),
        ("mobilenet_v3_small", 128, ("features", 4, 4)),  # squeeze and excitation: convolutions of one place
        ("densenet121", 128, ("features", 4, 4)),
        ("convnext_tiny", 128, ("features", 4, 4)),  # dense layers within its blocks
        ("shufflenet_v2_x0_5", 128, ("conv5", 4, 4)),
        ("resnet18", 32, ("layer2", 4, 4)),  # its last one has one place, the one before 2 x 2
    ],
)
def test_of_torchvisions_convolutional_networks(name, size, expected):
    assert found_in(getattr(models, name)(weights=None), size) == expected


@pytest.mark.parametrize("name", ["vit_b_16", "swin_t"])
def test_transformers_have_none(name):
    small = models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=3) if name == "vit_b_16" else models.swin_t()
    assert found_in(small) == MIXED


def test_networks_without_a_convolution_or_places_have_none():
    assert found_in(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 2)), 8) == NO_CONVOLUTION
    narrow = nn.Sequential(nn.Conv2d(3, 4, 8), nn.Flatten(), nn.Linear(4, 2))
    assert found_in(narrow, 8) == "the feature maps of the model have one place"
    assert found_in(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4, 2)), 1).endswith("one place")


class Own(nn.Module):
    """A user's own network: functions for activation and pooling, one activation for all, a convolution of its own."""

    def __init__(self, module=True):
        super().__init__()
        self.kernel, self.act = nn.Parameter(torch.randn(4, 3, 3, 3)), nn.ReLU()
        self.last = Block() if module else nn.Identity()
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = torch.conv2d(x, self.kernel)
        x = self.last(x) if not isinstance(self.last, nn.Identity) else x
        return self.act(self.head(x.relu().mean((2, 3))))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(4, 4, 3, 3))

    def forward(self, x):
        return nn.functional.conv2d(x, self.kernel)


def test_of_networks_of_ones_own():
    assert found_in(Own(), 10) == ("last", 6, 6)
    assert found_in(Own(module=False), 10) == "the convolutions of the model are not in modules of their own"


def test_of_an_activation_that_is_called_again_the_convolution_before_it():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.act, self.head = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(4, 2)

        def forward(self, x):
            return self.act(self.head(self.act(self.conv(x)).mean((2, 3))))

    assert found_in(Shared(), 10) == ("conv", 8, 8)


def test_maps_of_less_than_4_by_4_places_are_passed_over_where_there_are_larger_ones():
    def net(*sizes):
        return nn.Sequential(*[nn.Conv2d(3, 3, size) for size in sizes], nn.Flatten(), nn.LazyLinear(2))

    assert found_in(net(3, 3, 3), 8) == ("1", 4, 4)
    assert found_in(net(2, 2), 4) == ("1", 2, 2)  # there is none
