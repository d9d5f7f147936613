"""Layers that depend on the whole batch, in a forward pass of a rank's share of it: batch norms, and random masks.

Batch norms take the statistics of all ranks' samples. Of random numbers every rank draws those of the whole batch, and
keeps its rows. So the ranks together compute what one process computes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from trainer.base import ranks
from trainer.base.errors import ConfigError

Site = tuple[object, tuple[int, ...]]  # a random operator, and the shape of what it draws without the first dimension


class Normalize(torch.autograd.Function):
    """Batch norm of this rank's samples with given statistics, those of all ranks' samples.

    y = gamma x^ + beta with x^ = (x - mean) / sqrt(var + eps), and for n values a channel
    dL/dx = gamma / sqrt(var + eps) (g - sum(g) / n - x^ sum(g x^) / n), both sums over all ranks. The gradients of
    gamma and beta are this rank's part.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, eps: float, count: Tensor
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, var, count)
        ctx.eps = eps
        return torch.native_batch_norm(x, weight, bias, mean, var, False, 0.0, eps)[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, var, count = ctx.saved_tensors
        _, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            grad, x, weight, mean, var, None, None, False, ctx.eps, [False, True, True]
        )
        sums = ranks.sum_in_place(torch.stack([grad_weight, grad_bias]).double())
        std = (var.double() + ctx.eps).sqrt()
        slope = -weight.double() * sums[0] / (count * std * std)
        offset = -weight.double() * sums[1] / (count * std) - slope * mean.double()
        factor, slope, offset = (value.float() for value in (weight.double() / std, slope, offset))
        zero, one = torch.zeros_like(slope), torch.ones_like(slope)
        grad_x = torch.native_batch_norm(x.float(), slope, offset, zero, one, False, 0.0, 0.0)[0]  # slope x + offset
        grad_x = grad_x.addcmul_(grad.float(), factor.view(-1, *[1] * (x.dim() - 2))).to(x.dtype)
        return grad_x, grad_weight, grad_bias, None, None, None, None


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Return F.batch_norm, in training with the statistics of all ranks' samples."""
    if not training:
        return F.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    with torch.no_grad():
        mean, var, count = statistics(x)
        if running_mean is not None:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((var * (count / (count - 1))).to(running_var.dtype), momentum)
    kind = torch.float32 if weight is None else weight.dtype
    mean, var = mean.to(kind), var.to(kind)
    weight = torch.ones_like(mean) if weight is None else weight
    bias = torch.zeros_like(mean) if bias is None else bias
    return Normalize.apply(x, weight, bias, mean, var, eps, count)


def statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and biased variance (C,) of all ranks' samples, in float64, and the number of values a channel.

    Those of the ranks are combined (Chan et al., 1979): a sum of squares would cancel.
    """
    mean, var = torch.batch_norm_update_stats(x.float(), None, None, 0.0)  # 5 times as fast as var_mean on a CPU
    count = torch.full_like(mean[:1], x.numel() // len(mean))
    known = torch.stack(ranks.of_all(torch.cat([mean, var, count]).double()))  # (ranks, 2 C + 1)
    means, variances, counts = known.split([len(mean), len(mean), 1], 1)
    total = counts.sum()
    mean = (means * counts).sum(0) / total
    var = ((variances + (means - mean).square()) * counts).sum(0) / total
    return mean, var, total


class SharedNorms(TorchFunctionMode):
    """Batch norms in the block take the statistics of all ranks' samples, whatever module they are in."""

    def __torch_function__(
        self, func: Callable, types: Sequence, args: Sequence = (), kwargs: Mapping | None = None
    ) -> Any:
        if func is F.batch_norm:
            func = batch_norm
        return func(*args, **(kwargs or {}))


