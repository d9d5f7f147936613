"""The last feature map of each kind of network, against what its authors call so."""

import pytest
import torch
from torch import nn
from torchvision import models

from trainer.base.layer_factory import LayerFactory
from trainer.explanation.feature_maps import MIXED, NO_CONVOLUTION, find_feature_map
from trainer.model.convnext import ConvNext
from trainer.model.mlp_mixer import MlpMixer
from trainer.model.vit import VisionTransformer
from trainer.norm import Layer


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


class Hybrid(nn.Module):
    """Convolution, attention of its pixels written out or torch's, and where `last` another convolution."""

    def __init__(self, attend, last=False):
        super().__init__()
        self.conv, self.attend = nn.Conv2d(3, 4, 3), attend
        self.last, self.head = nn.Conv2d(4, 4, 1) if last else nn.Identity(), nn.Linear(4, 2)

    def forward(self, x):
        x = self.conv(x)
        tokens = x.flatten(2).transpose(1, 2)
        x = x + self.attend(tokens).transpose(1, 2).unflatten(2, x.shape[2:])
        return self.head(self.last(x).mean((2, 3)))


def written_out(tokens):
    return (tokens @ tokens.mT).softmax(-1) @ tokens


def of_torch(tokens):
    return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)


@pytest.mark.parametrize("attend", [written_out, of_torch])
def test_attention_behind_the_last_convolution_mixes_its_places_and_before_it_does_not(attend):
    assert found_in(Hybrid(attend), 10) == MIXED
    assert found_in(Hybrid(attend, last=True), 10) == ("last", 8, 8)


def test_of_the_catalogues_networks_of_patches():
    kit = LayerFactory(act=nn.GELU, norm=Layer(), pool=lambda: nn.MaxPool2d(2, 2), drops=())
    assert found_in(VisionTransformer((3, 32, 32), 5, kit, depth=2, heads=1, head_width=16, hidden=8)) == MIXED
    assert found_in(MlpMixer((3, 32, 32), 5, kit, depth=2, width=16, patch_hidden=8, channel_hidden=8)) == MIXED
    net = ConvNext((3, 32, 32), 5, kit, channels=[8, 16], blocks=[1, 2])  # dense layers at each pixel of its blocks
    assert found_in(net) == (str(max(place for place, part in enumerate(net) if len([*part.children()]) == 3)), 8, 8)


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
