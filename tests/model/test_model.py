"""Every model: parameters by hand and as published, places of dropout, tables and fields refused."""

import pytest
import torch
import torchvision
from nets import dropout, leaves, make_kit, on_meta, option, parameters
from torch import nn

from trainer.act import Maxout, Swiglu
from trainer.config import catalog
from trainer.norm import Batch, Layer

OPTIONS = [option for option in catalog.options("model") if option not in ("torchvision", "timm")]
DENSE = ["deep_mlp", "linear", "linear_chain", "mlp"]


@pytest.mark.parametrize("name", OPTIONS)
def test_only_dense_models_take_tables(name):
    if name in DENSE:
        assert option(name)((30,), 3, make_kit())(torch.zeros(2, 30)).shape == (2, 3)
    else:
        for table in ((30,), (4, 8)):
            with pytest.raises(
                ValueError, match=r"needs images \(C, H, W\), the data has shape \(.*try model=mlp, model=linear"
            ):
                option(name)(table, 3, make_kit())


# Counted from the papers' descriptions. A convolution in -> out has k^2 in out weights, and out biases or, with batch
# norm, 2 out.
def conv(kernel, inputs, outputs, norm=True):
    return kernel**2 * inputs * outputs + (2 if norm else 1) * outputs


def dense(*widths):
    return sum(inputs * units + units for inputs, units in zip(widths, widths[1:]))


def cifar_resnet(n):
    stages = ((16, 16), (32, 16), (64, 32))
    blocks = [
        conv(3, inputs, width) + conv(3, width, width)
        for width, first in stages
        for inputs in [first] + [width] * (n - 1)
    ]
    return conv(3, 3, 16) + sum(blocks) + dense(64, 10)


def wide_resnet():
    """WRN-16-4: (16 - 4) / 6 = 2 blocks a stage; norms before the convolutions, one at the end; three projections."""
    total, inputs = 9 * 3 * 16, 16
    for width in (64, 128, 256):
        total += 2 * inputs + 9 * inputs * width + 2 * width + 9 * width * width + inputs * width
        total += 2 * (2 * width + 9 * width * width)
        inputs = width
    return total + 2 * 256 + dense(256, 10)


def vgg(*stages, channels=(64, 128, 256, 512, 512)):
    widths = [3, *(width for width, count in zip(channels, stages) for _ in range(count))]
    return sum(conv(3, *pair, norm=False) for pair in zip(widths, widths[1:]))


def fitnet4():
    """Maxout of two pieces: twice the filters a layer, each with a bias."""
    widths = [3, 32, 32, 32, 48, 48] + 6 * [80] + 6 * [128]
    convs = sum(2 * conv(3, *pair, norm=False) for pair in zip(widths, widths[1:]))
    return convs + 2 * dense(128, 500) + dense(500, 10)


def vit_tiny():
    """12 blocks of 192 channels: two norms, queries, keys and values, their merging, two dense layers of 768 units."""
    block = 2 * 2 * 192 + dense(192, 3 * 192) + dense(192, 192) + dense(192, 768, 192)
    return dense(4 * 4 * 3, 192) + 12 * block + 2 * 192 + dense(192, 10)


def mlp_mixer():
    """8 blocks on 8x8 patches of 128 channels: two norms, a mlp across 64 patches and one across the channels."""
    block = 2 * 2 * 128 + dense(64, 64, 64) + dense(128, 512, 128)
    return dense(4 * 4 * 3, 128) + 8 * block + 2 * 128 + dense(128, 10)


def convnext():
    """Two blocks a stage: 7x7 kernels of each channel with a bias, a norm, dense layers of 4 c units, c factors."""
    blocks = sum(2 * (49 * c + c + 2 * c + dense(c, 4 * c, c) + c) for c in (64, 128, 256))
    down = sum(2 * inputs + dense(4 * inputs, outputs) for inputs, outputs in ((64, 128), (128, 256)))
    return dense(2 * 2 * 3, 64) + 2 * 64 + blocks + down + 2 * 256 + dense(256, 10)


SMALL, CIFAR, LARGE = (1, 28, 28), (3, 32, 32), (3, 224, 224)
BIG = {"hidden": [4096, 4096]}


def torchvisions(name):
    return parameters(on_meta(lambda *_: torchvision.models.get_model(name), 0, 0, 0))


