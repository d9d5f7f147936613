"""Runs to check, with parts of their own, and models and losses with a known fault."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from trainer.config.hydra_context import Invocation, initialized


def subject_of(*words, steps=200, **parts):
    """Build the run of some overrides, with parts replaced, as a check takes it."""
    from dataclasses import replace

    from hydra import compose

    from trainer.engine.build import build_run
    from trainer.inspection.check import Subject

    with initialized():
        cfg = compose("config", ["threads=1", "device=cpu", *words])
    invocation = Invocation(overrides=words)
    run = build_run(cfg, invocation)
    made = {name: part(run) if name == "model" else part for name, part in parts.items()}
    return Subject(replace(run, **made), cfg, invocation, steps)


class Net(nn.Module):
    """Two hidden layers, written as a user would."""

    def __init__(self, run, width=32):
        super().__init__()
        torch.manual_seed(0)
        inputs = math.prod(run.data.input_shape)
        self.first, self.second = nn.Linear(inputs, width), nn.Linear(width, width)
        self.head = nn.Linear(width, run.data.outputs)

    def forward(self, images):
        return self.head(F.relu(self.second(self.hidden(images))))

    def hidden(self, images):
        return F.relu(self.first(images.flatten(1)))


class Mixing(Net):
    def hidden(self, images):
        hidden = super().hidden(images)
        return hidden - hidden.mean(0)


class Frozen(Net):
    def __init__(self, run):
        super().__init__(run)
        self.second.requires_grad_(False)


class Detached(Net):
    def hidden(self, images):
        return super().hidden(images).detach()


class Unused(Net):
    def __init__(self, run):
        super().__init__(run)
        self.spare = nn.Linear(3, 3)


class AlwaysDropping(Net):
    def hidden(self, images):
        return F.dropout(super().hidden(images), 0.5)


class Dropping(Net):
    def hidden(self, images):
        return F.dropout(super().hidden(images), 0.5, self.training)


class OtherInEvaluation(Net):
    def hidden(self, images):
        return super().hidden(images) * (1.0 if self.training else 0.2)


class Blind(Net):
    def hidden(self, images):
        return super().hidden(images * 0)


class Failing(Net):
    def forward(self, images):
        raise IndexError("no such feature")
