"""Layers of several models of equal shapes as one: the jobs stand one behind the other in the batch, (K B, ...).

A layer without weights does not know of the jobs. Dense layers, convolutions and batch norms compute all jobs at once,
with weights (K, ...); any other layer with weights runs each job's own on its part of the batch.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.func import functional_call

from trainer.base.layers import drops_in_training
from trainer.engine.memory_format import channels_last
from trainer.stacked.weights import StackedWeights

INTERNAL = {*vars(nn.Module())}  # attributes that every module has


class Generators:
    """Random numbers of K jobs, as each would draw them alone: from torch's default generator, seeded for each step.

    Args:
        seeds: of the jobs, to which the number of the step is added.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self.used = False
        self._seeds = seeds
        self._own = [torch.Generator() for _ in seeds]

    def seed(self, step: int) -> None:
        """Begin a step."""
        for generator, seed in zip(self._own, self._seeds if self.used else ()):
            generator.manual_seed(seed + step)

    def __iter__(self) -> Iterator[torch.Generator]:
        return iter(self._own)

    @contextmanager
    def as_default(self, job: int) -> Iterator[None]:
        """Let torch's default generator go on where a job's stands, in the block."""
        before = torch.default_generator.get_state()
        torch.default_generator.set_state(self._own[job].get_state())
        try:
            yield
        finally:
            self._own[job].set_state(torch.default_generator.get_state())
            torch.default_generator.set_state(before)


