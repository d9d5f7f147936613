"""Shared by the tests of optimizers: an option of conf/optimizer, stepped with a closure as the loop does."""

import io

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from trainer.config.catalog import file
from trainer.config.instantiate import instantiate
from trainer.config.targets import LIBRARIES

START = np.array([1.0, -2.0, 0.5])
TARGET = np.array([0.0, 1.0, -1.0])
CURVATURE = np.array([1.0, 0.3, 4.0])
STEPS = 5
LR, M = 0.05, 0.9  # of the base of a wrapper
GRADIENTS = np.random.default_rng(0).normal(size=(STEPS, 3))


class Net(nn.Module):
    """A small net; no loss depends on its layer `idle`."""

    def __init__(self) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        self.idle = nn.Linear(4, 2)
        with torch.no_grad():
            for weight in self.parameters():
                weight.copy_(torch.randn(weight.shape, generator=rng) / 2)
        self.images, self.targets = torch.randn(8, 3, generator=rng), torch.randn(8, 2, generator=rng)

    def loss(self, images: torch.Tensor | None = None) -> torch.Tensor:
        return (self.layers(self.images if images is None else images) - self.targets).square().mean()


def gradient(w):
    """Return the gradient of sum(curvature (w - target)^2 / 2 + cos w): no two steps have the same one."""
    return CURVATURE * (w - TARGET) - np.sin(w)


def replay(gradients):
    """Return a gradient that does not depend on the weights: one row after the other."""
    arriving = iter(gradients)
    return lambda w: next(arriving)


def settings(option: str) -> DictConfig:
    """Return an option's settings, those of a wrapper with its default base."""
    node = OmegaConf.load(file("optimizer", option))
    node = node.get("optimizer", node)
    for default in node.pop("defaults", ()):
        if default != "_self_":
            ((group, base),) = default.items()
            node[group.partition("@")[2]] = settings(base)
    return node


def make(option, params, **changes):
    """Return the optimizer of an option, with some settings changed."""
    merged = OmegaConf.to_container(OmegaConf.merge(settings(option), changes))
    return instantiate(merged, "optimizer", "optimizer", LIBRARIES)(params)


def momentum(params, lr=LR):
    return torch.optim.SGD(params, lr=lr, momentum=M)


def heavy_ball(w, v, g):
    """Return weights and velocity after a step of `momentum`."""
    v = M * v + g
    return w - LR * v, v


def parameter(array) -> torch.Tensor:
    return torch.tensor(array, dtype=torch.float64, requires_grad=True)


def draws(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in shapes]


def walk(optimizer, weights, series, lrs=None):
    """Return the weights after each step with the given gradients; `lrs` are the rates of a schedule."""
    path, arriving = [], iter(series)

    def closure():
        for weight, g in zip(weights, next(arriving)):
            weight.grad = torch.from_numpy(g.copy())
        return torch.zeros(())

    for step in range(len(series)):
        if lrs is not None:
            for group in optimizer.param_groups:
                group["lr"] = lrs[step]
        optimizer.step(closure)
        path.append([weight.detach().numpy().copy() for weight in weights])
    return path


def trajectory(option, gradient=gradient, start=START, steps=STEPS, lrs=None, **changes):
    """Return the weights after each step (steps, ...); `lrs` are the rates of a schedule."""
    weight = parameter(start)
    optimizer = make(option, [weight], **changes)

    def closure():
        weight.grad = torch.from_numpy(np.array(gradient(weight.detach().numpy().copy())))
        return torch.zeros(())

    path = []
    for step in range(steps):
        if lrs is not None:
            optimizer.param_groups[0]["lr"] = lrs[step]
        optimizer.step(closure)
        path.append(weight.detach().numpy().copy())
    return np.array(path)


def displacements(option, gradient, start=START, **more):
    """Return what each step adds to the weights."""
    return np.diff(trajectory(option, gradient, start, **more), axis=0, prepend=np.asarray(start)[None])


def stepper(optimizer, weights, gradients=lambda ws: [gradient(w) for w in ws]):
    """Return a function that takes a step; `step.points` are the weights at which the closure was evaluated."""

    def closure():
        point = [weight.detach().numpy().copy() for weight in weights]
        step.points.append(point)
        for weight, g in zip(weights, gradients(point)):
            weight.grad = torch.from_numpy(np.array(g))
        return torch.tensor(float(len(step.points)))

    def step():
        return optimizer.step(closure)

    step.points = []
    return step


def closure_of(loss, weights, points=None):
    """Return a closure that differentiates a loss; `points` collects the weights at which it was evaluated."""

    def closure():
        for weight in weights:
            weight.grad = None
        value = loss()
        torch.autograd.backward(value, create_graph=True)
        if points is not None:
            points.append([weight.detach().numpy().copy() for weight in weights])
        return value.detach()

    return closure


def reloaded(state):
    """Return a state as a checkpoint gives it back."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)
