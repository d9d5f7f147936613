"""Models: parameters counted by hand and as published, the same nets written out or taken from torchvision, every kit in every model."""

import functools
import importlib
import math
from itertools import cycle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
import yaml
from torch import nn
from torch.testing import assert_close

from trainer import build, conf
from trainer.act import Maxout
from trainer.kit import Kit
from trainer.layers import Residual, producers
from trainer.model.classic import AlexNet, LeNet, Vgg
from trainer.model.cnn import Cnn
from trainer.model.fast_cnn import FastCnn
from trainer.model.fitnet import FitNet
from trainer.model.linear import Linear
from trainer.model.mlp import DeepMlp, LinearChain, Mlp
from trainer.model.parts import after, pooling
from trainer.model.resnet import CifarResNet, ResNet, WideResNet, every_other_pixel
from trainer.norm import Batch, Group, NoNorm
from trainer.pool import Fractional

OPTIONS = [option for option in conf.options("model") if option != "torchvision"]
DENSE = ["deep_mlp", "linear", "linear_chain", "mlp"]
SUMS = {"rtol": 1e-4, "atol": 1e-5}  # float32: our order of sums and theirs are the same kernels', but need not be
EXACT = {"rtol": 1e-10, "atol": 1e-12}  # float64: only the order of sums differs


def max_pool():
    return nn.MaxPool2d(2, 2)


def avg_pool():
    return nn.AvgPool2d(2, 2)


def dropout():
    return nn.Dropout(0.5)


def make_kit(norm=NoNorm(), drops=(), act=nn.ReLU, pool=max_pool):
    return Kit(act=act, norm=norm, pool=pool, drops=drops)


def option(name, **fields):
    """A model's class with the fields of its YAML."""
    node = yaml.safe_load(conf.file("model", name).read_text())
    module, _, known = node.pop("_target_").rpartition(".")
    return functools.partial(getattr(importlib.import_module(module), known), **{**node, **fields})


def on_meta(make, input_shape, outputs, kit):
    with torch.device("meta"):
        return make(input_shape, outputs, kit)


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def leaves(model):
    return [type(module) for module in model.modules() if not list(module.children())]