class JobLinear(torch.autograd.Function):
    """y_k = x_k w_k^T + b_k for every job k: x (K, B, I), w (K, O, I), b (K, O) or None.

    Autograd's own backward gives the gradient of w transposed, which it then copies.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        if bias is None:
            return torch.bmm(x, weight.transpose(1, 2))
        return torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x = torch.bmm(grad, weight) if ctx.needs_input_grad[0] else None
        of_weight = torch.bmm(grad.transpose(1, 2), x) if ctx.needs_input_grad[1] else None
        return of_x, of_weight, grad.sum(1) if ctx.has_bias and ctx.needs_input_grad[2] else None


class StackedLinear(nn.Module):
    """Dense layers of K jobs: (K B, ..., I) -> (K B, ..., O)."""

    def __init__(self, layers: Sequence[nn.Linear], weights: StackedWeights) -> None:
        super().__init__()
        self.weight = weights.of(layers[0].weight)
        self.bias = None if layers[0].bias is None else weights.of(layers[0].bias)

    def forward(self, x: Tensor) -> Tensor:
        jobs, outputs, inputs = self.weight.shape
        return JobLinear.apply(x.reshape(jobs, -1, inputs), self.weight, self.bias).view(*x.shape[:-1], outputs)


class StackedConv2d(nn.Module):
    """Convolutions of K jobs: (K B, C, H, W) -> (K B, O, H', W').

    On a CPU they are computed one by one, with the very kernel of a job alone; elsewhere as one with K groups.
    """

    def __init__(self, layers: Sequence[nn.Conv2d], weights: StackedWeights) -> None:
        super().__init__()
        first = layers[0]
        self.weight = weights.of(first.weight)
        self.bias = None if first.bias is None else weights.of(first.bias)
        self.settings = {"stride": first.stride, "padding": first.padding, "dilation": first.dilation}
        self.groups = first.groups
        self.on_cpu = self.weight.device.type == "cpu"

    def forward(self, x: Tensor) -> Tensor:
        jobs = len(self.weight)
        if self.on_cpu:
            biases = [None] * jobs if self.bias is None else self.bias.unbind()
            parts = zip(x.chunk(jobs), self.weight.unbind(), biases)
            return torch.cat([F.conv2d(*part, groups=self.groups, **self.settings) for part in parts])
        bias, together = None if self.bias is None else self.bias.flatten(), side_by_side(x, jobs)
        y = F.conv2d(together, self.weight.flatten(0, 1), bias, groups=jobs * self.groups, **self.settings)
        return one_behind_the_other(y, jobs)


class StackedBatchNorm(nn.Module):
    """Batch norms of K jobs: (K B, C, ...) -> the same, with the statistics of each job's B samples.

    On a CPU those of images are computed one by one, as convolutions are.
    """

    def __init__(self, layers: Sequence[nn.modules.batchnorm._BatchNorm], weights: StackedWeights) -> None:
        super().__init__()
        first = layers[0]
        self.affine = [None if part is None else weights.of(part) for part in (first.weight, first.bias)]
        self.jobs, self.momentum, self.eps = len(layers), first.momentum, first.eps
        self.running, self.count = [None, None], None
        if first.track_running_stats:
            self.running = [weights.of(part) for part in (first.running_mean, first.running_var)]
            self.count = weights.of(first.num_batches_tracked)

    def forward(self, x: Tensor) -> Tensor:
        if self.count is not None:
            self.count += 1
        parts, rest = [*self.running, *self.affine], (True, self.momentum, self.eps)
        if x.dim() == 4 and x.device.type == "cpu":
            own = zip(x.chunk(self.jobs), *([None] * self.jobs if part is None else part.unbind() for part in parts))
            return torch.cat([F.batch_norm(*part, *rest) for part in own])
        flat = [None if part is None else part.view(-1) for part in parts]
        return one_behind_the_other(F.batch_norm(side_by_side(x, self.jobs), *flat, *rest), self.jobs)


class StackedDropout(nn.Module):
    """Dropout of K jobs, each with the mask that torch draws for it alone: (K B, ...) -> the same."""

    def __init__(self, layers: Sequence[nn.Dropout], generators: Generators) -> None:
        super().__init__()
        self.kept = [1 - layer.p for layer in layers]
        self.generators = generators
        generators.used = True

    def forward(self, x: Tensor) -> Tensor:
        masks = torch.empty_like(x)
        for mask, kept, generator in zip(masks.chunk(len(self.kept)), self.kept, self.generators):
            if kept == 1:
                mask.fill_(1)
            elif kept == 0:
                mask.zero_()
            else:
                mask.bernoulli_(kept, generator=generator).div_(kept)
        return x * masks


class EachJob(nn.Module):
    """Any module, one a job: each runs on its part of the batch, with weights of the stack.

    Args:
        draws: it draws random numbers in training.
    """

    def __init__(
        self, modules: Sequence[nn.Module], weights: StackedWeights, generators: Generators, draws: bool
    ) -> None:
        super().__init__()
        self.of_jobs = [*modules]  # a plain list: they are no parts of this module
        self.stacks = {name: weights.of(weight) for name, weight in modules[0].named_parameters()}
        self.generators = generators if draws else None
        generators.used |= draws

    def forward(self, x: Tensor) -> Tensor:
        jobs = len(self.of_jobs)
        parts = [stack.unbind() for stack in self.stacks.values()]
        weights = [dict(zip(self.stacks, own)) for own in zip(*parts)] or [{}] * jobs
        outputs = []
        for job, (module, own, part) in enumerate(zip(self.of_jobs, weights, x.chunk(jobs))):
            if self.generators is None:
                outputs.append(functional_call(module, own, (part,)))
                continue
            with self.generators.as_default(job):
                outputs.append(functional_call(module, own, (part,)))
        return torch.cat(outputs)


def side_by_side(x: Tensor, jobs: int) -> Tensor:
    """Return jobs as channels: (K B, C, ...) -> (B, K C, ...)."""
    return x.view(jobs, -1, *x.shape[1:]).transpose(0, 1).flatten(1, 2)


def one_behind_the_other(x: Tensor, jobs: int) -> Tensor:
    """Return jobs in the batch: (B, K C, ...) -> (K B, C, ...)."""
    return x.view(len(x), jobs, -1, *x.shape[2:]).transpose(0, 1).flatten(0, 1)


def stack_layers(modules: Sequence[nn.Module], weights: StackedWeights, generators: Generators) -> nn.Module:
    """Return one module for those of K jobs, which stand in the same place of their models, in training mode."""
    first = modules[0]
    alike = len({type(module) for module in modules}) == 1 and not has_hooks(first)
    same = alike and all(settings_of(module) == settings_of(first) for module in modules)
    if type(first) is nn.Linear and same:
        return StackedLinear(modules, weights)
    if type(first) is nn.Conv2d and same and first.padding_mode == "zeros":
        return StackedConv2d(modules, weights)
    if type(first) in (nn.BatchNorm1d, nn.BatchNorm2d) and same and first.momentum is not None:
        return StackedBatchNorm(modules, weights)
    if type(first) is nn.Dropout and alike:
        return StackedDropout(modules, generators)
    draws = any(drops_in_training(part) for module in modules for part in module.modules())
    own = any(value is not None for value in (*first._parameters.values(), *first._buffers.values()))
    if own or not same or drops_in_training(first) or (draws and not first._modules):
        return EachJob(modules, weights, generators, draws)
    if not first._modules:
        return first
    made = copy.copy(first)
    made.__dict__["_modules"] = {
        name: None
        if child is None
        else stack_layers([module._modules[name] for module in modules], weights, generators)
        for name, child in first._modules.items()
    }
    return made


def has_hooks(module: nn.Module) -> bool:
    """Return whether a module has hooks of a forward pass, but for that of the memory format."""
    before = [hook for hook in module._forward_pre_hooks.values() if hook is not channels_last]
    return bool(before or module._forward_hooks or module._backward_hooks or module._backward_pre_hooks)


def settings_of(module: nn.Module) -> str:
    """Return what a module is set to, besides its weights and parts."""
    return repr(sorted((name, value) for name, value in vars(module).items() if name not in INTERNAL))