COUNTS = [
    ("lenet", {}, SMALL, 10, {}, 61_706, 61_706),
    ("lenet", {}, (1, 32, 32), 10, {},
     conv(5, 1, 6, False) + conv(5, 6, 16, False) + dense(16 * 5 * 5, 120, 84, 10), 61_706),
    ("alexnet", {}, LARGE, 1000, {}, torchvisions("alexnet"), 61_100_840),
    ("alexnet", {}, CIFAR, 10, {},
     3 * 9 * 64 + 9 * (64 * 192 + 192 * 384 + 384 * 256 + 256 * 256) + 1152
     + dense(256 * 2 * 2, 4096, 4096, 10), None),
    ("vgg11", BIG, LARGE, 1000, {}, vgg(1, 1, 2, 2, 2) + dense(512 * 49, 4096, 4096, 1000), 132_863_336),
    ("vgg16", BIG, LARGE, 1000, {}, torchvisions("vgg16"), 138_357_544),
    ("vgg16", {}, CIFAR, 10, {}, vgg(2, 2, 3, 3, 3) + dense(512, 512, 512, 10), None),
    ("vgg11", {"channels": [4, 6, 8, 10, 12]}, CIFAR, 10, {},
     vgg(1, 1, 2, 2, 2, channels=(4, 6, 8, 10, 12)) + dense(12, 512, 512, 10), None),
    ("resnet20", {}, CIFAR, 10, {"norm": Batch()}, cifar_resnet(3), 269_722),  # 0.27 million, table 6 of the paper
    ("resnet56", {}, CIFAR, 10, {"norm": Batch()}, cifar_resnet(9), 853_018),  # 0.85 million
    ("resnet18", {}, LARGE, 1000, {"norm": Batch()}, torchvisions("resnet18"), 11_689_512),
    ("wide_resnet", {}, CIFAR, 10, {"norm": Batch()}, wide_resnet(), 2_748_890),  # 2.7 million, table 4
    ("thin_deep", {}, CIFAR, 10, {"act": Maxout}, fitnet4(), 2_548_602),  # 2.5 million, table 1
    # even kernels, padded by half, add a pixel: 33, pooled to 16, 17, to 8, 8, to 4
    ("wide_shallow", {}, CIFAR, 10, {},
     conv(8, 3, 96, False) + conv(8, 96, 192, False) + conv(5, 192, 192, False) + dense(192 * 16, 500, 10), None),
    # 2 x 12 whitening filters of 2x2x3, with biases
    ("fast_cnn", {}, CIFAR, 10, {"norm": Batch()},
     24 * 12 + 24 + conv(3, 24, 64) + conv(3, 64, 64) + conv(3, 64, 256) + 3 * conv(3, 256, 256)
     + dense(256, 10), None),
    ("vit_tiny", {}, CIFAR, 10, {"norm": Layer()}, vit_tiny(), None),
    ("mlp_mixer", {}, CIFAR, 10, {"norm": Layer()}, mlp_mixer(), None),
    ("convnext_small32", {}, CIFAR, 10, {"norm": Layer()}, convnext(), None),
    ("vit_tiny", {"depth": 1, "heads": 1, "head_width": 6, "hidden": 10}, (1, 8, 8), 3, {"act": Swiglu},
     dense(16, 6) + dense(6, 18) + dense(6, 6) + dense(6, 20) + dense(10, 6) + dense(6, 3), None),
    ("deep_mlp", {}, (64,), 10, {}, dense(64, *6 * [256], 10), None),
    ("linear_chain", {}, (64,), 10, {"norm": Batch()}, 64 * 16 + 8 * 16 * 16 + 16 * 10 + 9 * 2 * 16, None),
    ("mlp", {}, (64,), 10, {}, dense(64, 128, 128, 10), None),
    ("cnn", {}, (1, 8, 8), 10, {},
     conv(3, 1, 32, False) + conv(3, 32, 64, False) + conv(3, 64, 128, False) + dense(128, 10), None),
    ("linear", {}, (3, 8, 8), 10, {"norm": Batch(), "drops": [dropout]}, 3 * 64 * 10 + 10, None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "fields", "shape", "outputs", "kit", "expected", "published"), COUNTS)
def test_the_parameters_are_those_of_the_paper(name, fields, shape, outputs, kit, expected, published):
    assert parameters(on_meta(option(name, **fields), shape, outputs, make_kit(**kit))) == expected
    assert published in (None, expected)


def test_every_option_is_counted():
    assert {row[0] for row in COUNTS} == set(OPTIONS)


