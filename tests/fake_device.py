"""A device that is not there, for tests: a built run moved to it, on which every host sync is an error.

Its tensors are FakeTensors: they have shapes and a device, and no values. Whatever asks for a value (item, tolist,
bool, nonzero) or mixes them with tensors of the CPU raises.
"""

import io
from contextlib import contextmanager

import cloudpickle
import torch
from omegaconf import OmegaConf
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.utils.parametrize import is_parametrized

from trainer.config.hydra_context import Invocation
from trainer.engine.build import make_optimizer

GENERATOR = torch.Generator
MODE = FakeTensorMode()  # one for all tests, as techniques keep some tensors of a device
DEVICE = torch.device("lazy")  # of those that this build of torch knows, one with gradients and without a driver


class Mover(cloudpickle.Pickler):
    """Pickler that leaves tensors, devices, generators and optimizers to `Arrival`."""

    def __init__(self, file, kept):
        super().__init__(file)
        self.kept = kept

    def persistent_id(self, value):
        if isinstance(value, (torch.Tensor, torch.device, GENERATOR, torch.optim.Optimizer)):
            self.kept[id(value)] = value
            return id(value)
        return None


class Arrival(cloudpickle.pickle.Unpickler):
    """Unpickler that makes fake tensors on the device, one for each tensor."""

    def __init__(self, file, kept):
        super().__init__(file)
        self.kept, self.made = kept, {}

    def persistent_load(self, key):
        if key not in self.made:
            self.made[key] = moved(self.kept[key])
        return self.made[key]


def moved(value):
    """Return a tensor, a device or a generator as it is on the fake device; a scalar on the CPU stays there."""
    if isinstance(value, torch.device):
        return DEVICE
    if isinstance(value, GENERATOR):
        return GENERATOR()
    if isinstance(value, torch.optim.Optimizer):
        return None  # a pickled one of torch's lacks attributes
    fake = torch.empty(value.shape, dtype=value.dtype, device=DEVICE)
    return nn.Parameter(fake, value.requires_grad) if isinstance(value, nn.Parameter) else fake


def without_fused(cfg):
    """Return a configuration without kernels that only known devices have."""
    plain = OmegaConf.create(OmegaConf.to_container(cfg))
    for node in (plain.optimizer, plain.optimizer.get("base", {})):
        if "fused" in node:
            node.fused = False
    return plain


@contextmanager
def on_fake_device(cfg, run, monkeypatch):
    """Yield a built run on the device, with a fresh optimizer; within the block no tensor has values.

    Single numbers that are on the host anyway, as draws and counts of steps, are 0.5 and true.
    """
    for module in filter(is_parametrized, run.model.modules()):
        if "__getstate__" in vars(type(module)):
            del type(module).__getstate__  # which refuses to be pickled
    kept, file = {}, io.BytesIO()
    Mover(file, kept).dump(run)
    file.seek(0)
    item = torch.Tensor.item
    truth = torch.Tensor.__bool__
    with monkeypatch.context() as patched, MODE:
        patched.setattr(torch, "Generator", lambda device=None: GENERATOR())  # a CPU's; the draws are not computed
        patched.setattr(torch, "get_autocast_dtype", lambda kind: torch.bfloat16)  # which knows no such device
        patched.setattr(torch.Tensor, "item", lambda own: 0.5 if own.device.type == "cpu" else item(own))
        patched.setattr(torch.Tensor, "__bool__", lambda own: own.device.type == "cpu" or truth(own))
        there = Arrival(file, kept).load()
        optimizer = make_optimizer(without_fused(cfg), there.model, run.batch_size * run.accumulate, Invocation())
        object.__setattr__(there, "optimizer", optimizer)  # `replace` would forget what the run has computed once
        yield there