class FindNorms(TorchFunctionMode):
    """Note whether the block has batch norms that take the statistics of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.found = False

    def __torch_function__(
        self, func: Callable, types: Sequence, args: Sequence = (), kwargs: Mapping | None = None
    ) -> Any:
        kwargs = kwargs or {}
        self.found |= func is F.batch_norm and bool(args[5] if len(args) > 5 else kwargs.get("training", False))
        return func(*args, **kwargs)


def is_random(func: object) -> bool:
    """Return whether an operator draws random numbers."""
    return torch.Tag.nondeterministic_seeded in func.tags


def drawn_shape(result: object) -> tuple[int, ...]:
    """Return the shape of what a random operator has returned, of the first tensor of several."""
    return tuple(as_tuple(result)[0].shape)


class FindDraws(TorchDispatchMode):
    """Note the operators of the block that draw random numbers, and the shapes of these."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[object, tuple[int, ...]]] = []

    def __torch_dispatch__(
        self, func: object, types: Sequence, args: Sequence = (), kwargs: Mapping | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if is_random(func):
            self.found.append((func, drawn_shape(result)))
        return result


class Draws:
    """Random numbers of a model in training: which of them are one for each sample, and which one for the batch.

    Args:
        passes: number of samples of some forward passes, and what each drew.
    Errors: ConfigError where it is neither.
    """

    def __init__(self, passes: Sequence[tuple[int, Sequence[tuple[object, tuple[int, ...]]]]]) -> None:
        firsts: dict[Site, dict[int, set[int]]] = {}
        for samples, found in passes:
            for func, shape in found:
                first = shape[0] if shape else 0
                firsts.setdefault((func, shape[1:]), {}).setdefault(samples, set()).add(first)
        self.fixed: dict[Site, set[int]] = {}  # sizes of the first dimension that do not depend on the batch
        self.rows: dict[Site, set[int]] = {}  # rows for each sample
        for site, sizes in firsts.items():
            everywhere = set.intersection(*sizes.values()) if len(sizes) > 1 else set()
            self.fixed[site] = everywhere
            factors = [{first / samples for first in found - everywhere} for samples, found in sizes.items()]
            if any(factor != int(factor) for found in factors for factor in found) or any(
                found != factors[0] for found in factors
            ):
                raise ConfigError(f"{named(site)}: draws neither for each sample nor for the batch")
            self.rows[site] = {int(factor) for factor in factors[0]}

    def __bool__(self) -> bool:
        return bool(self.fixed)

    def factor(self, func: object, shape: tuple[int, ...], samples: int) -> int:
        """Return the rows for each sample of a draw of a shape for a share of so many samples; 0 for one of the batch.

        Errors: ConfigError where both are possible, or the site is not known.
        """
        site, first = (func, shape[1:]), shape[0] if shape else 0
        possible = {factor for factor in self.rows.get(site, ()) if factor * samples == first}
        possible |= {0} if first in self.fixed.get(site, ()) else set()
        if len(possible) != 1:
            why = "may be for the samples or for a weight" if possible else "was not drawn in the first passes"
            raise ConfigError(f"{named(site)} of {first} rows in a share of {samples} samples: {why}")
        return possible.pop()


def named(site: Site) -> str:
    """Return a random operator and the shape of what it draws, in words."""
    func, shape = site
    return f"random numbers of {getattr(func, '__name__', func)} for shape (rows, {', '.join(map(str, shape))})"


class SharedDraws(TorchDispatchMode):
    """Random numbers in the block are drawn for the whole batch, and this rank's rows of them are used.

    Args:
        draws: those of the model.
        rows: of this rank.
        total: samples of the batch.
    """

    def __init__(self, draws: Draws, rows: slice, total: int) -> None:
        super().__init__()
        self.draws, self.rows, self.total = draws, rows, total

    def __torch_dispatch__(
        self, func: object, types: Sequence, args: Sequence = (), kwargs: Mapping | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not is_random(func):
            return func(*args, **kwargs)
        samples = self.rows.stop - self.rows.start
        shape = asked_shape(func, args, kwargs)
        factor = self.draws.factor(func, shape, samples)
        if not factor:
            return func(*args, **kwargs)
        own = slice(factor * self.rows.start, factor * self.rows.stop)
        return with_rows(func, args, kwargs, shape[0], factor * self.total, own)


def asked_shape(func: object, args: Sequence, kwargs: Mapping) -> tuple[int, ...]:
    """Return the shape of what a random operator is asked to draw."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor):
            tail = (args[1],) if func.__name__.startswith("multinomial") else tuple(value.shape[1:])
            return (*value.shape[:1], *tail)
        if isinstance(value, list | tuple | torch.Size):
            return tuple(value)
    raise ConfigError(f"{func}: random numbers that cannot be shared by ranks")


def with_rows(func: object, args: Sequence, kwargs: Mapping, first: int, total: int, own: slice) -> Any:
    """Return this rank's rows of what a random operator does for the whole batch.

    Args:
        first: size of the first dimension of a share.
        total: that of the batch.
        own: this rank's rows of it.
    """
    arguments = func._schema.arguments
    given = {argument.name: value for argument, value in zip(arguments, args)} | dict(kwargs)
    whole = {name: enlarged(value, first, total, own) for name, value in given.items()}
    result = func(
        *[whole[argument.name] for argument, _ in zip(arguments, args)], **{name: whole[name] for name in kwargs}
    )
    for argument in arguments:
        if argument.alias_info is not None and argument.alias_info.is_write:
            given[argument.name].copy_(whole[argument.name][own])
    small = {id(whole[name]): value for name, value in given.items() if isinstance(value, Tensor)}
    parts = [small[id(part)] if id(part) in small else part[own] for part in as_tuple(result)]
    return tuple(parts) if isinstance(result, tuple) else parts[0]


def as_tuple(result: object) -> tuple:
    """Return what an operator has returned as a tuple, of one where it is a tensor."""
    return result if isinstance(result, tuple) else (result,)


def enlarged(value: object, first: int, total: int, own: slice) -> object:
    """Return a tensor, or the sizes of one, with the rows of the whole batch where it has those of a share."""
    if isinstance(value, Tensor) and value.dim() and value.shape[0] == first:
        return of_rows(value, total, own)
    if isinstance(value, list | tuple) and value and value[0] == first:
        return [total, *value[1:]]
    return value


def of_rows(value: Tensor, total: int, own: slice) -> Tensor:
    """Return a tensor with the rows of the whole batch in the memory format of `value`: its own, others as its first.

    What an operator draws for a row does not depend on the others.
    """
    order = sorted(range(value.dim()), key=lambda dim: -value.stride(dim))
    large = torch.empty_permuted((total, *value.shape[1:]), order, dtype=value.dtype, device=value.device)
    large[:] = value[:1]
    large[own] = value
    return large
