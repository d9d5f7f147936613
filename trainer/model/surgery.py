"""The kit's parts in a network that was built without it: activations, normalisations and dropouts exchanged in place."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode
from torchvision.models.convnext import LayerNorm2d

from trainer.base.layer_factory import LayerFactory
from trainer.base.layers import weight_layers

# Sigmoid, Hardsigmoid and Softmax are not among them: these networks use them as gates (squeeze-and-excitation, attention).
HIDDEN = (
    nn.ReLU, nn.Hardtanh, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish,
    nn.Tanh, nn.Softplus, nn.Softsign,
)  # fmt: skip
CALLS = {
    getattr(home, f"{name}{ending}")
    for home in (F, torch, Tensor)
    for name in (
        "relu",
        "relu6",
        "hardtanh",
        "leaky_relu",
        "prelu",
        "elu",
        "selu",
        "celu",
        "gelu",
        "silu",
        "mish",
        "hardswish",
        "tanh",
        "softplus",
    )
    for ending in ("", "_")
    if hasattr(home, f"{name}{ending}")
}
CHANNELS_FIRST = (nn.BatchNorm2d, LayerNorm2d)


def replace_act(model: nn.Module, kit: LayerFactory, input_shape: tuple[int, ...]) -> int:
    """Exchange the hidden activations for the kit's; returns how many modules that were.

    A module used in several places (ResNet's relu) gives one that is used in the same places. Gates stay, and so does an
    activation behind the last layer with weights (SqueezeNet's), which is not hidden.
    Errors: ValueError on one that makes its layer wider (maxout), and where forward calls a function instead of a module.
    """
    pieces = getattr(kit.act(), "pieces", 1)
    if pieces != 1:
        raise ValueError(
            f"act with pieces={pieces}: needs layers {pieces} times as wide, which a finished network has not; try act=relu, act=gelu"
        )
    calls = functional_acts(model, input_shape)
    if calls:
        raise ValueError(
            f"calls {', '.join(sorted(set(calls)))} inside forward ({len(calls)} times), where no module can be exchanged; try model.act=original"
        )
    hidden = hidden_acts(model)
    return swap(model, lambda module: kit.act() if module in hidden else None)


def replace_norm(model: nn.Module, kit: LayerFactory) -> int:
    """Exchange the normalisations of (B, C, H, W) for the kit's; returns how many. The kit's norm stands where theirs stood.

    Where the kit's norm is none, the convolutions made without a bias get one, of zeros: the shift was the norm's.
    Errors: ValueError on networks that normalise values with the channels last (transformers, ConvNeXt), and on norm.place=after_act.
    """
    last = [
        module for module in model.modules() if isinstance(module, nn.LayerNorm) and not isinstance(module, LayerNorm2d)
    ]
    if last:
        raise ValueError(
            f"{len(last)} of its norms stand where the channels come last, and norm= is for (B, C, H, W); try model.norm=original"
        )
    if kit.norm_follows_act:
        raise ValueError("norm.place=after_act: the place in a finished network is given; try norm.place=before_act")

    def made(module: nn.Module) -> nn.Module | None:
        if not isinstance(module, CHANNELS_FIRST):
            return None
        return kit.norm(module.num_features if isinstance(module, nn.BatchNorm2d) else module.normalized_shape[0])

    count = swap(model, made)
    if count and isinstance(kit.norm(2), nn.Identity):
        for module in model.modules():
            if isinstance(module, nn.Conv2d) and module.bias is None:
                module.bias = nn.Parameter(module.weight.new_zeros(module.out_channels))
    return count


def replace_drop(model: nn.Module, kit: LayerFactory) -> int:
    """Exchange every nn.Dropout for the kit's dropping layers, or for nothing where it has none; returns how many."""
    return swap(
        model, lambda module: (kit.drop() if kit.drops else nn.Identity()) if isinstance(module, nn.Dropout) else None
    )


def swap(model: nn.Module, made: Callable[[nn.Module], nn.Module | None]) -> int:
    """Put what `made` gives for a module in its place, everywhere the module stands; None leaves it. Returns the number of modules."""
    fresh: dict[nn.Module, nn.Module] = {}
    for parent in list(model.modules()):
        for (
            name,
            child,
        ) in parent._modules.items():  # named_children would pass over the second place of a shared module
            if child is None:
                continue
            if child not in fresh and (new := made(child)) is not None:
                fresh[child] = new.train(child.training)
            if child in fresh:
                parent._modules[name] = fresh[child]
    for module in model.modules():
        if fresh and getattr(module, "inplace", False):
            module.inplace = False  # it may now overwrite what a new neighbour (tanh, elu) keeps for its derivative
    return len(fresh)


def hidden_acts(model: nn.Module) -> set[nn.Module]:
    """The activation modules that were made before the last layer with weights."""
    found: set[nn.Module] = set()
    hidden: set[nn.Module] = set()
    weighted = set(weight_layers(model))
    for module in model.modules():
        if isinstance(module, HIDDEN):
            found.add(module)
        elif module in weighted:
            hidden = set(found)
    return hidden


def trial(model: nn.Module, input_shape: tuple[int, ...]) -> Tensor:
    """Two samples sent through the model's shapes, without a computation and without a change to its state: (2, ...) on the device meta."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    shapes = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    with torch.no_grad():
        return functional_call(model, shapes, (torch.empty(2, *input_shape, device="meta"),))


def functional_acts(model: nn.Module, input_shape: tuple[int, ...]) -> list[str]:
    """The activations that a forward pass calls as functions rather than through a module of torch.nn, by name, as often as they are called."""
    watch = Watch()
    hooks = []
    for module in model.modules():
        if isinstance(module, HIDDEN):
            hooks += [module.register_forward_pre_hook(watch.enter), module.register_forward_hook(watch.leave)]
    try:
        with watch:
            trial(model, input_shape)
    finally:
        for hook in hooks:
            hook.remove()
    return watch.calls


class Watch(TorchFunctionMode):
    """Notes the activation functions called while no activation module is at work."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = 0
        self.calls: list[str] = []

    def enter(self, module: nn.Module, inputs: tuple) -> None:
        self.inside += 1

    def leave(self, module: nn.Module, inputs: tuple, output: Tensor) -> None:
        self.inside -= 1

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if not self.inside and function in CALLS:
            self.calls.append(function.__name__)
        return function(*args, **(kwargs or {}))