DROPS = {
    "alexnet": 2, "cnn": 1, "convnext_small32": 7, "deep_mlp": 6, "fast_cnn": 1, "lenet": 2, "linear": 0,
    "linear_chain": 0, "mlp": 2, "mlp_mixer": 17, "resnet18": 1, "resnet20": 1, "resnet56": 1, "thin_deep": 1,
    "vgg11": 2, "vgg16": 2, "vit_tiny": 13, "wide_resnet": 6, "wide_shallow": 1,
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_dropout_follows_hidden_dense_layers_is_in_wide_blocks_or_precedes_the_head(name):
    assert leaves(on_meta(option(name), (1, 8, 8), 3, make_kit(drops=[dropout]))).count(nn.Dropout) == DROPS[name]


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("mlp", {"hidden": [5, 0]}, "hidden must be >= 1, got 0"),
        ("deep_mlp", {"width": 0}, "width must be >= 1, got 0"),
        ("deep_mlp", {"depth": 0}, "depth must be >= 1, got 0"),
        ("linear_chain", {"width": 0}, "width must be >= 1, got 0"),
        ("linear_chain", {"depth": 0}, "depth must be >= 1, got 0"),
        ("cnn", {"channels": [3, 0]}, "channels must be >= 1, got 0"),
        ("lenet", {"hidden": [0, 4]}, "hidden must be >= 1, got 0"),
        ("alexnet", {"hidden": [0]}, "hidden must be >= 1, got 0"),
        ("vgg11", {"hidden": [0]}, "hidden must be >= 1, got 0"),
        ("vgg11", {"channels": [8, 8]}, "channels must be a list of 5 whole numbers, got 2"),
        ("vgg11", {"channels": [8, 8, 0, 8, 8]}, "channels must be >= 1, got 0"),
        ("vgg11", {"depth": 12}, "depth must be one of 11, 13, 16, 19, got 12; try 11"),
        ("resnet20", {"depth": 21}, r"depth must be 6n \+ 2, n >= 1, got 21; try 20"),
        ("resnet20", {"depth": 2}, r"depth must be 6n \+ 2, n >= 1, got 2; try 8"),
        ("resnet56", {"depth": 54}, "try 56"),
        ("wide_resnet", {"depth": 26}, r"depth must be 6n \+ 4, n >= 1, got 26; try 28"),
        ("wide_resnet", {"widen": 0}, "widen must be >= 1, got 0"),
        ("resnet18", {"blocks": [2, 0]}, "blocks must be >= 1, got 0"),
        ("resnet18", {"blocks": []}, "blocks must be >= 1, got 0"),
        ("resnet18", {"blocks": [1] * 5}, "blocks must name four stages at most, got 5"),
        ("thin_deep", {"channels": [3, 0]}, "channels must be >= 1, got 0"),
        ("thin_deep", {"kernels": [0]}, "kernels must be >= 1, got 0"),
        ("wide_shallow", {"kernels": [3, 3]}, "one for each of the 3 convolutions, got 2; try model.kernels=.3."),
        ("thin_deep", {"hidden": 0}, "hidden must be >= 1, got 0"),
        ("thin_deep", {"pools": [18]}, r"pools must be in \[1, 17\], got 18"),
        ("wide_shallow", {"pools": [0]}, r"pools must be in \[1, 3\], got 0"),
        ("fast_cnn", {"channels": [0]}, "channels must be >= 1, got 0"),
        ("fast_cnn", {"eps": 0.0}, "eps must be > 0, got 0.0"),
        ("fast_cnn", {"scale": -1.0}, "scale must be > 0, got -1.0"),
        ("vit_tiny", {"patch": 0}, "patch must be >= 1, got 0"),
        ("vit_tiny", {"patch": 16}, "patch must be <= 8, the side of the images, got 16; try model.patch=2"),
        ("vit_tiny", {"heads": 0}, "heads must be >= 1, got 0"),
        ("vit_tiny", {"head_width": 0}, "head_width must be >= 1, got 0"),
        ("vit_tiny", {"depth": 0}, "depth must be >= 1, got 0"),
        ("vit_tiny", {"hidden": 0}, "hidden must be >= 1, got 0"),
        ("mlp_mixer", {"patch": 9}, "patch must be <= 8, the side of the images, got 9"),
        ("mlp_mixer", {"width": 0}, "width must be >= 1, got 0"),
        ("mlp_mixer", {"depth": 0}, "depth must be >= 1, got 0"),
        ("mlp_mixer", {"patch_hidden": 0}, "patch_hidden must be >= 1, got 0"),
        ("mlp_mixer", {"channel_hidden": 0}, "channel_hidden must be >= 1, got 0"),
        ("convnext_small32", {"patch": 9}, "patch must be <= 8, the side of the images, got 9"),
        ("convnext_small32", {"channels": [4, 0, 4]}, "channels must be >= 1, got 0"),
        ("convnext_small32", {"blocks": [1, 0, 1]}, "blocks must be >= 1, got 0"),
        ("convnext_small32", {"blocks": [1, 1]}, "blocks must name each of the 3 stages of channels, got 2"),
        ("convnext_small32", {"kernel": 4}, "kernel must be odd, to have a centre, got 4; try model.kernel=3"),
        ("convnext_small32", {"kernel": 0}, "kernel must be >= 1, got 0"),
        ("convnext_small32", {"expansion": 0}, "expansion must be >= 1, got 0"),
        ("convnext_small32", {"scale": -0.1}, "scale must be >= 0, got -0.1"),
    ],
)
def test_a_field_out_of_its_range_is_refused(name, fields, message):
    with pytest.raises(ValueError, match=message):
        on_meta(option(name, **fields), (1, 8, 8), 3, make_kit())
