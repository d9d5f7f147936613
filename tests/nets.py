"""Networks, kits and activations that several files of tests build on."""

import functools
import importlib
import math

import torch
import yaml
from scipy import integrate, stats
from torch import nn

from trainer.act import Exponential, ReluSquared
from trainer.base.layer_factory import LayerFactory
from trainer.config import catalog
from trainer.norm import Identity

BATCH = (torch.zeros(2, 8, 7, 9), torch.zeros(2, 3))
ROOT2, RELU = math.sqrt(2), nn.ReLU
SUMS = {"rtol": 1e-4, "atol": 1e-5}  # float32: our order of sums and theirs are the same kernels', but need not be
EXACT = {"rtol": 1e-10, "atol": 1e-12}  # float64: only the order of sums differs


def chain(width, depth, act, inputs=None):
    layers = [nn.Linear(inputs or width, width), act()]
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width), act()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


ACTS = {
    "elu": (nn.ELU, lambda z: z if z > 0 else math.expm1(z)),
    "exponential": (Exponential, math.exp),
    "gelu": (nn.GELU, lambda z: z * stats.norm.cdf(z)),
    "hard_sigmoid": (nn.Hardsigmoid, lambda z: min(max(0, z + 3), 6) / 6),
    "hard_swish": (nn.Hardswish, lambda z: z * min(max(0, z + 3), 6) / 6),
    "leaky_relu": (nn.LeakyReLU, lambda z: max(z, 0.01 * z)),
    "linear": (nn.Identity, lambda z: z),
    "mish": (nn.Mish, lambda z: z * math.tanh(math.log1p(math.exp(z)))),
    "prelu": (nn.PReLU, lambda z: max(z, 0.25 * z)),
    "relu": (nn.ReLU, lambda z: max(z, 0)),
    "relu_squared": (ReluSquared, lambda z: max(z, 0) ** 2),
    "selu": (nn.SELU, lambda z: 1.0507009873554805 * (z if z > 0 else 1.6732632423543772 * math.expm1(z))),
    "sigmoid": (nn.Sigmoid, lambda z: 1 / (1 + math.exp(-z))),
    "softplus": (nn.Softplus, lambda z: math.log1p(math.exp(z))),
    "softsign": (nn.Softsign, lambda z: z / (1 + abs(z))),
    "swish": (nn.SiLU, lambda z: z / (1 + math.exp(-z))),
    "tanh": (nn.Tanh, math.tanh),
}


def mean_square(f, low=-12.0, high=14.0):
    """Return E[f(z)^2], z standard normal."""

    def integrand(z):
        return f(z) ** 2 * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    return integrate.quad(integrand, low, high, points=[-3, 0, 3], limit=200)[0]


def max_pool():
    return nn.MaxPool2d(2, 2)


def avg_pool():
    return nn.AvgPool2d(2, 2)


def dropout():
    return nn.Dropout(0.5)


def make_kit(norm=Identity(), drops=(), act=nn.ReLU, pool=max_pool):
    return LayerFactory(act=act, norm=norm, pool=pool, drops=drops)


def option(name, **fields):
    """Return a model's class with the fields of its YAML."""
    node = yaml.safe_load(catalog.file("model", name).read_text())
    node = node.get("model", node)
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
    """Return the model in evaluation, with weights that keep the signal's size, and norms that are not the identity."""
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
    """Return their model with our weights, in the order in which both were made."""
    values, slots = list(ours.state_dict().values()), theirs.state_dict()
    assert [tuple(value.shape) for value in values] == [tuple(slot.shape) for slot in slots.values()]
    theirs.load_state_dict(dict(zip(slots, values)), assign=True)
    return theirs.eval()
