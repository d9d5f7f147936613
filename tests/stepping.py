"""What the tests of optimizers share: an option stepped on a function of three weights, with a closure as the loop does."""

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from trainer.config.catalog import file

START = np.array([1.0, -2.0, 0.5])
TARGET = np.array([0.0, 1.0, -1.0])
CURVATURE = np.array([1.0, 0.3, 4.0])
STEPS = 5
GRADIENTS = np.random.default_rng(0).normal(size=(STEPS, 3))


def gradient(w):
    """Of sum(curvature (w - target)^2 / 2 + cos w), so that no two steps see the same one."""
    return CURVATURE * (w - TARGET) - np.sin(w)


def given(gradients):
    """A gradient that does not look at the weights: one row after the other."""
    arriving = iter(gradients)
    return lambda w: next(arriving)


def settings(name):
    node = OmegaConf.load(file("optimizer", name))
    return node.optimizer if "optimizer" in node else node


def made(name, params, **changes):
    """The optimizer that a YAML describes, with some keys changed."""
    return instantiate(OmegaConf.merge(settings(name), changes), _partial_=True, _convert_="all")(params)


def trajectory(name, gradient=gradient, start=START, steps=STEPS, lrs=None, **changes):
    """The weights after each step (steps, ...); `lrs` are the rates of a schedule."""
    weight = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = made(name, [weight], **changes)

    def closure():
        weight.grad = torch.from_numpy(np.array(gradient(weight.detach().numpy().copy())))
        return torch.zeros(())

    seen = []
    for step in range(steps):
        if lrs is not None:
            optimizer.param_groups[0]["lr"] = lrs[step]
        optimizer.step(closure)
        seen.append(weight.detach().numpy().copy())
    return np.array(seen)


def updates(name, gradient, start=START, **more):
    """What each step adds to the weights."""
    return np.diff(trajectory(name, gradient, start, **more), axis=0, prepend=np.asarray(start)[None])
