"""Every model with every kind of kit, and every layer learns."""

import itertools

import pytest
import torch
from nets import avg_pool, dropout, make_kit, max_pool, on_meta, option
from torch import nn

from trainer.act import Maxout
from trainer.config import catalog
from trainer.norm import Batch, Group, Identity
from trainer.pool import Fractional

OPTIONS = [option for option in catalog.options("model") if option not in ("torchvision", "timm")]

SIZES = {  # enough for every kind of layer; test_model.py builds the options as they are
    "convnext_small32": {"channels": [16, 32], "blocks": [1, 1]},
    "mlp_mixer": {"depth": 1, "width": 16},
    "resnet18": {"blocks": [2, 1, 1, 1]},
    "resnet20": {"depth": 8},
    "thin_deep": {"channels": [8] * 12},
    "vit_tiny": {"depth": 1},
    "wide_resnet": {"depth": 10},
}
DEEPER = {"resnet56": "resnet20", "vgg16": "vgg11"}  # options of the same class

# Every model with each pair of act and norm, and with each pair of pooling and shape.
SHAPES = [(1, 8, 8), (3, 32, 32), (3, 17, 23), (3, 224, 224)]
NORMS = [Identity(), Batch(), Batch(place="after_act"), Group(groups=4), Group(groups=4, place="after_act")]
POOLS = [max_pool, avg_pool, Fractional]
IMAGES = [(POOLS[i % 3], SHAPES[(i + i // 3) % 3]) for i in range(9)] + [(max_pool, SHAPES[3])]
KITS = [*zip(itertools.product([Maxout, nn.PReLU], NORMS), IMAGES, strict=True)]


@pytest.mark.parametrize("name", [name for name in OPTIONS if name not in DEEPER])
def test_every_model_takes_every_kit_and_every_image(name):
    """On the meta device: shapes and the graph, no values."""
    for (act, norm), (pool, shape) in KITS:
        model = on_meta(option(name, **SIZES.get(name, {})), shape, 7, make_kit(norm, [dropout], act, pool))
        outputs = model(torch.zeros(2, *shape, device="meta"))
        assert outputs.shape == (2, 7)
        outputs.sum().backward()
        assert all((parameter.grad is None) != parameter.requires_grad for parameter in model.parameters())


def test_deeper_options_are_of_a_class_that_is_tried():
    assert all(option(deep).func is option(name).func and name in OPTIONS for deep, name in DEEPER.items())


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
