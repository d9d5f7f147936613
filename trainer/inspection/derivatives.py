"""Derivatives of modules and losses, compared with central differences in float64 (torch.autograd.gradcheck)."""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.func import functional_call

from trainer.base.origin import origin, reason
from trainer.base.rng import seed_default
from trainer.config.targets import LIBRARIES

CPU = torch.device("cpu")  # which always has float64
EPS, RELATIVE, ABSOLUTE = 1e-7, 1e-3, 1e-6  # step of the differences, and the error that is allowed
DIRECTIONS = 3  # of the inputs and of the parameters, in which the function is differentiated
ATTEMPTS = 3  # with other inputs: a difference across a kink, as that of ReLU, is not the derivative
NEGLIGIBLE = 1e-12  # slope
SMALL = 20  # tensors of parameters up to which each has directions of its own
TORCHS = ("torch", "torchvision")

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Derivative:
    """A function whose derivative is compared.

    Args:
        name: of the module or the technique, for messages.
        evaluate: takes tensors of float64 by name, and returns one.
        tensors: those to differentiate by.
    """

    name: str
    evaluate: Callable[[Mapping[str, Tensor]], Tensor]
    tensors: Mapping[str, Tensor]


def is_wrong(derivative: Derivative) -> float | None:
    """Return the relative error of a derivative that is wrong at every attempt; None for one that is right.

    Errors: those of the function itself.
    """
    errors = []
    for attempt in range(ATTEMPTS):
        function, size = along_directions(derivative, torch.Generator().manual_seed(attempt))
        start = torch.zeros(size, dtype=torch.float64, requires_grad=True)
        slopes = torch.autograd.functional.jacobian(function, start)
        scale = float(slopes.abs().max())
        scale = scale if scale > NEGLIGIBLE else 1.0
        tolerances = {"eps": EPS, "atol": ABSOLUTE * scale, "rtol": RELATIVE}
        if gradcheck(function, (start,), **tolerances, raise_exception=False, check_undefined_grad=False):
            return None
        errors.append(error_apart_from_kinks(function, slopes, scale))
    return min(errors) if min(errors) > RELATIVE else None


def error_apart_from_kinks(function: Function, slopes: Tensor, scale: float) -> float:
    """Return the largest error of slopes along directions, relative to the larger slope of the two.

    Where the function has a kink within a step, as ReLU at 0, central differences lie between the slopes of its two
    sides. Then the second difference, divided by the step, is as large as the error, and is subtracted from it.
    """
    with torch.no_grad():
        steps = EPS * torch.eye(len(slopes), dtype=torch.float64)
        sides = torch.stack([torch.stack([function(step), function(-step)]) for step in steps])
        numeric = (sides[:, 0] - sides[:, 1]) / (2 * EPS)
        kinks = (sides.sum(1) - 2 * function(torch.zeros(len(slopes), dtype=torch.float64))).abs() / EPS
    errors = ((slopes - numeric).abs() - kinks - ABSOLUTE * scale).clamp(min=0)
    return float((errors / torch.maximum(slopes.abs(), numeric.abs()).clamp(min=NEGLIGIBLE)).max())


def along_directions(derivative: Derivative, rng: torch.Generator) -> tuple[Function, int]:
    """Return a scalar function of how far to go in each of some random directions, and the number of directions.

    Its slopes are u J v, for a random u and each direction v: a wrong entry of J shows in nearly all of them, at the
    cost of two evaluations a direction.
    """
    noisy = {name: tensor + perturbation(tensor, rng) for name, tensor in derivative.tensors.items()}
    groups = [[name] for name in noisy] if len(noisy) <= SMALL else [[*noisy]]
    moves = [{name: signs(noisy[name], rng) for name in group} for group in groups for _ in range(DIRECTIONS)]
    weights: list[Tensor] = []

    def function(t: Tensor) -> Tensor:
        moved = dict(noisy)
        for distance, move in zip(t, moves):
            for name, sign in move.items():
                moved[name] = moved[name] + distance * sign
        seed_default(CPU, 0)  # dropouts draw the same masks
        output = derivative.evaluate(moved)
        if not weights:
            weights.append(torch.randn(output.shape, generator=rng, dtype=torch.float64))
        return (output * weights[0]).sum()

    return function, len(moves)