def scrambled(model, seed=0):
    """The model in evaluation, with weights of a size that keeps the values, and norms that are not the identity."""
    draw = functools.partial(torch.randn, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.dim() > 1:
                value.copy_(draw(value.shape) / math.sqrt(value[0].numel() / 2))
            elif "var" in name or (name.endswith("weight") and value.dim() == 1):
                value.copy_(draw(value.shape).abs() + 0.5)
            elif value.is_floating_point():
                value.copy_(draw(value.shape) / 4)
    return model.eval()


def copied(ours, theirs):
    """Our weights in their model, in the order in which both were made."""
    values, slots = list(ours.state_dict().values()), theirs.state_dict()
    assert [tuple(value.shape) for value in values] == [tuple(slot.shape) for slot in slots.values()]
    theirs.load_state_dict(dict(zip(slots, values)), assign=True)
    return theirs.eval()


# Every model with every act, norm and place; poolings and shapes take turns, so that each meets each model.
SHAPES = [(1, 8, 8), (3, 32, 32), (3, 17, 23), (3, 224, 224)]
NORMS = [NoNorm(), Batch(), Batch(place="after_act"), Group(groups=4), Group(groups=4, place="after_act")]
KITS = list(zip([(act, norm) for act in (Maxout, nn.PReLU) for norm in NORMS], cycle([max_pool, avg_pool, Fractional]), cycle(SHAPES)))
KITS += [((nn.PReLU, Batch()), pool, shape) for pool in (max_pool, avg_pool, Fractional) for shape in SHAPES[:3]]


@pytest.mark.parametrize("name", OPTIONS)
def test_every_model_takes_every_kit_and_every_image(name):
    """On the meta device: shapes and the graph, no numbers."""
    for (act, norm), pool, shape in KITS:
        model = on_meta(option(name), shape, 7, make_kit(norm, [dropout], act, pool))
        outputs = model(torch.zeros(2, *shape, device="meta"))
        assert outputs.shape == (2, 7)
        outputs.sum().backward()
        assert all((parameter.grad is None) != parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("name", OPTIONS)
def test_every_model_learns_in_every_layer(name):
    torch.manual_seed(0)
    fields = {"hidden": [32, 32]} if name == "alexnet" else {}  # its 20 million weights take a second
    model = option(name, **fields)((1, 8, 8), 5, make_kit(Batch(), act=nn.Tanh, pool=Fractional))
    loss = model(torch.rand(6, 1, 8, 8)).square().sum()
    loss.backward()
    for title, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad.isfinite().all() and parameter.grad.abs().max() > 0, title


@pytest.mark.parametrize("name", OPTIONS)
def test_a_table_is_for_dense_models(name):
    if name in DENSE:
        assert option(name)((30,), 3, make_kit())(torch.zeros(2, 30)).shape == (2, 3)
    else:
        for table in ((30,), (4, 8)):
            with pytest.raises(ValueError, match=r"needs images \(C, H, W\), the data has shape \(.*nearest: model=mlp, model=linear"):
                option(name)(table, 3, make_kit())


# Counted from the papers' descriptions. A convolution in -> out has k^2 in out weights, and out biases or, with batch norm, 2 out.
def conv(kernel, inputs, outputs, norm=True):
    return kernel**2 * inputs * outputs + (2 if norm else 1) * outputs


def dense(*widths):
    return sum(inputs * units + units for inputs, units in zip(widths, widths[1:]))


def cifar_resnet(n):
    stages = ((16, 16), (32, 16), (64, 32))
    blocks = [conv(3, inputs, width) + conv(3, width, width) for width, first in stages for inputs in [first] + [width] * (n - 1)]
    return conv(3, 3, 16) + sum(blocks) + dense(64, 10)


def wide_resnet():
    """WRN-16-4: (16 - 4) / 6 = 2 blocks a stage; norms stand before the convolutions, one at the end; three projections."""
    total, inputs = 9 * 3 * 16, 16
    for width in (64, 128, 256):
        total += 2 * inputs + 9 * inputs * width + 2 * width + 9 * width * width + inputs * width
        total += 2 * (2 * width + 9 * width * width)
        inputs = width
    return total + 2 * 256 + dense(256, 10)


def vgg(*stages):
    widths = [3, *(width for width, count in zip((64, 128, 256, 512, 512), stages) for _ in range(count))]
    return sum(conv(3, *pair, norm=False) for pair in zip(widths, widths[1:]))


def fitnet4():
    """Maxout of two pieces: twice the filters a layer, each with a bias."""
    widths = [3, 32, 32, 32, 48, 48] + 6 * [80] + 6 * [128]
    convs = sum(2 * conv(3, *pair, norm=False) for pair in zip(widths, widths[1:]))
    return convs + 2 * dense(128, 500) + dense(500, 10)


SMALL, CIFAR, LARGE = (1, 28, 28), (3, 32, 32), (3, 224, 224)
BIG = {"hidden": [4096, 4096]}
COUNTS = [
    ("lenet", {}, SMALL, 10, {}, 61_706, 61_706),
    ("lenet", {}, (1, 32, 32), 10, {}, conv(5, 1, 6, False) + conv(5, 6, 16, False) + dense(16 * 5 * 5, 120, 84, 10), 61_706),
    ("alexnet", {}, LARGE, 1000, {}, parameters(on_meta(lambda *_: torchvision.models.alexnet(), 0, 0, 0)), 61_100_840),
    ("alexnet", {}, CIFAR, 10, {}, 3 * 9 * 64 + 9 * (64 * 192 + 192 * 384 + 384 * 256 + 256 * 256) + 1152 + dense(256 * 2 * 2, 4096, 4096, 10), None),
    ("vgg11", BIG, LARGE, 1000, {}, vgg(1, 1, 2, 2, 2) + dense(512 * 49, 4096, 4096, 1000), 132_863_336),
    ("vgg16", BIG, LARGE, 1000, {}, parameters(on_meta(lambda *_: torchvision.models.vgg16(), 0, 0, 0)), 138_357_544),
    ("vgg16", {}, CIFAR, 10, {}, vgg(2, 2, 3, 3, 3) + dense(512, 512, 512, 10), None),
    ("resnet20", {}, CIFAR, 10, {"norm": Batch()}, cifar_resnet(3), 269_722),  # 0.27 million, table 6 of the paper
    ("resnet56", {}, CIFAR, 10, {"norm": Batch()}, cifar_resnet(9), 853_018),  # 0.85 million
    ("resnet18", {}, LARGE, 1000, {"norm": Batch()}, parameters(on_meta(lambda *_: torchvision.models.resnet18(), 0, 0, 0)), 11_689_512),
    ("wide_resnet", {}, CIFAR, 10, {"norm": Batch()}, wide_resnet(), 2_748_890),  # 2.7 million, table 4
    ("thin_deep", {}, CIFAR, 10, {"act": Maxout}, fitnet4(), 2_548_602),  # 2.5 million, table 1
    ("wide_shallow", {}, CIFAR, 10, {}, conv(3, 3, 96, False) + conv(3, 96, 192, False) + conv(3, 192, 192, False) + dense(192 * 16, 500, 10), None),
    # 2 x 12 whitening filters of 2x2x3, with biases
    ("fast_cnn", {}, CIFAR, 10, {"norm": Batch()}, 24 * 12 + 24 + conv(3, 24, 64) + conv(3, 64, 64) + conv(3, 64, 256) + 3 * conv(3, 256, 256) + dense(256, 10), None),
    ("deep_mlp", {}, (64,), 10, {}, dense(64, *6 * [256], 10), None),
    ("linear_chain", {}, (64,), 10, {"norm": Batch()}, 64 * 16 + 8 * 16 * 16 + 16 * 10 + 9 * 2 * 16, None),
    ("mlp", {}, (64,), 10, {}, dense(64, 128, 128, 10), None),
    ("cnn", {}, (1, 8, 8), 10, {}, conv(3, 1, 32, False) + conv(3, 32, 64, False) + conv(3, 64, 128, False) + dense(128, 10), None),
    ("linear", {}, (3, 8, 8), 10, {"norm": Batch(), "drops": [dropout]}, 3 * 64 * 10 + 10, None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "fields", "shape", "outputs", "kit", "expected", "published"), COUNTS)
def test_the_parameters_are_those_of_the_paper(name, fields, shape, outputs, kit, expected, published):
    assert parameters(on_meta(option(name, **fields), shape, outputs, make_kit(**kit))) == expected
    assert published in (None, expected)


def test_every_option_is_counted():
    assert {row[0] for row in COUNTS} == set(OPTIONS)


@pytest.mark.parametrize("shape", [(3, 66, 97), (3, 32, 32), (1, 8, 8)])
def test_resnet18_is_torchvisions(shape):
    ours = scrambled(ResNet(shape, 10, make_kit(Batch())))
    theirs = torchvision.models.resnet18(num_classes=10)
    if shape[1] <= 64:
        theirs.conv1, theirs.maxpool = nn.Conv2d(shape[0], 64, 3, 1, 1, bias=False), nn.Identity()
    images = torch.rand(2, *shape)
    assert_close(copied(ours, theirs)(images), ours(images), **SUMS)


def test_alexnet_on_large_images_is_torchvisions():
    """128x300: maps of 3x8, so that one side is averaged and the other spread."""
    ours = scrambled(AlexNet((3, 128, 300), 10, make_kit(pool=lambda: nn.MaxPool2d(3, 2))))
    with torch.device("meta"):
        theirs = torchvision.models.alexnet(num_classes=10)
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
    model, images = scrambled(LeNet((1, side, side + 3), 4, make_kit(act=nn.Tanh, pool=avg_pool))), torch.rand(3, 1, side, side + 3)
    w1, b1, w2, b2, *values = model.parameters()
    x = F.avg_pool2d(F.conv2d(images, w1, b1, padding=paddings[0]).tanh(), 2)
    x = F.avg_pool2d(F.conv2d(x, w2, b2, padding=paddings[1]).tanh(), 2).flatten(1)
    w3, b3, w4, b4, w5, b5 = values
    x = ((x @ w3.T + b3).tanh() @ w4.T + b4).tanh()
    assert_close(model(images), x @ w5.T + b5, **SUMS)


def test_option_a_takes_every_other_pixel_and_zero_channels():
    x = torch.arange(2 * 3 * 5 * 4.0).view(2, 3, 5, 4)
    y = every_other_pixel(2)(x)
    assert y.shape == (2, 5, 3, 2) and torch.equal(y[:, :3], x[:, :, ::2, ::2]) and not y[:, 3:].any()


def test_a_cifar_resnet_is_the_net_written_out():
    model, images = scrambled(CifarResNet((3, 9, 14), 4, make_kit(act=nn.Tanh), depth=14)).double(), torch.rand(3, 3, 9, 14).double()
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
    for block, stride in enumerate((1, 1, 2, 1, 2, 1)):
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


@pytest.mark.parametrize(("channels", "pools"), [([3, 4], [1, 2]), ([3, 4, 5], [1]), ([3], [])])
def test_a_fitnet_is_the_net_written_out(channels, pools):
    model = scrambled(FitNet((2, 8, 13), 4, make_kit(act=Maxout), channels=channels, pools=pools, hidden=6)).double()
    x, values = torch.rand(3, 2, 8, 13).double(), iter(model.parameters())
    images = x
    for number in range(1, len(channels) + 1):
        x = F.conv2d(x, next(values), next(values), padding=1)
        x = torch.maximum(x[:, 0::2], x[:, 1::2])
        x = F.max_pool2d(x, 2) if number in pools else x
    x = x.flatten(1) if len(channels) in pools else x.amax((2, 3))
    x = F.linear(x, next(values), next(values))
    assert_close(model(images), F.linear(torch.maximum(x[:, 0::2], x[:, 1::2]), *values), **EXACT)


def test_the_options_of_fitnets_pool_where_the_paper_does():
    """32x32: behind the 5th and the 11th convolution and over the image at the end; the teacher behind each, to 4x4."""
    student, teacher = (leaves(on_meta(option(name), CIFAR, 10, make_kit())) for name in ("thin_deep", "wide_shallow"))
    pair, pool = [nn.Conv2d, nn.ReLU], nn.MaxPool2d
    dense = [nn.Flatten, nn.Linear, nn.ReLU, nn.Linear]
    assert student == [*5 * pair, pool, *6 * pair, pool, *6 * pair, nn.AdaptiveMaxPool2d, *dense]
    assert teacher == [*3 * [*pair, pool], *dense]


def test_fast_cnn_is_the_net_written_out():
    """9x12 is 8x11 behind the first layer; norm behind the pooling, with its running averages (a maximum would pass through it)."""
    model = scrambled(FastCnn((2, 9, 12), 4, make_kit(Batch(), act=nn.Tanh, pool=avg_pool), channels=[3, 5], scale=0.25)).double()
    images, values = torch.rand(3, 2, 9, 12).double(), iter(model.state_dict().values())

    def norm(x):
        gamma, beta, mean, var, _ = (next(values) for _ in range(5))
        return F.batch_norm(x, mean, var, gamma, beta)

    whiten, bias = next(values), next(values)
    x = F.conv2d(images, whiten, bias).tanh()
    for _ in range(2):
        x = norm(F.avg_pool2d(F.conv2d(x, next(values), padding=1), 2)).tanh()
        x = norm(F.conv2d(x, next(values), padding=1)).tanh()
    weight, bias = values
    assert_close(model(images), 0.25 * (x.amax((2, 3)) @ weight.T + bias), **EXACT)


def test_fast_cnn_whitens_patches():
    """On the patches it has seen the outputs' covariance is diag(v / (v + eps)), v the eigenvalues, largest first: the identity up to eps."""
    draws = np.random.default_rng(0)
    images = draws.normal(size=(40, 3, 7, 6)) @ draws.normal(size=(6, 6)) + 3  # neighbours in a row go together; a mean that is not 0
    patches = np.lib.stride_tricks.sliding_window_view(images, (2, 2), axis=(2, 3)).transpose(0, 2, 3, 1, 4, 5).reshape(-1, 12)
    values = np.linalg.eigvalsh(np.cov(patches.T, bias=True))[::-1]
    model = FastCnn((3, 7, 6), 10, make_kit(), channels=[4], eps=0.01).double()
    model.look_at(torch.from_numpy(images))
    outputs = model.whiten(torch.from_numpy(images)).detach().numpy().transpose(1, 0, 2, 3).reshape(24, -1)
    expected = values / (values + 0.01) * np.array([[1], [-1]])
    covariance = np.cov(outputs, bias=True)
    np.testing.assert_allclose(covariance[:12, :12], np.diag(expected[0]), atol=1e-9)  # a matrix of 12 x 12 in float64
    np.testing.assert_allclose(covariance[:12, 12:], np.diag(expected[1]), atol=1e-9)
    assert not model.whiten.weight.requires_grad and model.whiten.bias.requires_grad and not model.whiten.bias.any()


@pytest.mark.parametrize("words", [[], ["reg=[dropconnect]"]])
def test_fast_cnn_looks_at_the_training_images_and_keeps_what_it_saw(words, composed):
    """Through the builder, also with dropped weights: no initialiser reaches the filters, and patches come out white."""
    run = build.run(composed("model=fast_cnn", "model.channels=[8]", "norm=batch", *words))
    model = run.model.eval()
    images = run.train.batch(torch.arange(len(run.train)))[0]
    outputs = model.whiten(images).detach().numpy().transpose(1, 0, 2, 3).reshape(8, -1)
    covariance = np.cov(outputs)
    np.testing.assert_allclose(covariance[:4, :4], np.eye(4), atol=0.15)  # it saw 256 of the digits
    np.testing.assert_allclose(covariance[:4, 4:], -covariance[:4, :4], atol=1e-4)  # float32
    assert model.whiten not in list(producers(model)) and not model.whiten.bias.any()


def test_fast_cnn_begins_by_passing_its_inputs_on():
    model = FastCnn((1, 8, 8), 10, make_kit(Batch()), channels=[4, 12])
    kernels = [module.weight for module in model.layers.modules() if isinstance(module, nn.Conv2d)]
    assert [tuple(kernel.shape[:2]) for kernel in kernels] == [(4, 8), (4, 4), (12, 4), (12, 12)]
    for kernel in kernels:
        images = torch.rand(2, kernel.shape[1], 5, 5)
        same = min(kernel.shape[:2])
        assert torch.equal(F.conv2d(images, kernel, padding=1)[:, :same], images[:, :same])
    assert 0.08 < kernels[2][4:].std() < 0.11  # the others hold torch's draw, Uniform(-1/6, 1/6) for a fan-in of 36: 0.096


def test_linear_is_a_matrix_product():
    model, images = Linear((1, 3, 4), 5, make_kit()), torch.rand(6, 1, 3, 4)
    weight, bias = model.parameters()
    assert_close(model(images), images.reshape(6, 12) @ weight.T + bias)


@pytest.mark.parametrize("make", [functools.partial(Mlp, hidden=[7, 7, 7]), functools.partial(DeepMlp, width=7, depth=3)])
def test_an_mlp_is_the_net_written_out(make):
    model, images = make((2, 3), 4, make_kit(act=nn.Tanh)), torch.rand(6, 2, 3)
    *hidden, weight, bias = model.parameters()
    x = images.reshape(6, 6)
    for w, b in zip(hidden[::2], hidden[1::2], strict=True):
        x = (x @ w.T + b).tanh()
    assert len(hidden) == 6
    assert_close(model(images), x @ weight.T + bias)


def test_an_mlp_with_batch_norm_is_the_net_written_out():
    model, table = Mlp((6,), 4, make_kit(Batch()), hidden=[7]).double(), torch.rand(9, 6, dtype=torch.float64)
    w1, gamma, beta, w2, b2 = model.parameters()
    nn.init.normal_(gamma), nn.init.normal_(beta)
    hidden = table @ w1.T
    hidden = gamma * (hidden - hidden.mean(0)) / (hidden.var(0, correction=0) + 1e-5).sqrt() + beta
    assert_close(model(table), hidden.clamp(min=0) @ w2.T + b2)


def test_an_mlp_without_hidden_layers_is_linear():
    assert leaves(Mlp((4,), 3, make_kit(), hidden=[])) == [nn.Flatten, nn.Linear]


def test_a_linear_chain_is_a_product_of_matrices():
    model, table = LinearChain((5,), 2, make_kit(act=nn.Tanh, drops=[dropout]), width=3, depth=4).double(), torch.rand(6, 5).double()
    w1, w2, w3, w4 = model.parameters()
    assert_close(model(table), table @ w1.T @ w2.T @ w3.T @ w4.T, **EXACT)
    assert leaves(LinearChain((5,), 2, make_kit(), depth=1)) == [nn.Flatten, nn.Linear]


@pytest.mark.parametrize("depth", [2, 10, 40])
def test_a_step_on_a_scalar_chain_misses_its_first_order_forecast_by_more_the_deeper_it_is(depth):
    """y = w_1 ... w_l at w = 1, x = 1: every g is 1, the step is 0.1 / (g g) = 0.1 / l, and y becomes (1 - 0.1 / l)^l instead of 0.9.

    The second-order term is the sum over pairs of step^2 g_i g_j and the product of the other w: l (l - 1) / 2 (0.1 / l)^2.
    """
    model = LinearChain((1,), 1, make_kit(), width=1, depth=depth).double()
    weights = list(model.parameters())
    for weight in weights:
        nn.init.ones_(weight)
    x = torch.ones(1, 1).double()
    model(x).sum().backward()
    step = 0.1 / sum(weight.grad.square().sum() for weight in weights)
    with torch.no_grad():
        for weight in weights:
            weight -= step * weight.grad
    after_step = model(x).item()
    assert after_step == pytest.approx((1 - 0.1 / depth) ** depth, rel=1e-12)
    second_order = depth * (depth - 1) / 2 * (0.1 / depth) ** 2
    assert after_step - 0.9 == pytest.approx(second_order, rel=0.05)  # the third order is at most 0.1 / 3 of the second


def test_behind_a_norm_the_lower_layers_of_a_chain_no_longer_set_the_scale():
    model, table = LinearChain((5,), 2, make_kit(Batch(eps=1e-12)), width=3, depth=3).double(), torch.rand(8, 5).double()
    outputs = model(table)
    with torch.no_grad():
        model[1].weight.mul_(7)
    assert_close(model(table), outputs, rtol=1e-6, atol=1e-8)  # eps against variances of 1e-2
    assert leaves(model) == [nn.Flatten, nn.Linear, type(Batch()(1)), nn.Linear, type(Batch()(1)), nn.Linear]


def test_a_cnn_is_the_net_written_out():
    model, images = Cnn((2, 6, 9), 4, make_kit(), channels=[3, 7]), torch.rand(6, 2, 6, 9)
    w1, b1, w2, b2, w3, b3 = model.parameters()
    x = F.max_pool2d(F.conv2d(images, w1, b1, padding=1).relu(), 2)
    x = F.max_pool2d(F.conv2d(x, w2, b2, padding=1).relu(), 2)
    assert_close(model(images), x.mean((2, 3)) @ w3.T + b3)


@pytest.mark.parametrize(("input_shape", "pools"), [((1, 8, 8), 3), ((1, 4, 9), 2), ((1, 3, 3), 1), ((1, 1, 1), 0), ((1, 64, 64), 4)])
def test_a_cnn_pools_while_the_image_is_two_pixels_wide(input_shape, pools):
    assert leaves(Cnn(input_shape, 3, make_kit(), channels=[2, 2, 2, 2])).count(nn.MaxPool2d) == pools


def test_a_pooling_that_does_not_halve_is_measured():
    """8 x 0.7071 is 5, then 3, 2, 1: four poolings where halving would leave three; their images are in training what they were measured."""
    shape, sides = (2, 8, 9), []
    while True:
        layers, shape = pooling(make_kit(pool=Fractional), shape)
        if not layers:
            break
        sides.append(shape[1:])
        assert layers[0].training
    assert sides == [(5, 6), (3, 4), (2, 2), (1, 1)]
    assert after(nn.Conv2d(2, 5, 3), (2, 8, 9)) == (5, 6, 7)


def test_a_pooling_larger_than_the_image_is_refused_in_words():
    with pytest.raises(ValueError, match="too small"):
        Cnn((1, 4, 4), 3, make_kit(pool=lambda: nn.MaxPool2d(5, 5)))


DROPS = {"alexnet": 2, "cnn": 1, "deep_mlp": 6, "fast_cnn": 1, "lenet": 2, "linear": 0, "linear_chain": 0, "mlp": 2, "resnet18": 1, "resnet20": 1,
         "resnet56": 1, "thin_deep": 1, "vgg11": 2, "vgg16": 2, "wide_resnet": 6, "wide_shallow": 1}  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_dropout_stands_behind_hidden_dense_layers_in_wide_blocks_or_before_the_head(name):
    assert leaves(on_meta(option(name), (1, 8, 8), 3, make_kit(drops=[dropout]))).count(nn.Dropout) == DROPS[name]


def test_a_residual_block_adds_before_its_last_activation():
    model = CifarResNet((1, 8, 8), 3, make_kit(Batch()), depth=8)
    blocks = [module for module in model if isinstance(module, Residual)]
    norm = type(Batch()(1))
    assert [[type(layer) for layer in block.branch] for block in blocks] == 3 * [[nn.Conv2d, norm, nn.ReLU, nn.Conv2d, norm]]
    assert all(type(block.after) is nn.ReLU for block in blocks)


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
        ("vgg11", {"depth": 12}, "depth must be one of 11, 13, 16, 19, got 12; nearest: 11"),
        ("resnet20", {"depth": 21}, r"depth must be 6n \+ 2, n >= 1, got 21; nearest: 20"),
        ("resnet20", {"depth": 2}, r"depth must be 6n \+ 2, n >= 1, got 2; nearest: 8"),
        ("resnet56", {"depth": 54}, "nearest: 56"),
        ("wide_resnet", {"depth": 26}, r"depth must be 6n \+ 4, n >= 1, got 26; nearest: 28"),
        ("wide_resnet", {"widen": 0}, "widen must be >= 1, got 0"),
        ("resnet18", {"blocks": [2, 0]}, "blocks must be >= 1, got 0"),
        ("resnet18", {"blocks": []}, "blocks must be >= 1, got 0"),
        ("resnet18", {"blocks": [1] * 5}, "blocks must name four stages at most, got 5"),
        ("thin_deep", {"channels": [3, 0]}, "channels must be >= 1, got 0"),
        ("thin_deep", {"hidden": 0}, "hidden must be >= 1, got 0"),
        ("thin_deep", {"pools": [18]}, r"pools must be in \[1, 17\], got 18"),
        ("wide_shallow", {"pools": [0]}, r"pools must be in \[1, 3\], got 0"),
        ("fast_cnn", {"channels": [0]}, "channels must be >= 1, got 0"),
        ("fast_cnn", {"eps": 0.0}, "eps must be > 0, got 0.0"),
        ("fast_cnn", {"scale": -1.0}, "scale must be > 0, got -1.0"),
    ],
)
def test_a_field_out_of_its_range_is_refused(name, fields, message):
    with pytest.raises(ValueError, match=message):
        on_meta(option(name, **fields), (1, 8, 8), 3, make_kit())


def test_fast_cnn_needs_a_patch():
    with pytest.raises(ValueError, match="needs images of 2x2 pixels or more"):
        FastCnn((1, 1, 5), 3, make_kit())