def perturbation(tensor: Tensor, rng: torch.Generator) -> Tensor:
    """Return noise that moves values off kinks and apart from one another, as max pooling needs it."""
    size = tensor.std() if tensor.numel() > 1 else tensor.abs().sum()
    return torch.randn(tensor.shape, generator=rng, dtype=torch.float64) * (0.1 * size + 1e-3)


def signs(tensor: Tensor, rng: torch.Generator) -> Tensor:
    """Return a direction of entries 1 and -1."""
    return torch.randint(2, tensor.shape, generator=rng).double() * 2 - 1


def derivatives_of_modules(model: nn.Module, images: Tensor) -> Iterator[Derivative]:
    """Yield the derivative of each module of a model that is not torch's own, on the inputs that it gets.

    Of several with the same class and shapes, the first one.

    Args:
        model: of float64, on the CPU, in the mode in which it is to be checked.
        images: of float64.
    """
    calls: dict[tuple, tuple[str, nn.Module, tuple, dict]] = {}

    def hook(name: str) -> Callable:
        def note(module: nn.Module, args: tuple, kwargs: dict) -> None:
            shapes = tuple(tuple(part.shape) for part in (*args, *module.parameters()) if isinstance(part, Tensor))
            copied = tuple(part.detach().clone() if isinstance(part, Tensor) else part for part in args)
            calls.setdefault((type(module), module.extra_repr(), shapes), (name, module, copied, kwargs))

        return note

    own = [(name, module) for name, module in model.named_modules() if computes_itself(module)]
    handles = [module.register_forward_pre_hook(hook(name), with_kwargs=True) for name, module in own]
    seed_default(CPU, 0)
    with torch.no_grad():
        model(images)
    for handle in handles:
        handle.remove()
    for name, module, args, kwargs in calls.values():
        yield of_module(name, copy.deepcopy(module), args, kwargs)


def computes_itself(module: nn.Module) -> bool:
    """Return whether a module has a computation that is not torch's: the user's own, or a layer of the project.

    A model of the project is put together from such layers.
    """
    if type(module).__module__.partition(".")[0] in TORCHS:
        return False
    return not is_projects(module) or not any(True for _ in module.children())


def of_module(name: str, module: nn.Module, args: tuple, kwargs: dict) -> Derivative:
    """Return the derivative of a module by its inputs and its trainable parameters."""
    inputs = {f"input {place}": part for place, part in enumerate(args) if is_real(part)}
    weights = {key: weight.detach() for key, weight in module.named_parameters() if weight.requires_grad}

    def evaluate(tensors: Mapping[str, Tensor]) -> Tensor:
        # A module that works in place gets a copy.
        own = tuple(tensors[f"input {place}"].clone() if is_real(part) else part for place, part in enumerate(args))
        return joined(functional_call(module, {key: tensors[key] for key in weights}, own, kwargs))

    label = origin(module) if not is_projects(module) else type(module).__name__
    return Derivative(f"{label} at {name}" if name else label, evaluate, inputs | weights)


def is_real(part: object) -> bool:
    return isinstance(part, Tensor) and part.is_floating_point()


def is_projects(technique: object) -> bool:
    """Return whether a technique is of the project or of a library, not the user's own."""
    return type(technique).__module__.partition(".")[0] in LIBRARIES


def joined(outputs: object) -> Tensor:
    """Return the real tensors of what a module returns as one. Errors: TypeError where there is none."""
    parts = outputs if isinstance(outputs, tuple | list) else [outputs]
    found = [part.flatten().double() for part in parts if is_real(part)]
    if not found:
        raise TypeError("it returns no tensor of real numbers")
    return torch.cat(found)


def describe_error(error: Exception) -> str:
    """Return why a derivative could not be compared."""
    return f"raises {reason(error)}"
